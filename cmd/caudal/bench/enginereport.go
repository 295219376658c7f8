package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/broker"
)

// EngineReport is everything a run of `caudal bench engine` found.
type EngineReport struct {
	At           time.Time     `json:"at"`
	Command      string        `json:"command"`
	Machine      string        `json:"machine"`
	Broker       string        `json:"broker"`
	Pairs        int           `json:"pairs"`
	TurnSeconds  float64       `json:"turn_seconds"`
	Seconds      float64       `json:"seconds"` // the whole run
	Figures      []Figure      `json:"figures"`
	Turns        []TurnSummary `json:"contestants"`
	Settings     []TurnSummary `json:"kafka_streams_settings,omitempty"`
	Sustained    float64       `json:"sustained_records_per_second,omitempty"`
	Latencies    []Latency     `json:"latencies,omitempty"`
	Notes        []string      `json:"notes,omitempty"`
	Void         []string      `json:"void,omitempty"` // contestants that are out, and why
	Temperatures []Temperature `json:"thermometers"`
	Profiles     []Profile     `json:"profiles,omitempty"`

	options EngineOptions
}

// TurnSummary is the median of a contestant's turns.
type TurnSummary struct {
	Turn
	Turns     int     `json:"turns"`
	Least     float64 `json:"least"`
	Most      float64 `json:"most"`
	CommitMS  float64 `json:"commit_ms,omitempty"`          // mean, from the last callback to the confirmed commit
	PerCommit float64 `json:"records_per_commit,omitempty"` // mean
}

func summary(turns []Turn) TurnSummary {
	pick := func(f func(Turn) float64) float64 {
		var all []float64
		for _, t := range turns {
			all = append(all, f(t))
		}
		slices.Sort(all)
		return median(all)
	}
	s := TurnSummary{Turn: turns[0], Turns: len(turns), Least: turns[0].Rate, Most: turns[0].Rate}
	s.Rate, s.Own, s.Broker = pick(func(t Turn) float64 { return t.Rate }), pick(func(t Turn) float64 { return t.Own }), pick(func(t Turn) float64 { return t.Broker })
	s.Seconds = pick(func(t Turn) float64 { return t.Seconds })
	s.Records = 0
	var commits, seconds float64
	for _, t := range turns {
		s.Least, s.Most = min(s.Least, t.Rate), max(s.Most, t.Rate)
		s.Records += t.Records
		commits, seconds = commits+t.commits, seconds+t.commitSeconds
	}
	if commits > 0 {
		s.CommitMS, s.PerCommit = 1e3*seconds/commits, float64(s.Records)/commits
	}
	return s
}

func newEngineReport(o EngineOptions) *EngineReport {
	r := &EngineReport{
		At: time.Now().UTC(), Command: o.Command, Machine: machine(), Pairs: o.Pairs, TurnSeconds: o.Seconds, options: o,
		Broker: broker.Banner + "; in a process of its own, its own fsync off",
	}
	switch {
	case o.Kafka == 1:
		r.Broker = "Apache Kafka, one broker on the same machine, its own fsync off as it ships"
	case o.Kafka > 1:
		r.Broker = fmt.Sprintf("Apache Kafka, %d brokers on the same machine, replication %d, min.insync.replicas 2, their own fsync off as they ship", o.Kafka, o.Kafka)
	case len(o.Brokers) > 0:
		r.Broker = "external, " + strings.Join(o.Brokers, ",")
	}
	return r
}

func (r *EngineReport) add(figures ...Figure) { r.Figures = append(r.Figures, figures...) }

// compare adds a figure, unless one of the two is out.
func (r *EngineReport) compare(t target, id string, baseline, system []float64) {
	if len(baseline) > 0 && len(system) > 0 {
		r.add(t.figure(id, baseline, system))
	}
}

func (r *EngineReport) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// loadAverage is the first line of what the kernel says.
func loadAverage() string {
	body, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(body))
}

func (r *EngineReport) publish(stdout io.Writer) error {
	if r.options.Report != "" {
		if err := r.writeMarkdown(); err != nil {
			return err
		}
	}
	if r.options.Output == "json" {
		if err := json.NewEncoder(stdout).Encode(r); err != nil {
			return fmt.Errorf("printing report: %w", err)
		}
		return nil
	}
	if _, err := fmt.Fprintf(stdout, "%s\n%s\n", r.Machine, r.Broker); err != nil {
		return fmt.Errorf("printing report: %w", err)
	}
	for _, t := range r.tables() {
		t.table.SetOutputMirror(stdout)
		t.table.SetStyle(table.StyleLight)
		t.table.SetTitle(t.Title)
		t.table.Render()
	}
	for _, n := range append(r.Notes, r.Void...) {
		if _, err := fmt.Fprintln(stdout, n); err != nil {
			return fmt.Errorf("printing report: %w", err)
		}
	}
	for _, p := range r.Profiles {
		if _, err := fmt.Fprintf(stdout, "\n%s\n%s", p.Part, p.Top); err != nil {
			return fmt.Errorf("printing report: %w", err)
		}
	}
	return nil
}

// titled is a table of the report.
type titled struct {
	Title string
	table table.Writer
}

// Markdown is the table for the document.
func (t titled) Markdown() string { return t.table.RenderMarkdown() }

func (r *EngineReport) tables() (all []titled) {
	all = append(all, titled{"Figures", (&Report{Figures: r.Figures}).figures()})
	if len(r.Turns) > 0 {
		t := table.NewWriter()
		t.AppendHeader(table.Row{"contestant", "turns", "records/s (median)", "least", "most", "CPU us a record", "broker CPU us a record", "records a commit", "commit ms", "records audited"})
		for _, s := range r.Turns {
			row := table.Row{s.Contestant, s.Turns, whole(s.Rate), whole(s.Least), whole(s.Most), short(s.Own), short(s.Broker), "", "", s.Records}
			if s.PerCommit > 0 {
				row[7], row[8] = whole(s.PerCommit), short(s.CommitMS)
			}
			t.AppendRow(row)
		}
		all = append(all, titled{"Contestants", t})
	}
	if len(r.Settings) > 0 {
		t := table.NewWriter()
		t.AppendHeader(table.Row{"setting", "records/s", "CPU us a record", "broker CPU us a record"})
		for _, s := range r.Settings {
			t.AppendRow(table.Row{s.Contestant, whole(s.Rate), short(s.Own), short(s.Broker)})
		}
		all = append(all, titled{"Kafka Streams, looking for its best setting", t})
	}
	if len(r.Latencies) > 0 {
		t := table.NewWriter()
		t.AppendHeader(table.Row{"commit ceiling ms", "records/s", "p50 ms", "p99 ms", "p99.9 ms", "max ms", "CPU us a record", "broker CPU us a record"})
		for _, l := range r.Latencies {
			t.AppendRow(table.Row{l.CeilingMS, whole(l.PerSecond), short(l.P50), short(l.P99), short(l.P999), short(l.Max), short(l.Own), short(l.Broker)})
		}
		load := "as told"
		if r.Sustained > 0 {
			load = fmt.Sprintf("half of the %.0f records/s it sustains", r.Sustained)
		}
		all = append(all, titled{"Latency of one stage, open loop, " + load, t})
	}
	t := table.NewWriter()
	t.AppendHeader(table.Row{"at", "raw produce, records/s", "load average"})
	for _, at := range r.Temperatures {
		t.AppendRow(table.Row{at.At.Format(time.TimeOnly), whole(at.ProducePerS), at.Load})
	}
	return append(all, titled{"Thermometers", t})
}

func whole(v float64) string { return fmt.Sprintf("%.0f", v) }
func short(v float64) string { return fmt.Sprintf("%.2f", v) }

const engineMarkdown = `# {{.What}}, {{.At.Format "2006-01-02"}}

    {{.Command}}

- machine: {{.Machine}}
- broker: {{.Broker}}; acks=all, idempotent (stock Goka: acks=1, not idempotent, as it comes)
- work: read a counter, write it, emit one output; values of 200 bytes, 8 partitions, 10,000 keys where nothing else stands, commits every 50 ms
- method: {{.Pairs}} rounds of turns of {{.TurnSeconds}} s. A round gives each contestant one turn, and the next goes backwards (A B C C B A), so that every
  two are interleaved A B B A; figures are medians of the ratios inside rounds, with least and most. Each contestant has a process and
  topics of its own and works on the same backlog, which was written before. A turn counts from the first change of the group's
  committed offsets a second after its first commit to the last one: starting is not in it, nor what was not committed. See README.md
- audit: after each turn, as far as the contestant committed, the output must hold one record for each of the input, and the changelog the counter of
  each key; a contestant that leaves anything else is out
{{- if .Void}}
{{- range .Void}}
- OUT: {{.}}
{{- end}}
{{- else}}. All passed
{{- end}}
- the run took {{printf "%.0f" .Seconds}} s
{{range .Tables}}
## {{.Title}}

{{.Markdown}}
{{end}}
` + inconclusiveMarkdown + `
{{range .Notes}}
- {{.}}
{{- end}}

` + limitedMarkdown

func (r *EngineReport) writeMarkdown() error {
	what := r.options.What
	if r.options.Kafka > 0 {
		what = fmt.Sprintf("%s-kafka-%d", what, r.options.Kafka)
	}
	return writeMarkdown(r.options.Report, what, r.At, engineMarkdown, struct {
		*EngineReport
		What   string
		Tables []titled
	}{r, what, r.tables()})
}
