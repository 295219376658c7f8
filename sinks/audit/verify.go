package audit

import (
	"context"
	"fmt"
	"maps"
	"math"
	"math/big"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/caudalpay/caudal/schemas/topics"
	"github.com/caudalpay/caudal/sinks/audit/model"
)

// auditor is one audit. Partitions are read side by side; what they have in common is behind mu.
type auditor struct {
	cfg      Config
	refs     *model.References
	extents  map[string]map[int32]bounds
	moving   bool // the log did not come to rest: what one partition says of another may be cut off
	findings *findings
	stores   []store

	read, total atomic.Int64

	mu        sync.Mutex
	report    Report
	emissions map[string]emission // expected and not seen, or seen and not expected
	sums      map[entry]*money    // every account's money, as the log's postings say
	inFlight  map[string]*big.Int // transit by currency, as undecided commands say
	claims    map[string]tie      // by customer's key: the account claimed
	owners    map[string]tie      // by account: the customer's key
	unsettled map[string]bool     // customers' keys: an undecided command will confirm or release the claim
}

// entry is one balance.
type entry struct{ account, currency string }

// money is a balance without bounds: the house's own accounts may leave int64.
type money struct{ posted, held, incoming big.Int }

// tie is one side of a claim, and the last decision of its key. There are two for each account, so it is small.
type tie struct {
	other     string
	partition int32
	offset    int64
}

// emission is a command that a decision has put on the log (count > 0), or one without such a decision (count < 0).
type emission struct {
	count   int
	account string
	place   Difference
}

// Verify audits a whole installation. The error says that the audit could not be done; what it found is in the report,
// whose Err is a *DifferenceError where the books do not close.
func Verify(ctx context.Context, cfg Config) (Report, error) {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return Report{}, err
	}
	begin := time.Now()
	a := &auditor{
		cfg: cfg, refs: model.NewReferences(), findings: newFindings(checkNames(cfg)...),
		emissions: map[string]emission{}, sums: map[entry]*money{}, inFlight: map[string]*big.Int{},
		claims: map[string]tie{}, owners: map[string]tie{}, unsettled: map[string]bool{},
	}
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(cfg.Brokers...)}, cfg.Options...)...)
	if err != nil {
		return Report{}, fmt.Errorf("connecting to the broker: %w", err)
	}
	defer client.Close()
	adm := kadm.NewClient(client)
	// The stores first: then the log reaches at least as far as they do.
	defer a.closeStores()
	if err := a.openStores(ctx); err != nil {
		return Report{}, err
	}
	if err := a.settle(ctx, adm); err != nil {
		return Report{}, err
	}
	if err := a.loadReferences(ctx); err != nil {
		return Report{}, err
	}
	if err := a.readPartitions(ctx); err != nil {
		return Report{}, err
	}
	a.checkEmissions()
	a.checkTransit()
	a.checkClaims()
	if err := a.checkTransactions(ctx, adm); err != nil {
		return Report{}, err
	}
	for _, s := range a.stores {
		if err := s.finish(ctx); err != nil {
			return Report{}, fmt.Errorf("comparing %s: %w", s.name(), err)
		}
	}
	if a.moving {
		a.findings.note(CheckDecided, "the log was written to all the time; verify it at rest")
	}
	return a.close(time.Since(begin)), nil
}

// logTopics are those whose extent is needed.
func logTopics() []string {
	return []string{
		topics.Commands, topics.Decisions, topics.RailsOrders, topics.AccountsTable, topics.AccountsSide, topics.DeadLetters,
		topics.FXRates, topics.FeeSchedules, topics.Policies, topics.Rules, topics.Blocklists,
	}
}

// settle waits until the log does not grow for a moment, so that no decision is caught between command and commit.
func (a *auditor) settle(ctx context.Context, adm *kadm.Client) error {
	deadline := time.Now().Add(a.cfg.Settle)
	var last map[string]map[int32]bounds
	for {
		now, err := extent(ctx, adm, logTopics()...)
		if err != nil {
			return err
		}
		for _, topic := range []string{topics.Commands, topics.Decisions} {
			if n := len(now[topic]); n != int(a.cfg.Partitions) {
				return fmt.Errorf("topic %s has %d partitions, not %d", topic, n, a.cfg.Partitions)
			}
		}
		if rest := last != nil && reflect.DeepEqual(last, now); rest || time.Now().After(deadline) {
			a.extents, a.moving = now, !rest
			break
		}
		last = now
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the log to settle: %w", ctx.Err())
		case <-time.After(200 * time.Millisecond):
		}
	}
	for _, topic := range []string{topics.Commands, topics.Decisions} {
		for _, b := range a.extents[topic] {
			a.total.Add(b.stable)
		}
	}
	return nil
}

func (a *auditor) loadReferences(ctx context.Context) error {
	for _, topic := range []string{topics.FXRates, topics.FeeSchedules, topics.Policies, topics.Rules, topics.Blocklists} {
		for p, b := range a.extents[topic] {
			err := each(ctx, a.cfg, topic, p, b, func(r *kgo.Record) error {
				if err := a.refs.Add(topic, string(r.Key), r.Value); err != nil {
					return fmt.Errorf("reading %s offset %d: %w", topic, r.Offset, err)
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *auditor) readPartitions(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(2) // memory is what a partition costs
	for p := range a.cfg.Partitions {
		group.Go(func() error {
			if err := a.readPartition(ctx, p); err != nil {
				return fmt.Errorf("auditing partition %d: %w", p, err)
			}
			return nil
		})
	}
	return group.Wait() //nolint:wrapcheck // wrapped above
}

// progressed counts records read.
func (a *auditor) progressed() {
	if n := a.read.Add(1); n%1000 == 0 {
		a.cfg.Progress(n, a.total.Load())
	}
}

// checkEmissions: every command the house wrote to itself comes from one decision, and every such decision led to one command.
func (a *auditor) checkEmissions() {
	for _, what := range slices.Sorted(maps.Keys(a.emissions)) {
		e := a.emissions[what]
		d := e.place
		d.Account = e.account
		if e.count > 0 {
			d.Detail = "the command this decision had to emit is not on the log: " + what
		} else {
			d.Detail = "no decision emitted this command: " + what
		}
		a.differEmission(d)
	}
}

// differEmission: while the log moves, one side may be cut off.
func (a *auditor) differEmission(d Difference) {
	d.Check = CheckEmissions
	if a.moving {
		a.findings.behind(d, 1)
	} else {
		a.findings.differ(d)
	}
}

// clamped is the nearest int64: a report may not show a sum of the opposite sign.
func clamped(sum *big.Int) int64 {
	switch {
	case sum.IsInt64():
		return sum.Int64()
	case sum.Sign() < 0:
		return math.MinInt64
	default:
		return math.MaxInt64
	}
}

// checkTransit: what stands in transit is what undecided and discarded legs are about.
func (a *auditor) checkTransit() {
	a.report.TransitMinor = map[string]int64{}
	currencies := map[string]bool{}
	for e := range a.sums {
		if e.account == "sys_transit" {
			currencies[e.currency] = true
		}
	}
	for c := range a.inFlight {
		currencies[c] = true
	}
	for c := range currencies {
		stands := new(big.Int)
		if m := a.sums[entry{"sys_transit", c}]; m != nil {
			stands.Set(&m.posted)
		}
		due := a.inFlight[c]
		if due == nil {
			due = new(big.Int)
		}
		a.report.TransitMinor[c] = clamped(stands)
		a.findings.count(CheckTransit, 1)
		d := Difference{
			Check: CheckTransit, Account: "sys_transit", Detail: fmt.Sprintf("%s: want %s in flight, parked or discarded, got %s posted", c, due, stands),
		}
		switch {
		case stands.Cmp(due) == 0:
		case a.moving:
			a.findings.behind(d, 1)
		default:
			a.findings.differ(d)
		}
	}
}

// checkClaims: a claim is on an account of that customer, and an open account is claimed by its customer.
func (a *auditor) checkClaims() {
	for customer, claim := range a.claims {
		switch owner, opened := a.owners[claim.other]; {
		case opened && owner.other == customer:
			a.findings.count(CheckClaims, 1)
		case opened:
			a.wrongClaim(customer, claim, fmt.Sprintf("claims %s, which belongs to %s", claim.other, owner.other))
		default:
			a.wrongClaim(customer, claim, fmt.Sprintf("claims %s, which was not opened", claim.other))
		}
	}
	for account, owner := range a.owners {
		if a.claims[owner.other].other == account {
			a.findings.count(CheckClaims, 1)
		} else {
			a.wrongClaim(owner.other, owner, "does not claim its account "+account)
		}
	}
}

// wrongClaim names a claim that nothing on its way will settle.
func (a *auditor) wrongClaim(customer string, t tie, detail string) {
	a.findings.count(CheckClaims, 1)
	d := Difference{Check: CheckClaims, Account: customer, Topic: topics.Decisions, Partition: t.partition, Offset: t.offset, Detail: detail}
	switch {
	case a.unsettled[customer]:
	case a.moving:
		a.findings.behind(d, 1)
	default:
		a.findings.differ(d)
	}
}

// checkTransactions: nothing is left open, so every reader sees the log to its end.
func (a *auditor) checkTransactions(ctx context.Context, adm *kadm.Client) error {
	now, err := extent(ctx, adm, logTopics()...)
	if err != nil {
		return err
	}
	for _, topic := range logTopics() {
		for p, b := range now[topic] {
			a.findings.count(CheckTransactions, 1)
			if b.stable < b.high && a.extents[topic][p].stable == b.stable { // it was as far before: not a commit on its way
				a.findings.differ(Difference{
					Check: CheckTransactions, Topic: topic, Partition: p, Offset: b.stable,
					Detail: fmt.Sprintf("a transaction is open: stable up to %d of %d", b.stable, b.high),
				})
			}
		}
	}
	return nil
}

// close makes the report.
func (a *auditor) close(took time.Duration) Report {
	r := a.report
	r.Checks = a.findings.close(a.cfg.AllowLag)
	r.Balanced = true
	different := false
	for i := range r.Checks {
		c := &r.Checks[i]
		if c.Verdict == VerdictEqual || c.Verdict == VerdictSkipped {
			continue
		}
		if !slices.ContainsFunc(a.stores, func(s store) bool { return slices.Contains(s.checks(), c.Name) }) {
			r.Balanced = false
		}
		// A difference is named before anything that only lags, wherever it stands.
		if r.FirstDifference == nil || c.Verdict == VerdictDifferent && !different {
			r.FirstDifference = c.First
		}
		different = different || c.Verdict == VerdictDifferent
	}
	for _, s := range a.stores {
		equal := !slices.ContainsFunc(r.Checks, func(c Check) bool {
			return slices.Contains(s.checks(), c.Name) && (c.Differences > 0 || c.Behind > 0)
		})
		switch s.name() {
		case "postgres":
			r.PostgresEqual = &equal
		case "clickhouse":
			r.ClickHouseEqual = &equal
		}
	}
	r.Seconds = took.Seconds()
	a.cfg.Progress(a.total.Load(), a.total.Load())
	return r
}
