package up

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/caudalpay/caudal/cmd/caudal/observe"
	"github.com/caudalpay/caudal/processors/money"
)

// Summary of a load. Counts are commands; times are accepted to decided-and-committed.
type Summary struct {
	Accepted        int64            `json:"accepted"` // acknowledged commands
	Decided         int64            `json:"decided"`
	Approved        int64            `json:"approved"`
	Declined        int64            `json:"declined"`
	Review          int64            `json:"review"`
	Conflicts       int64            `json:"conflicts"`
	Repeats         int64            `json:"repeats"`
	Dead            int64            `json:"dead"`
	Parked          int64            `json:"parked"`
	PerSecond       float64          `json:"per_second"` // decided and in both stores, over the whole load
	P50MS           float64          `json:"p50_ms"`
	P99MS           float64          `json:"p99_ms"`
	TransitMinor    map[string]int64 `json:"transit_minor"` // by currency; drained: zero
	Balanced        bool             `json:"balanced"`
	PostgresEqual   bool             `json:"postgres_equal"`
	ClickHouseEqual bool             `json:"clickhouse_equal"`
	Reasons         map[string]int64 `json:"declined_by_reason"`
	Kinds           map[string]int64 `json:"decided_by_kind"`
	Refused         map[string]int64 `json:"refused_at_the_door,omitempty"` // by error code; nothing of these is in the log
	RejectedRows    int64            `json:"rejected_rows,omitempty"`       // import only
	Seconds         float64          `json:"seconds"`
}

// Closed tells whether everything accepted was decided, nothing is stuck, and the books and both stores agree.
func (s Summary) Closed() bool {
	if s.Decided != s.Accepted || s.Dead != 0 || s.Parked != 0 {
		return false
	}
	for _, minor := range s.TransitMinor {
		if minor != 0 {
			return false
		}
	}
	return s.Balanced && s.PostgresEqual && s.ClickHouseEqual
}

func (s *Summary) take(c observe.Counts) {
	s.Decided, s.Approved, s.Declined, s.Review = c.Decided, c.Approved, c.Declined, c.Review
	s.Conflicts, s.Repeats = c.Conflicts, c.Repeats
	s.Reasons, s.Kinds = c.Reasons, c.Kinds
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func (s Summary) print(w io.Writer, output string) error {
	if output == "json" {
		if err := json.NewEncoder(w).Encode(s); err != nil {
			return fmt.Errorf("printing summary: %w", err)
		}
		return nil
	}
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.StyleLight)
	t.AppendRows([]table.Row{
		{"accepted", s.Accepted},
		{"decided", s.Decided},
		{"approved", s.Approved},
		{"declined", s.Declined},
		{"in review", s.Review},
		{"exact repeats", s.Repeats},
		{"conflicting repeats", s.Conflicts},
		{"dead letters", s.Dead},
		{"parked", s.Parked},
	})
	t.AppendSeparator()
	for _, reason := range sortedKeys(s.Reasons) {
		t.AppendRow(table.Row{"declined: " + reason, s.Reasons[reason]})
	}
	t.AppendSeparator()
	t.AppendRows([]table.Row{
		{"decided and in both stores, per second", fmt.Sprintf("%.0f", s.PerSecond)},
		{"accepted to decided, p50", fmt.Sprintf("%.1f ms", s.P50MS)},
		{"accepted to decided, p99", fmt.Sprintf("%.1f ms", s.P99MS)},
	})
	t.AppendSeparator()
	for _, currency := range sortedKeys(s.TransitMinor) {
		t.AppendRow(table.Row{"in transit " + currency, money.Format(s.TransitMinor[currency], currency)})
	}
	t.AppendRows([]table.Row{
		{"books balance", yes(s.Balanced)}, {"Postgres equals the log", yes(s.PostgresEqual)}, {"ClickHouse equals the log", yes(s.ClickHouseEqual)},
	})
	t.Render()
	return nil
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "NO"
}

func sortedKeys(m map[string]int64) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
