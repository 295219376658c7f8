package bench

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/template"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/broker"
)

// Report is everything a run found.
type Report struct {
	At            time.Time          `json:"at"`
	Command       string             `json:"command"`
	Machine       string             `json:"machine"`
	Broker        string             `json:"broker"`
	Durability    string             `json:"durability"`
	Pairs         int                `json:"pairs"`
	Seconds       float64            `json:"seconds"`
	Accounts      int                `json:"accounts"`
	OpenPerSecond float64            `json:"accounts_opened_per_second"`
	Figures       []Figure           `json:"figures"`
	Spent         map[string]float64 `json:"cpu_us_per_payment"` // by part, median run
	Temperatures  []Temperature      `json:"thermometers"`
	BooksClosed   bool               `json:"books_closed"`
	Accepted      int64              `json:"accepted"`
	Finals        int64              `json:"final"`
	Redelivered   int64              `json:"redelivered"`
	Repeats       int64              `json:"known_as_repeats"`
	Acknowledged  int64              `json:"acknowledged_by_the_ingress_alone,omitempty"`
	LogGrew       int64              `json:"log_grew_by,omitempty"`
	Profiles      []Profile          `json:"profiles,omitempty"`

	options Options
	pprof   string
}

func newReport(o Options) *Report {
	r := &Report{
		At: time.Now().UTC(), Command: o.Command, Machine: machine(), Broker: broker.Banner + "; its own fsync off",
		Pairs: o.Pairs, Seconds: o.Seconds, Accounts: o.Accounts, Spent: map[string]float64{}, options: o,
	}
	if len(o.Brokers) > 0 {
		r.Broker = "external, " + strings.Join(o.Brokers, ",")
	}
	return r
}

func (r *Report) add(figures ...Figure) {
	for _, f := range figures {
		if chosen(r.options.Only, f.ID) {
			r.Figures = append(r.Figures, f)
		}
	}
}

// spend takes the processor time by part of all loads together.
func (r *Report) spend(loads []load) {
	var finals int64
	sum := map[string]time.Duration{}
	for _, l := range loads {
		finals += l.finals
		for part, t := range l.cpu {
			sum[part] += t
		}
	}
	for part, t := range sum {
		r.Spent[part] = float64(t.Microseconds()) / float64(max(1, finals))
	}
}

// machine is what the figures depend on most.
func machine() string {
	model, governor := "unknown processor", "no governor shown"
	if f, err := os.Open("/proc/cpuinfo"); err == nil {
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			if name, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
		_ = f.Close() // only read
	}
	if body, err := os.ReadFile("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"); err == nil {
		governor = "governor " + strings.TrimSpace(string(body))
	}
	return fmt.Sprintf("%d cores, %s, %s, %s/%s, %s", runtime.NumCPU(), model, governor, runtime.GOOS, runtime.GOARCH, runtime.Version())
}

func (r *Report) publish(stdout io.Writer) error {
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
	if _, err := fmt.Fprintf(stdout, "%s\n%s\n%s\n", r.Machine, r.Broker, r.Durability); err != nil {
		return fmt.Errorf("printing report: %w", err)
	}
	for _, t := range []table.Writer{r.figures(), r.spent()} {
		t.SetOutputMirror(stdout)
		t.SetStyle(table.StyleLight)
		t.Render()
	}
	for _, p := range r.Profiles {
		if _, err := fmt.Fprintf(stdout, "\n%s\n%s", p.Part, p.Top); err != nil {
			return fmt.Errorf("printing report: %w", err)
		}
	}
	return nil
}

func (r *Report) figures() table.Writer {
	t := table.NewWriter()
	t.AppendHeader(table.Row{"id", "what", "median", "min", "max", "floor", "goal", "verdict", "system (median)", "baseline (median)", "baseline max/min"})
	for _, f := range r.Figures {
		row := table.Row{f.ID, f.What, f.show(f.Median), f.show(f.Min), f.show(f.Max), f.show(f.Floor), f.show(f.Goal), f.Verdict}
		if f.Floor == 0 { // it has no target
			row[5], row[6] = "", ""
		}
		if len(f.Baseline) > 0 {
			row = append(row, fmt.Sprintf("%.0f/s", median(slices.Sorted(slices.Values(f.System)))),
				fmt.Sprintf("%.0f/s", median(slices.Sorted(slices.Values(f.Baseline)))),
				fmt.Sprintf("%.2f", slices.Max(f.Baseline)/slices.Min(f.Baseline)))
		}
		t.AppendRow(row)
	}
	return t
}

func (f Figure) show(v float64) string {
	if v == float64(int64(v)) {
		return fmt.Sprintf("%.0f %s", v, f.Unit)
	}
	return fmt.Sprintf("%.2f %s", v, f.Unit)
}

func (r *Report) spent() table.Writer {
	t := table.NewWriter()
	t.AppendHeader(table.Row{"processor time a final payment", "us"})
	var sum float64
	for _, part := range partNames() {
		t.AppendRow(table.Row{part, fmt.Sprintf("%.0f", r.Spent[part])})
		sum += r.Spent[part]
	}
	t.AppendFooter(table.Row{"all", fmt.Sprintf("%.0f", sum)})
	return t
}

// What every report says alike.
const (
	inconclusiveMarkdown = "`inconclusive` means that the baseline alone varied by more than 1.5."

	limitedMarkdown = `## What limited it
{{if not .Profiles}}
No profile was taken: run with --profile DIR.
{{end}}{{range .Profiles}}
### {{.Part}}

` + "```\n{{.Top}}```" + `
{{end}}`
)

const markdown = `# {{.What}}, {{.At.Format "2006-01-02"}}

    {{.Command}}

- machine: {{.Machine}}
- broker: {{.Broker}}
- durability: {{.Durability}}
- method: {{.Pairs}} pairs of {{.Seconds}} s, in the order A B B A, after a warm-up; the median of the ratios of the pairs, with least and most;
  {{.Accounts}} accounts, uniform; transfers 10 %, cross-currency 10 %, refunds 5 %, invalid 1 %, the rest pay-ins and payouts
- opening accounts: {{printf "%.0f" .OpenPerSecond}} a second
- books: {{if .BooksClosed}}closed, strictly verified against the log, Postgres and ClickHouse{{else}}NOT PROVEN{{end}};
  {{.Accepted}} accepted, {{.Finals}} final; {{.Redelivered}} commands redelivered, {{.Repeats}} known as repeats, no payment final twice
{{- if .Acknowledged}}
- ingress alone: {{.Acknowledged}} acknowledged, the log grew by {{.LogGrew}} (ticks included)
{{- end}}

## Figures

{{.FiguresTable}}

` + inconclusiveMarkdown + `

## Where the processor time goes

{{.SpentTable}}

## Thermometers

| at | raw produce, records/s | Postgres commits/s | load average |
|---|---|---|---|
{{range .Temperatures}}| {{.At.Format "15:04:05"}} | {{printf "%.0f" .ProducePerS}} | {{printf "%.0f" .PostgresCommits}} | {{.Load}} |
{{end}}
` + limitedMarkdown

func (r *Report) writeMarkdown() error {
	return writeMarkdown(r.options.Report, r.options.What, r.At, markdown, struct {
		*Report
		What, FiguresTable, SpentTable string
	}{r, r.options.What, r.figures().RenderMarkdown(), r.spent().RenderMarkdown()})
}

// writeMarkdown fills a template into the folder of reports, as DATE-WHAT.md.
func writeMarkdown(folder, what string, at time.Time, text string, data any) error {
	if err := os.MkdirAll(folder, 0o755); err != nil { //nolint:gosec // documents
		return fmt.Errorf("making the folder of reports: %w", err)
	}
	f, err := os.Create(filepath.Join(folder, at.Format("2006-01-02")+"-"+what+".md")) //nolint:gosec // the operator names the folder
	if err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	if err := template.Must(template.New("report").Parse(text)).Execute(f, data); err != nil {
		_ = f.Close() // the first error counts
		return fmt.Errorf("writing the report: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}
