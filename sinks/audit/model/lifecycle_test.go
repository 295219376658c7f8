package model_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/sinks/audit/model"
)

// TestTablesEqualThePage: what the model was written to know of every status and event is what docs/lifecycle.md says.
func TestTablesEqualThePage(t *testing.T) {
	page, err := os.ReadFile("../../../docs/lifecycle.md")
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]paymentsv1.CommandKind{
		"Pay-ins": paymentsv1.CommandKind_COMMAND_KIND_PAY_IN, "Payouts": paymentsv1.CommandKind_COMMAND_KIND_PAY_OUT,
		"Captures, voids, increments and refunds": paymentsv1.CommandKind_COMMAND_KIND_CAPTURE,
	}
	events := []string{"authorized", "collected", "accepted", "sent", "confirmed", "refused", "returned", "unknown"}
	compared := 0
	for section := range strings.SplitSeq(string(page), "\n## ") {
		title, text, _ := strings.Cut(section, "\n")
		kind, ok := kinds[title]
		if !ok {
			continue
		}
		var header []string
		for line := range strings.Lines(text) {
			if !strings.HasPrefix(line, "|") {
				continue
			}
			cells := strings.Split(strings.Trim(strings.TrimSpace(line), "| "), " | ")
			if header == nil {
				header = cells
				continue
			}
			name := strings.Trim(cells[0], "`")
			asked := paymentsv1.CommandKind(paymentsv1.CommandKind_value["COMMAND_KIND_"+strings.ToUpper(name)])
			for i, want := range cells[1:] {
				status := paymentsv1.PaymentStatus(paymentsv1.PaymentStatus_value["PAYMENT_STATUS_"+strings.ToUpper(header[i+1])])
				if want == "–" || status == 0 {
					continue
				}
				var got string
				switch {
				case slices.Contains(events, name):
					got = model.Fate(kind, status, name)
					if !slices.Contains([]string{"refused", "ignored", "contradiction", "**late**"}, want) {
						want = "moves to " + want
						got += " to " + cells[i+1]
					}
				case asked != 0 && kind == paymentsv1.CommandKind_COMMAND_KIND_PAY_IN:
					got = "refused"
					if model.Allowed(asked, status) {
						got = "**stays**"
					}
				default:
					continue
				}
				compared++
				if got != want {
					t.Errorf("%s: %s in %s: want %s, got %s", title, name, header[i+1], want, got)
				}
			}
		}
	}
	if compared < 150 {
		t.Fatalf("the page has only %d cells to compare", compared)
	}
}
