package main

import (
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// metrics reads what a running house exports.
func (h *house) metrics() map[string]*dto.MetricFamily {
	h.t.Helper()
	resp, err := http.Get("http://" + h.http + "/metrics") //nolint:noctx // on loopback, in a test
	if err != nil {
		h.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }() // read below
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		h.t.Fatalf("metrics: %d %v", resp.StatusCode, err)
	}
	return families
}

// metric sums a counter or gauge over its labels.
func (h *house) metric(name string) (sum float64) {
	h.t.Helper()
	for _, m := range h.metrics()[name].GetMetric() {
		sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
	}
	return sum
}

type alert struct {
	Name        string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

func alerts(t *testing.T) []alert {
	t.Helper()
	body, err := os.ReadFile("../../deploy/alerts/caudal.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Rules []alert `yaml:"rules"`
		} `yaml:"groups"`
	}
	if err := yaml.Unmarshal(body, &file); err != nil {
		t.Fatal(err)
	}
	var all []alert
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	if len(all) == 0 {
		t.Fatal("no alerts")
	}
	return all
}

// dashboard gives the expressions of the dashboard by panel.
func dashboard(t *testing.T) map[string][]string {
	t.Helper()
	body, err := os.ReadFile("../../deploy/grafana/caudal.json")
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Panels []struct {
			Title   string `json:"title"`
			Targets []struct {
				Expr string `json:"expr"`
			} `json:"targets"`
		} `json:"panels"`
	}
	if err := json.Unmarshal(body, &d); err != nil {
		t.Fatal(err)
	}
	found := map[string][]string{}
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			found[p.Title] = append(found[p.Title], target.Expr)
		}
	}
	if len(found) == 0 {
		t.Fatal("no panels")
	}
	return found
}

// Invariant: every alert has its runbook, and every runbook its alert.
func TestEveryAlertHasItsRunbook(t *testing.T) {
	files, err := filepath.Glob("../../docs/runbooks/*.md")
	if err != nil {
		t.Fatal(err)
	}
	left := map[string]bool{}
	for _, f := range files {
		left[filepath.Base(f)] = true
	}
	for _, a := range alerts(t) {
		body, err := os.ReadFile(filepath.Join("../..", a.Annotations["runbook"]))
		if err != nil {
			t.Errorf("%s: %v", a.Name, err)
			continue
		}
		delete(left, filepath.Base(a.Annotations["runbook"]))
		for _, part := range []string{"# " + a.Name + "\n", "\n## What it means\n", "\n## What to look at\n", "\n## What to do\n"} {
			if !strings.Contains(string(body), part) {
				t.Errorf("%s: %q is not in %s", a.Name, strings.TrimSpace(part), a.Annotations["runbook"])
			}
		}
		if a.Annotations["summary"] == "" || !slices.Contains([]string{"page", "ticket"}, a.Labels["severity"]) {
			t.Errorf("%s: summary or severity is missing", a.Name)
		}
	}
	for f := range left {
		t.Errorf("%s belongs to no alert", f)
	}
}

// Invariant: a running house exports every metric that an alert, a runbook or the dashboard names, each streams worker's too.
func TestEveryMetricNamedIsExported(t *testing.T) {
	t.Parallel()
	_, rails := railsim(t, 1, "")
	h := startHouse(t, t.TempDir(), "--workers", "2", "--rails", rails)
	api := h.api(t)
	accounts := h.openAccounts(t, api, 2)
	h.post(api, "/payins", "card", map[string]any{
		"account_id": h.openRailAccounts(t, api, 1)[0], "amount": 100, "currency": "BRL", "reference": "card", "instrument": "tok_a",
		"method": map[string]any{"type": "card", "brand": "visa"},
	})
	h.shared(2)
	h.settle(t, api, accounts)
	item := map[string]any{
		"kind": "payin", "idempotency_key": "item", "account_id": accounts[0], "amount": 1, "currency": "BRL",
		"method": map[string]string{"type": "book"}, "reference": "item",
	}
	if _, err := api.Batch(t.Context(), []any{item}, ""); err != nil {
		t.Fatal(err)
	}
	api.Close()
	exported := h.metrics()
	for _, name := range []string{"caudal_streams_partitions", "caudal_streams_commits_total", "process_resident_memory_bytes"} {
		if by := h.byWorker(name); len(by) != 2 || by["0"] == 0 && by["1"] == 0 {
			t.Errorf("%s by worker: %v", name, by)
		}
	}
	h.stop()
	for _, name := range []string{"caudal_streams_commits_total", "caudal_ingest_commands_total", "caudal_sinks_decisions_total", "caudal_sinks_cards_answers_total", "caudal_up_ready", "go_goroutines"} {
		if exported[name] == nil {
			t.Errorf("%s is not exported: one of the layers is missing", name)
		}
	}
	texts := map[string]string{}
	for _, a := range alerts(t) {
		texts["alert "+a.Name] = a.Expr
		if body, err := os.ReadFile(filepath.Join("../..", a.Annotations["runbook"])); err == nil { // else another test says so
			texts[a.Annotations["runbook"]] = string(body)
		}
	}
	for title, exprs := range dashboard(t) {
		texts["panel "+title] = strings.Join(exprs, "\n")
	}
	name := regexp.MustCompile(`caudal_[a-z0-9_]+`)
	for _, where := range slices.Sorted(maps.Keys(texts)) {
		found := name.FindAllString(texts[where], -1)
		if len(found) == 0 && !strings.HasSuffix(where, ".md") {
			t.Errorf("%s asks for nothing", where)
		}
		for _, metric := range found {
			family := exported[metric]
			if base, bucket := strings.CutSuffix(metric, "_bucket"); bucket {
				if family = exported[base]; family.GetType() != dto.MetricType_HISTOGRAM {
					family = nil
				}
			}
			if family == nil {
				t.Errorf("%s names %s, which is not exported", where, metric)
			}
		}
	}
}
