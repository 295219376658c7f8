package audit

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/schemas/topics"
)

// store is what is compared with the log: Postgres, ClickHouse.
type store interface {
	name() string
	checks() []string
	// open starts the comparison of one partition.
	open(ctx context.Context, partition int32) (mirror, error)
	// finish compares what spans partitions, when all of them are through.
	finish(ctx context.Context) error
	close()
}

// mirror is fed a partition's decisions in order and compares each with the rows the store made of it.
type mirror interface {
	decision(r *kgo.Record, d *paymentsv1.Decision) error
	finish() error
	close()
}

func checkNames(cfg Config) []string {
	names := []string{
		CheckDecided, CheckChain, CheckSequence, CheckEmissions, CheckOrders, CheckZero, CheckModel, CheckBalances, CheckTable, CheckTransit, CheckClaims,
		CheckTransactions,
	}
	if cfg.PostgresDSN != "" {
		names = append(names, postgresChecks()...)
	}
	if cfg.ClickHouse != nil {
		names = append(names, clickhouseChecks()...)
	}
	return names
}

func (a *auditor) openStores(ctx context.Context) error {
	if a.cfg.PostgresDSN != "" {
		s, err := openPostgres(ctx, a)
		if err != nil {
			return fmt.Errorf("opening postgres: %w", err)
		}
		a.stores = append(a.stores, s)
	}
	if a.cfg.ClickHouse != nil {
		s, err := openClickHouse(ctx, a)
		if err != nil {
			return fmt.Errorf("opening clickhouse: %w", err)
		}
		a.stores = append(a.stores, s)
	}
	return nil
}

func (a *auditor) closeStores() {
	for _, s := range a.stores {
		s.close()
	}
}

// place is where a row comes from: a decision, and a line of its journals.
type place struct{ offset, line int64 }

func (p place) before(o place) bool {
	return p.offset < o.offset || (p.offset == o.offset && p.line < o.line)
}

// rowStream walks a table in the order of the log and compares row by row, column by column.
type rowStream struct {
	findings  *findings
	check     string
	table     string
	partition int32
	columns   []string
	account   int // index of the column that holds the account, for rows the log does not have
	// fetch gives the next row; false: there is none.
	fetch func() (place, []any, bool, error)

	at     place
	row    []any
	begun  bool
	more   bool
	behind bool // rows after the table's last one are missing for now, not for good
}

func (s *rowStream) advance() (err error) {
	s.begun = true
	s.at, s.row, s.more, err = s.fetch()
	if err != nil {
		return fmt.Errorf("reading %s: %w", s.table, err)
	}
	return nil
}

// expect compares the row at a place with what the log says.
func (s *rowStream) expect(at place, account string, want []any) error {
	if !s.begun {
		if err := s.advance(); err != nil {
			return err
		}
	}
	for s.more && s.at.before(at) {
		s.extra()
		if err := s.advance(); err != nil {
			return err
		}
	}
	s.findings.count(s.check, 1)
	d := Difference{Check: s.check, Account: account, Topic: topics.Decisions, Partition: s.partition, Offset: at.offset}
	if !s.more || at.before(s.at) {
		d.Detail = fmt.Sprintf("table %s: line %d is missing", s.table, at.line)
		if !s.more && s.behind {
			s.findings.behind(d, 1)
		} else {
			s.findings.differ(d)
		}
		return nil
	}
	for i, w := range want {
		if w != s.row[i] {
			d.Detail = fmt.Sprintf("table %s, line %d, column %s: want %v, got %v", s.table, at.line, s.columns[i], w, s.row[i])
			s.findings.differ(d)
			break
		}
	}
	return s.advance()
}

// extra reports a row that no decision made.
func (s *rowStream) extra() {
	account, _ := s.row[s.account].(string)
	s.findings.differ(Difference{
		Check: s.check, Account: account, Topic: topics.Decisions, Partition: s.partition, Offset: s.at.offset,
		Detail: fmt.Sprintf("table %s: line %d is not in the log", s.table, s.at.line),
	})
}

// finish reports what is left over.
func (s *rowStream) finish() error {
	if !s.begun {
		if err := s.advance(); err != nil {
			return err
		}
	}
	for s.more {
		s.extra()
		if err := s.advance(); err != nil {
			return err
		}
	}
	return nil
}
