package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	schema "github.com/caudalpay/caudal/schemas/sql/postgres"
	"github.com/caudalpay/caudal/schemas/topics"
	"github.com/caudalpay/caudal/sinks/decisionlog"
)

// ErrNotOwner says that another sink has moved the offsets of a partition this one holds.
var ErrNotOwner = errors.New("another sink writes these partitions")

// Sink is the sink. Run it once.
type Sink struct {
	*decisionlog.Sink

	cfg  Config
	rows *rows
}

// New checks the configuration.
func New(cfg Config) (*Sink, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configuring the postgres sink: %w", err)
	}
	cfg.Partitions = slices.Sorted(slices.Values(cfg.Partitions))
	s := &Sink{cfg: cfg, rows: newRows(cfg.Partitions[0])}
	s.Sink = decisionlog.NewSink(cfg.Config, decisionlog.Store{
		Name: "postgres", Open: s.open, Final: []error{ErrNotOwner, errBatch},
	})
	return s, nil
}

// open begins a session where the database says.
func (s *Sink) open(ctx context.Context) (decisionlog.Session, error) {
	if err := schema.Migrate(ctx, s.cfg.DSN, s.cfg.Logger); err != nil {
		return nil, err
	}
	w, err := openWriter(ctx, s.cfg, s.rows)
	if err != nil {
		return nil, err
	}
	if w.at, err = w.positions(ctx); err != nil {
		w.Close(ctx)
		return nil, err
	}
	return w, nil
}

// writer holds the one connection and what is prepared on it.
type writer struct {
	cfg  Config
	at   map[int32]int64
	conn *pgconn.PgConn
	rows *rows
	// booked, created and told are the months whose partitions are known to exist.
	booked, created, told map[int32]struct{}
}

func openWriter(ctx context.Context, cfg Config, r *rows) (*writer, error) {
	conn, err := pgconn.Connect(ctx, cfg.DSN)
	if err != nil {
		return nil, fmt.Errorf("connecting to postgres: %w", err)
	}
	w := &writer{cfg: cfg, conn: conn, rows: r, booked: map[int32]struct{}{}, created: map[int32]struct{}{}, told: map[int32]struct{}{}}
	if err := w.prepare(ctx); err != nil {
		w.Close(ctx)
		return nil, err
	}
	return w, nil
}

const (
	advanceSQL = `SELECT sink.advance($1::text, $2::integer[], $3::bigint[], $4::bigint[])`
	monthsSQL  = `SELECT sink.ensure_months($1::text, $2::text, $3::date[])`
	// plans of set-based inserts never depend on the values, so a generic plan saves planning each batch
	sessionSQL = `SET application_name = 'caudal-sink'; SET plan_cache_mode = force_generic_plan; SET jit = off; SET TimeZone = 'UTC'`
)

func (w *writer) prepare(ctx context.Context) error {
	if _, err := w.conn.Exec(ctx, sessionSQL).ReadAll(); err != nil {
		return fmt.Errorf("setting up the session: %w", err)
	}
	statements := map[string]string{"advance": advanceSQL, "months": monthsSQL}
	for _, s := range w.rows.statements {
		statements[s.name] = s.sql
	}
	for name, sql := range statements {
		if _, err := w.conn.Prepare(ctx, name, sql, nil); err != nil {
			return fmt.Errorf("preparing %s: %w", name, err)
		}
	}
	return nil
}

// Close says goodbye also where ctx has ended.
func (w *writer) Close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = w.conn.Close(ctx)
}

// Position is where the session began.
func (w *writer) Position() map[int32]int64 { return w.at }

// Ping notices that the database is away.
func (w *writer) Ping(ctx context.Context) error {
	if err := w.conn.Ping(ctx); err != nil {
		return fmt.Errorf("reaching postgres: %w", err)
	}
	return nil
}

// positions reads where to begin; a partition the database has not seen begins at 0.
func (w *writer) positions(ctx context.Context) (map[int32]int64, error) {
	partitions := column{oid: oidInt4}
	partitions.reset()
	for _, p := range w.cfg.Partitions {
		partitions.int4(p)
	}
	topic := []byte(topics.Decisions)
	insert := w.conn.ExecParams(ctx, `INSERT INTO sink.offsets (topic, partition, next_offset)
SELECT $1::text, p, 0 FROM unnest($2::integer[]) p ON CONFLICT DO NOTHING`,
		[][]byte{topic, partitions.encoded()}, nil, []int16{0, 1}, nil).Read()
	if insert.Err != nil {
		return nil, fmt.Errorf("making offsets: %w", insert.Err)
	}
	read := w.conn.ExecParams(ctx, `SELECT partition, next_offset FROM sink.offsets
WHERE topic = $1::text AND partition = ANY ($2::integer[])`, [][]byte{topic, partitions.encoded()}, nil, []int16{0, 1}, nil).Read()
	if read.Err != nil {
		return nil, fmt.Errorf("reading offsets: %w", read.Err)
	}
	at := make(map[int32]int64, len(read.Rows))
	for _, row := range read.Rows {
		var partition int32
		var next int64
		if _, err := fmt.Sscan(string(row[0])+" "+string(row[1]), &partition, &next); err != nil {
			return nil, fmt.Errorf("reading offsets: %w", err)
		}
		at[partition] = next
	}
	return at, nil
}

// writeMost is the longest that Postgres may take for a batch before the session is given up.
const writeMost = time.Minute

// Write makes the batch durable, or a first part of it. A decision that cannot be booked is found by halves: everything
// before it is booked, and it is named.
func (w *writer) Write(ctx context.Context, batch *decisionlog.Batch) (taken, rest *decisionlog.Batch, rows int, err error) {
	for most := len(batch.Entries); ; most = len(taken.Entries) / 2 {
		n, err := w.rows.fill(batch.Entries[:most])
		if err != nil {
			return nil, nil, 0, err
		}
		taken, rest = batch.Split(n)
		err = w.transact(ctx, taken)
		switch {
		case err == nil:
			return taken, rest, w.rows.count(), nil
		case !errors.Is(err, errBatch):
			return nil, nil, 0, err
		case n == 1:
			e := taken.Entries[0]
			return nil, nil, 0, fmt.Errorf("booking partition %d offset %d: %w", e.Partition, e.Offset, err)
		}
		if _, err := w.conn.Exec(ctx, "ROLLBACK").ReadAll(); err != nil {
			return nil, nil, 0, fmt.Errorf("giving up a batch: %w", err)
		}
	}
}

// transact writes the batch, whose rows are filled, in one transaction.
func (w *writer) transact(ctx context.Context, b *decisionlog.Batch) error {
	ctx, cancel := context.WithTimeout(ctx, writeMost)
	defer cancel()
	if err := w.exchange(ctx, "SELECT", func(p *pgconn.Pipeline) { w.sendBegin(p, b) }); err != nil {
		return err
	}
	if err := w.copyPayments(ctx); err != nil {
		return err
	}
	for _, c := range []*copying{w.rows.journal, w.rows.line, w.rows.event} {
		if err := w.copy(ctx, c, c.table); err != nil {
			return err
		}
	}
	if err := w.exchange(ctx, "COMMIT", w.sendCommit); err != nil {
		return err
	}
	maps.Copy(w.booked, w.rows.bookingMonths)
	maps.Copy(w.created, w.rows.createdMonths)
	maps.Copy(w.told, w.rows.eventMonths)
	return nil
}

// sendBegin queues the offsets first: their row locks keep a second owner out before anything else is touched.
func (w *writer) sendBegin(p *pgconn.Pipeline, b *decisionlog.Batch) {
	p.SendQueryParams("BEGIN", nil, nil, nil, nil)
	partitions, first, next := column{oid: oidInt4}, column{oid: oidInt8}, column{oid: oidInt8}
	for _, c := range []*column{&partitions, &first, &next} {
		c.reset()
	}
	for partition := range b.Next {
		partitions.int4(partition)
		first.int8(b.First[partition])
		next.int8(b.Next[partition])
	}
	p.SendQueryPrepared("advance", [][]byte{[]byte(topics.Decisions), partitions.encoded(), first.encoded(), next.encoded()},
		[]int16{0, 1, 1, 1}, nil)
	w.sendMonths(p, "payments", "payments", w.rows.createdMonths, w.created)
	w.sendMonths(p, "payments", "events", w.rows.eventMonths, w.told)
	w.sendMonths(p, "ledger", "journals", w.rows.bookingMonths, w.booked)
	w.sendMonths(p, "ledger", "postings", w.rows.bookingMonths, w.booked)
}

// sendCommit queues what changes rows that stand already.
func (w *writer) sendCommit(p *pgconn.Pipeline) {
	for _, s := range w.rows.statements {
		if s.rows() > 0 {
			p.SendQueryPrepared(s.name, s.parameters(), []int16{1}, nil)
		}
	}
	p.SendQueryParams("COMMIT", nil, nil, nil, nil)
}

// copy writes new rows into a table.
func (w *writer) copy(ctx context.Context, c *copying, table string) error {
	if c.rows == 0 {
		return nil
	}
	if _, err := w.conn.CopyFrom(ctx, bytes.NewReader(c.encoded()), c.into(table)); err != nil {
		return classified(err)
	}
	return nil
}

// copyPayments takes the long way where one of the ids is used anew.
func (w *writer) copyPayments(ctx context.Context) error {
	c := w.rows.payment
	if c.rows == 0 {
		return nil
	}
	if err := w.run(ctx, "SAVEPOINT payments"); err != nil {
		return err
	}
	err := w.copy(ctx, c, c.table)
	var e *pgconn.PgError
	if !errors.As(err, &e) || e.Code != stateDuplicate {
		return err
	}
	if err := w.run(ctx, "ROLLBACK TO payments; CREATE TEMP TABLE staged (LIKE payments.payments) ON COMMIT DROP"); err != nil {
		return err
	}
	if err := w.copy(ctx, c, "pg_temp.staged"); err != nil {
		return err
	}
	return w.run(ctx, replacePayments(c.names))
}

func (w *writer) run(ctx context.Context, sql string) error {
	if _, err := w.conn.Exec(ctx, sql).ReadAll(); err != nil {
		return classified(err)
	}
	return nil
}

func (w *writer) sendMonths(p *pgconn.Pipeline, schemaName, table string, wanted, known map[int32]struct{}) {
	list := column{oid: oidDate}
	list.reset()
	for _, m := range months(wanted) {
		if _, ok := known[m]; !ok {
			list.day(m)
		}
	}
	if list.count > 0 {
		p.SendQueryPrepared("months", [][]byte{[]byte(schemaName), []byte(table), list.encoded()}, []int16{0, 0, 1}, nil)
	}
}

const (
	stateNotOwner      = "CA001"
	stateMissing       = "CA003"
	stateDuplicate     = "23505"
	classDataException = "22"
	classIntegrity     = "23"
)

// exchange sends statements in one flight and reads every answer. The last must say what is wanted: only a COMMIT that
// says so is one.
func (w *writer) exchange(ctx context.Context, last string, send func(*pgconn.Pipeline)) error {
	p := w.conn.StartPipeline(ctx)
	send(p)
	return errors.Join(receive(p, last), p.Close())
}

func receive(p *pgconn.Pipeline, last string) error {
	if err := p.Sync(); err != nil {
		return fmt.Errorf("sending a batch: %w", err)
	}
	tag := pgconn.CommandTag{}
	for {
		results, err := p.GetResults()
		if err != nil {
			return classified(err)
		}
		switch answer := results.(type) {
		case *pgconn.ResultReader:
			if tag, err = answer.Close(); err != nil {
				return classified(err)
			}
		case *pgconn.PipelineSync:
			if !strings.HasPrefix(tag.String(), last) {
				return fmt.Errorf("writing a batch: answered %q", tag)
			}
			return nil
		default:
			return fmt.Errorf("writing a batch: unexpected answer %T", results)
		}
	}
}

func classified(err error) error {
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		return fmt.Errorf("writing a batch: %w", err)
	}
	switch {
	case e.Code == stateNotOwner:
		return fmt.Errorf("%w: %w", ErrNotOwner, err)
	case e.Code == stateMissing, len(e.Code) == 5 && (e.Code[:2] == classDataException || e.Code[:2] == classIntegrity):
		return fmt.Errorf("%w: %w", errBatch, err)
	default:
		return fmt.Errorf("writing a batch: %w", err)
	}
}
