package audit

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// Names of the checks, in the order of the report.
const (
	CheckDecided      = "one decision per command"
	CheckChain        = "hash chain"
	CheckSequence     = "account_seq without gaps"
	CheckEmissions    = "emitted commands"
	CheckOrders       = "orders to rails"
	CheckZero         = "postings sum to zero"
	CheckModel        = "decisions equal the model"
	CheckBalances     = "balances equal the model"
	CheckTable        = "accounts table"
	CheckTransit      = "transit in flight or parked"
	CheckClaims       = "claims of customers"
	CheckTransactions = "no open transaction"
	CheckPGOffsets    = "postgres offsets"
	CheckPGJournals   = "postgres journals"
	CheckPGPostings   = "postgres postings"
	CheckPGPayments   = "postgres payments"
	CheckPGEvents     = "postgres events"
	CheckPGBalances   = "postgres balances"
	CheckPGAccounts   = "postgres accounts"
	CheckCHFacts      = "clickhouse facts"
	CheckCHPostings   = "clickhouse postings"
	CheckCHAggregates = "clickhouse aggregates"
	CheckCHCounts     = "clickhouse counts"
)

// What a check came to.
const (
	VerdictEqual     = "ok"
	VerdictDifferent = "different"
	VerdictLag       = "behind"
	VerdictSkipped   = "not compared"
)

// Difference is the first thing a check found wrong.
type Difference struct {
	Check     string `json:"check"`
	Account   string `json:"account,omitempty"`
	Topic     string `json:"topic,omitempty"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	Detail    string `json:"detail"`
}

func (d Difference) String() string {
	s := d.Check + ": " + d.Detail
	if d.Account != "" {
		s += ", account " + d.Account
	}
	if d.Topic != "" {
		s += fmt.Sprintf(", %s partition %d offset %d", d.Topic, d.Partition, d.Offset)
	}
	return s
}

// before orders differences of one check by where they stand.
func (d Difference) before(o Difference) bool {
	if d.Partition != o.Partition {
		return d.Partition < o.Partition
	}
	return d.Offset < o.Offset
}

// Check is one row of the report.
type Check struct {
	Name        string      `json:"name"`
	Compared    int64       `json:"compared"`
	Differences int64       `json:"differences"`
	Behind      int64       `json:"behind"` // records not there yet
	Verdict     string      `json:"verdict"`
	Note        string      `json:"note,omitempty"`
	First       *Difference `json:"first,omitempty"`
}

// Report is what an audit found.
type Report struct {
	Balanced        bool             `json:"balanced"`         // every check of the log holds
	PostgresEqual   *bool            `json:"postgres_equal"`   // null: not compared
	ClickHouseEqual *bool            `json:"clickhouse_equal"` // null: not compared
	Commands        int64            `json:"commands"`
	Decisions       int64            `json:"decisions"`
	Undecided       int64            `json:"undecided"`
	Parked          int64            `json:"parked"`
	Dead            int64            `json:"dead"`
	Discarded       int64            `json:"discarded"` // parked, and dropped at an operator's word
	Redriven        int64            `json:"redriven"`  // decided out of turn, at an operator's word
	Controls        int64            `json:"controls"`  // words of operators and steps of the engine, which are no commands
	Accounts        int64            `json:"accounts"`
	TransitMinor    map[string]int64 `json:"transit_minor"`
	Checks          []Check          `json:"checks"`
	FirstDifference *Difference      `json:"first_difference"`
	Seconds         float64          `json:"seconds"`
}

// DifferenceError says that the books do not close.
type DifferenceError struct{ First Difference }

func (e *DifferenceError) Error() string { return "the books do not close: " + e.First.String() }

// Err is a *DifferenceError where something differs.
func (r Report) Err() error {
	if r.FirstDifference == nil {
		return nil
	}
	return &DifferenceError{First: *r.FirstDifference}
}

// Behind holds where nothing differs and something is not there yet: it may come.
func (r Report) Behind() bool {
	lags := false
	for i := range r.Checks {
		switch r.Checks[i].Verdict {
		case VerdictDifferent:
			return false
		case VerdictLag:
			lags = true
		}
	}
	return lags
}

// findings collects what the checks see; several partitions report at once.
type findings struct {
	mu     sync.Mutex
	checks map[string]*Check
	order  []string
}

func newFindings(names ...string) *findings {
	f := &findings{checks: map[string]*Check{}, order: names}
	for _, n := range names {
		f.checks[n] = &Check{Name: n}
	}
	return f
}

// count adds things that were compared.
func (f *findings) count(check string, n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.checks[check].Compared += n
}

// differ adds a difference.
func (f *findings) differ(d Difference) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.checks[d.Check]
	c.Differences++
	if c.Differences == 1 || d.before(*c.First) { // what lags is named only where nothing differs
		c.First = &d
	}
}

// behind adds records that are not there yet.
func (f *findings) behind(d Difference, n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.checks[d.Check]
	c.Behind += n
	if c.First == nil {
		c.First = &d
	}
}

// skip says why a check was not made.
func (f *findings) skip(check, why string) {
	f.note(check, why)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.checks[check].Verdict = VerdictSkipped
}

func (f *findings) note(check, note string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.checks[check].Note = note
}

// close gives the rows in order.
func (f *findings) close(allowLag bool) []Check {
	f.mu.Lock()
	defer f.mu.Unlock()
	rows := make([]Check, 0, len(f.order))
	for _, name := range f.order {
		c := *f.checks[name]
		switch {
		case c.Differences > 0:
			c.Verdict = VerdictDifferent
		case c.Behind > 0 && !allowLag:
			c.Verdict = VerdictLag
		case c.Verdict == "":
			c.Verdict = VerdictEqual
		}
		if c.Verdict == VerdictEqual {
			c.First = nil
		}
		rows = append(rows, c)
	}
	return rows
}

// WriteJSON writes the report as one JSON object.
func (r Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if err := e.Encode(r); err != nil {
		return fmt.Errorf("encoding report: %w", err)
	}
	return nil
}

// WriteTable writes the report for people.
func (r Report) WriteTable(w io.Writer) error {
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	t.AppendHeader(table.Row{"check", "compared", "different", "behind", "verdict"})
	t.SetColumnConfigs([]table.ColumnConfig{
		{Number: 2, Align: text.AlignRight}, {Number: 3, Align: text.AlignRight}, {Number: 4, Align: text.AlignRight},
	})
	for _, c := range r.Checks {
		t.AppendRow(table.Row{c.Name, c.Compared, c.Differences, c.Behind, c.Verdict})
	}
	var out strings.Builder
	fmt.Fprintf(&out, "%s\n%d commands, %d decisions, %d undecided, %d parked, %d dead, %d discarded, %d redriven, %d accounts, %.1f s\n",
		t.Render(), r.Commands, r.Decisions, r.Undecided, r.Parked, r.Dead, r.Discarded, r.Redriven, r.Accounts, r.Seconds)
	for _, c := range slices.Sorted(maps.Keys(r.TransitMinor)) {
		fmt.Fprintf(&out, "transit %s %d\n", c, r.TransitMinor[c])
	}
	for _, c := range r.Checks {
		if c.Note != "" {
			fmt.Fprintf(&out, "%s: %s\n", c.Name, c.Note)
		}
	}
	if r.FirstDifference != nil {
		fmt.Fprintf(&out, "first difference: %s\n", r.FirstDifference)
	} else {
		out.WriteString("the books close\n")
	}
	if _, err := io.WriteString(w, out.String()); err != nil {
		return fmt.Errorf("writing report: %w", err)
	}
	return nil
}
