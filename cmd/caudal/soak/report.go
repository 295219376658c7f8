package soak

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/caudalpay/caudal/cmd/caudal/rig"
	"github.com/caudalpay/caudal/processors/money"
)

// Line explains a part of what stands in transit or suspense. Amounts are minor units.
type Line struct {
	Account  string   `json:"account"`
	Layer    string   `json:"layer"`
	Currency string   `json:"currency"`
	Payment  string   `json:"payment"`
	Amount   int64    `json:"amount_minor"`
	Status   string   `json:"status"`
	Reasons  []string `json:"reasons"`
}

// Standing is what a system account holds at the end, and how much of it lines explain.
type Standing struct {
	Account   string `json:"account"`
	Layer     string `json:"layer"`
	Currency  string `json:"currency"`
	Balance   int64  `json:"balance_minor"`
	Explained int64  `json:"explained_minor"`
}

// Met says how a kind of fault fell.
type Met struct {
	Fell  int64   `json:"fell"`
	On    int     `json:"on"`            // charges and transfers, once each
	Share float64 `json:"share_percent"` // of all of them
}

// Report of a soak. All that has to be 0 stands first.
type Report struct {
	ChargedTwice int  `json:"charged_twice"` // orders, in the simulator's books
	Lost         int  `json:"lost"`          // accepted, and never decided
	Different    int  `json:"different"`     // payments of which the rail's books say another sum than ours
	Stuck        int  `json:"stuck"`         // still waiting for an answer when nothing moved any more
	Unexplained  int  `json:"unexplained"`   // balances of transit and suspense that the lines do not add up to
	Balanced     bool `json:"balanced"`      // `caudal verify`
	Passed       bool `json:"passed"`

	Payments    int            `json:"payments"`
	Seed        uint64         `json:"seed"`
	Kills       int            `json:"kills"`
	WorkerKills int            `json:"worker_kills"` // of one worker alone
	SinkKills   int            `json:"sink_kills"`   // of stores and connectors alone
	Accepted    int            `json:"accepted"`
	Decisions   int64          `json:"decisions"`
	Seconds     float64        `json:"seconds"` // from the first payment to the last answer
	Charges     int            `json:"charges"` // and transfers, at acquirers and bank
	PerSecond   float64        `json:"charges_per_second"`
	Refused     map[string]int `json:"refused,omitempty"` // by the front door
	Statuses    map[string]int `json:"statuses"`          // of pay-ins and payouts by a rail, at the end
	Faults      map[string]Met `json:"faults"`
	TooRare     []string       `json:"too_rare"` // kinds of faults below the share asked for
	Webhooks    any            `json:"webhooks"`
	Quotes      Quotes         `json:"quotes"`
	Disputes    Disputes       `json:"disputes"`
	Feed        rig.Feed       `json:"card_feed"`
	Standings   []Standing     `json:"standings"`
	Lines       []Line         `json:"lines"`
	Findings    []string       `json:"findings"` // the first of what is wrong
	Verify      string         `json:"verify,omitempty"`
	Kept        string         `json:"kept,omitempty"`
}

const findingsMost = 20

func (r *Report) find(format string, args ...any) {
	if len(r.Findings) < findingsMost {
		r.Findings = append(r.Findings, fmt.Sprintf(format, args...))
	}
}

func (r *Report) judge() {
	r.Passed = r.ChargedTwice == 0 && r.Lost == 0 && r.Different == 0 && r.Stuck == 0 && r.Unexplained == 0 && r.Quotes.Wrong == 0 && r.Disputes.Wrong == 0 && r.Feed.WrongAnswers == 0 &&
		r.Balanced && len(r.Refused) == 0 && len(r.TooRare) == 0
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
	sheet := func(title string, header table.Row, rows []table.Row) {
		t := table.NewWriter()
		t.SetOutputMirror(w)
		t.SetStyle(table.StyleLight)
		t.SetTitle(title)
		t.AppendHeader(header)
		t.AppendRows(rows)
		t.Render()
	}
	sheet("soak", table.Row{"what", "figure"}, []table.Row{
		{"payments, seed", fmt.Sprintf("%d, %d", r.Payments, r.Seed)},
		{"kills of the house, a worker, the sinks", fmt.Sprintf("%d, %d, %d", r.Kills, r.WorkerKills, r.SinkKills)},
		{"accepted, decisions", fmt.Sprintf("%d, %d", r.Accepted, r.Decisions)},
		{"charges and transfers", fmt.Sprintf("%d in %.0f s: %.0f/s", r.Charges, r.Seconds, r.PerSecond)},
		{"charged twice", r.ChargedTwice},
		{"lost", r.Lost},
		{"other sums than the rail's", r.Different},
		{"stuck", r.Stuck},
		{"unexplained in transit and suspense", r.Unexplained},
		{"quotes used, too late, taken already", fmt.Sprintf("%d of %d, %d, %d", r.Quotes.Used, r.Quotes.Given, r.Quotes.Late, r.Quotes.Taken)},
		{"quotes used wrongly", r.Quotes.Wrong},
		{"disputes held, taken, returned", fmt.Sprintf("%d: %d, %d, %d", r.Disputes.Told, r.Disputes.Held, r.Disputes.Taken, r.Disputes.Returned)},
		{"disputes whose money is elsewhere", r.Disputes.Wrong},
		{"card feed: answered, stand-ins, timeouts", fmt.Sprintf("%d, %d, %d", r.Feed.Answered, r.Feed.StandIns, r.Feed.Timeouts)},
		{"card feed: wrong answers and balances", r.Feed.WrongAnswers},
		{"books balance (verify)", r.Balanced},
		{"passed", r.Passed},
	})
	rows := []table.Row{}
	for _, kind := range slices.Sorted(maps.Keys(r.Faults)) {
		m := r.Faults[kind]
		rows = append(rows, table.Row{kind, m.Fell, fmt.Sprintf("%d: %.1f %%", m.On, m.Share)})
	}
	sheet("faults", table.Row{"kind", "fell", "on charges"}, rows)
	rows = nil
	for _, status := range slices.Sorted(maps.Keys(r.Statuses)) {
		rows = append(rows, table.Row{status, r.Statuses[status]})
	}
	sheet("pay-ins and payouts by a rail", table.Row{"status", "payments"}, rows)
	rows = nil
	for _, s := range r.Standings {
		rows = append(rows, table.Row{s.Account, s.Layer, money.Format(s.Balance, s.Currency), money.Format(s.Explained, s.Currency)})
	}
	sheet("transit and suspense", table.Row{"account", "layer", "balance", "explained"}, rows)
	rows = nil
	for _, l := range r.Lines[:min(len(r.Lines), findingsMost)] {
		rows = append(rows, table.Row{l.Account, l.Layer, l.Payment, money.Format(l.Amount, l.Currency), l.Status, l.Reasons})
	}
	sheet(fmt.Sprintf("its %d lines, the first of them (all with -o json)", len(r.Lines)), table.Row{"account", "layer", "payment", "amount", "status", "reasons"}, rows)
	for _, f := range r.Findings {
		if _, err := fmt.Fprintln(w, f); err != nil {
			return fmt.Errorf("writing the report: %w", err)
		}
	}
	if r.Kept != "" {
		_, _ = fmt.Fprintln(w, "kept:", r.Kept) // as above
	}
	return nil
}
