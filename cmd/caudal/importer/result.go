package importer

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
)

// Result counts rows by what became of them. Every row is in exactly one of approved, review and rejected.
type Result struct {
	Rows           int            `json:"rows"`
	Approved       int            `json:"approved"`
	Review         int            `json:"review"`
	Rejected       int            `json:"rejected"` // refused or declined; each is in the side file
	Reasons        map[string]int `json:"reasons"`  // of the rejected
	Repeated       int            `json:"repeated"` // of all: those that an earlier run had sent
	AccountsOpened int            `json:"accounts"` // opened, or found open on the same terms
	RejectedFile   string         `json:"rejected_file,omitempty"`
	Seconds        float64        `json:"seconds"`
	PerSecond      float64        `json:"per_second"`
}

// Print writes a table, or one JSON object where output is json.
func (r Result) Print(w io.Writer, output string) error {
	switch output {
	case "json":
		if err := json.NewEncoder(w).Encode(r); err != nil {
			return fmt.Errorf("printing the result: %w", err)
		}
		return nil
	case "table":
	default:
		return fmt.Errorf("printing the result: output %q is not table or json", output)
	}
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.AppendRows([]table.Row{
		{"rows", r.Rows},
		{"approved", r.Approved},
		{"in review", r.Review},
		{"rejected", r.Rejected},
		{"sent by an earlier run", r.Repeated},
		{"accounts", r.AccountsOpened},
		{"time", time.Duration(r.Seconds * float64(time.Second)).Round(time.Millisecond)},
		{"rows/s", int(r.PerSecond)},
	})
	for reason, n := range r.Reasons {
		t.AppendRow(table.Row{"  " + reason, n})
	}
	if r.RejectedFile != "" {
		t.AppendRow(table.Row{"rejected rows are in", r.RejectedFile})
	}
	t.Render()
	return nil
}
