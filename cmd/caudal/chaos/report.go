package chaos

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Report of a run. Its JSON keys are stable.
type Report struct {
	Payments int64        `json:"payments"`
	Faults   map[Kind]int `json:"faults"`
	Wrong
	TakeoverP50MS int64 `json:"takeover_p50_ms"`
	TakeoverP99MS int64 `json:"takeover_p99_ms"`
	TakeoverMaxMS int64 `json:"takeover_max_ms"`

	TakeoversMS map[Kind]Takeover `json:"takeovers_ms"`
	Overlapped  int               `json:"overlapped"`  // faults that fell before the one before was over: in no takeover time
	IdleFaults  int               `json:"idle_faults"` // hit nothing that moved, and were repeated

	Planned   int     `json:"planned_faults"`
	Seed      uint64  `json:"seed"`
	Members   int     `json:"members"`
	Engine    string  `json:"engine"`
	Brokers   string  `json:"brokers"`
	Commands  int64   `json:"commands"`
	Decisions int64   `json:"decisions"`
	Seconds   float64 `json:"seconds"`
	PerSecond float64 `json:"decisions_per_second"`
	Ended     int     `json:"workers_ended_by_themselves"`
	Refused   int     `json:"workers_refusing"`
	Stalled   string  `json:"stalled,omitempty"` // why the run ended early
	Kept      string  `json:"kept,omitempty"`    // the folder with the logs
	Again     bool    `json:"again,omitempty"`   // without an attack: what was acknowledged and observed is not known
	Passed    bool    `json:"passed"`
}

// Takeover times of one kind of fault, in milliseconds.
type Takeover struct {
	Count int   `json:"count"`
	P50   int64 `json:"p50"`
	Max   int64 `json:"max"`
}

// judge says whether the run is passed.
func (r *Report) judge() {
	fallen := 0
	for _, n := range r.Faults {
		fallen += n
	}
	r.Passed = r.None() && r.Stalled == "" && fallen == r.Planned && r.Refused == 0
}

// takeovers fills in what the stalls tell.
func (r *Report) takeovers(stalls []*stall) {
	var all []time.Duration
	by := map[Kind][]time.Duration{}
	for _, s := range stalls {
		switch {
		case s.blurred:
			r.Overlapped++
		case s.took > 0:
			all = append(all, s.took)
			by[s.kind] = append(by[s.kind], s.took)
		}
	}
	r.TakeoverP50MS, r.TakeoverP99MS, r.TakeoverMaxMS = quantile(all, 50), quantile(all, 99), quantile(all, 100)
	r.TakeoversMS = map[Kind]Takeover{}
	for kind, list := range by {
		r.TakeoversMS[kind] = Takeover{len(list), quantile(list, 50), quantile(list, 100)}
	}
}

// quantile in milliseconds, by nearest rank; 0 of nothing.
func quantile(list []time.Duration, percent int) int64 {
	if len(list) == 0 {
		return 0
	}
	slices.Sort(list)
	return list[(len(list)*percent+99)/100-1].Milliseconds()
}

func (r *Report) write(w io.Writer, output string) error {
	if output == "json" {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		if err := e.Encode(r); err != nil {
			return fmt.Errorf("writing the report: %w", err)
		}
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(t, format+"\n", args...) } // Flush tells
	if r.Again {
		line("again\twithout an attack: what was acknowledged, and seen under way, is not known")
	}
	line("seed\t%d", r.Seed)
	line("engine\t%s, %d workers, %s", r.Engine, r.Members, r.Brokers)
	line("payments\t%d (%d commands, %d decisions)", r.Payments, r.Commands, r.Decisions)
	line("under fault\t%.0f s, %.0f decisions a second", r.Seconds, r.PerSecond)
	kinds := make([]Kind, 0, len(r.Faults))
	for k := range r.Faults {
		kinds = append(kinds, k)
	}
	slices.Sort(kinds)
	line("\t")
	line("fault\tfell\ttakeover p50\tmax")
	for _, k := range kinds {
		line("%s\t%d %s\t%d ms\t%d ms", k, r.Faults[k], strings.Repeat("#", min(40, r.Faults[k])), r.TakeoversMS[k].P50, r.TakeoversMS[k].Max)
	}
	line("all\t%d of %d\t%d ms\t%d ms (p99 %d ms)", r.fallen(), r.Planned, r.TakeoverP50MS, r.TakeoverMaxMS, r.TakeoverP99MS)
	line("\t")
	for _, row := range r.rows() {
		line("%s\t%d", row.what, row.n)
	}
	if r.FirstFinding != "" {
		line("first finding\t%s", r.FirstFinding)
	}
	if r.Stalled != "" {
		line("ended early\t%s", r.Stalled)
	}
	if r.Kept != "" {
		line("logs\t%s", r.Kept)
	}
	verdict := "FAILED"
	if r.Passed {
		verdict = "PASSED: every command decided once, every account and record as the commands make it"
	}
	line("\t")
	line("verdict\t%s", verdict)
	if err := t.Flush(); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}

func (r *Report) fallen() (n int) {
	for _, k := range r.Faults {
		n += k
	}
	return n
}

type row struct {
	what string
	n    int64
}

func (r *Report) rows() []row {
	rows := []row{
		{"missing", r.Missing},
		{"duplicate decisions", r.DuplicateDecisions},
		{"duplicate orders", r.DuplicateOrders},
		{"wrong balances", r.WrongBalance},
		{"order violations", r.OrderViolations},
		{"open transactions", r.OpenTransactions},
	}
	for _, more := range []row{
		{"wrong decisions", r.WrongDecisions},
		{"wrong side records", r.WrongSide},
		{"wrong emissions", r.WrongEmissions},
		{"duplicate emissions", r.DuplicateEmissions},
		{"dead letters", r.DeadLetters},
		{"money not conserved", r.ConservationBroken},
		{"workers refusing", int64(r.Refused)},
	} {
		if more.n != 0 {
			rows = append(rows, more)
		}
	}
	return rows
}
