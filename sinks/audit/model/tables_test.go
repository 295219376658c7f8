package model_test

import (
	"os"
	"strings"
	"testing"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/sinks/audit/model"
)

// pageTable gives the cells of the table of docs/domain.md whose first heading is this, by row and column.
func pageTable(t *testing.T, heading string) map[string]map[string]string {
	t.Helper()
	page, err := os.ReadFile("../../../docs/domain.md")
	if err != nil {
		t.Fatal(err)
	}
	var columns []string
	cells := map[string]map[string]string{}
	for line := range strings.Lines(string(page)) {
		row := strings.Split(strings.Trim(strings.TrimSpace(line), "| "), " | ")
		switch {
		case columns == nil && row[0] == heading:
			columns = row
		case columns == nil:
		case !strings.HasPrefix(line, "|"):
			return cells
		case !strings.HasPrefix(line, "|---"):
			cells[row[0]] = map[string]string{}
			for i, cell := range row[1:] {
				cells[row[0]][columns[i+1]] = cell
			}
		}
	}
	t.Fatalf("docs/domain.md has no table %q, or it is its end", heading)
	return nil
}

// play decides lines one after the other, with all that they emit, and gives what the last of them led to.
func (w *world) play(lines ...string) (last model.Result) {
	w.t.Helper()
	for _, line := range lines {
		verb, rest, _ := strings.Cut(line, " ")
		if verb == "clock" {
			w.line(&strings.Builder{}, strings.Fields(line))
			continue
		}
		args := map[string]string{}
		var plain []string
		for word := range strings.FieldsSeq(rest) {
			if name, value, ok := strings.Cut(word, "="); ok {
				args[name] = value
			} else {
				plain = append(plain, word)
			}
		}
		key, cmd := w.command(verb, plain, args)
		w.queue = []model.Emission{{Key: key, Command: cmd}}
		for first := true; len(w.queue) > 0; first = false {
			next := w.queue[0]
			w.queue = w.queue[1:]
			if r := w.result(&strings.Builder{}, next); first {
				last = r
			}
		}
	}
	return last
}

// stands is the status of the authorization k, which a reversal that takes nothing back tells.
func (w *world) stands() string {
	d := w.play("reverse a of=k left=999999").Decision
	if d.GetStatus() == 0 {
		return "none"
	}
	return word(d.GetStatus(), "PAYMENT_STATUS_")
}

// cell is what a decision does to a record that stood in a status, in the words of the page's tables.
func cell(d *paymentsv1.Decision, before, after string) string {
	moved := len(d.GetJournals()) > 0
	late := len(d.GetReasons()) == 1 && d.GetReasons()[0] == paymentsv1.Reason_REASON_RAIL_LATE
	switch {
	case before == after && late:
		return "L"
	case before == after && (moved || d.GetOutcome() == paymentsv1.Outcome_OUTCOME_APPROVED):
		return "."
	case before != after:
		return after
	case d.GetOutcome() == paymentsv1.Outcome_OUTCOME_DECLINED:
		return "x"
	default:
		return "="
	}
}

// TestAuthorizationsFollowTheTable brings an authorization into each status, lets each event of the page's table happen to it,
// and compares. A reversal is of a single message in the columns of refunds, else of a dual one.
func TestAuthorizationsFollowTheTable(t *testing.T) {
	events := map[string]string{
		"settled": "authorize a 1000 BRL key=k policy=issue", "authorized": "authorize a 1000 BRL key=k policy=issue",
		"declined": "authorize a 1000 BRL key=k policy=issue", "advised": "advise a 1000 BRL key=k policy=issue standin=yes",
		"advised_financial": "advise a 1000 BRL key=k policy=issue standin=yes financial=yes",
		"reversed":          "reverse a of=k", "reduced": "reverse a of=k left=900", "refunded": "reverse a of=k left=900", "refunded_all": "reverse a of=k",
		"captured": "clear a 10 BRL of=k key=c", "captured_all": "clear a 10 BRL of=k key=c final=yes", "authorization_expired": "expire a of=k",
	}
	granted := "authorize a 1000 BRL key=k policy=issue"
	statuses := map[string][]string{
		"none": nil, "requires_capture": {granted}, "partially_captured": {granted, "clear a 300 BRL of=k key=before"},
		"succeeded": {granted, "clear a 1000 BRL of=k key=before"}, "failed": {"payout a 99500 BRL policy=issue", granted},
		"cancelled": {granted, "reverse a of=k"}, "expired": {granted, "clock +1h", "tick"},
	}
	compared := 0
	for status, columns := range pageTable(t, "authorization") {
		for event, want := range columns {
			if want == "-" {
				continue
			}
			prepare, line := statuses[status], events[event]
			switch {
			case status == "cancelled" && event == "declined":
				prepare = []string{"reverse a of=k"}
			case status == "none" && event == "settled":
				line += " financial=yes"
			case status == "none" && event == "declined":
				prepare = []string{"payout a 99500 BRL policy=issue"}
			case strings.HasPrefix(event, "refunded"):
				prepare = nil
				for _, before := range statuses[status] {
					if strings.HasPrefix(before, "authorize") {
						before += " financial=yes"
					}
					if !strings.HasPrefix(before, "clear") {
						prepare = append(prepare, before)
					}
				}
			}
			w := newWorld(t)
			w.play("open a BRL policy=issue", "payin a 100000 BRL policy=issue")
			w.play(prepare...)
			if before := w.stands(); before != status {
				t.Fatalf("%v: is %s, not %s", prepare, before, status)
			}
			d := w.play(line).Decision
			compared++
			if got := cell(d, status, w.stands()); got != want {
				t.Errorf("%s in %s: want %s, got %s: %v %v", event, status, want, got, d.GetReasons(), d.GetJournals())
			}
		}
	}
	if compared < 50 {
		t.Fatalf("the page has only %d cells to compare", compared)
	}
}

// TestDisputesFollowTheTable does the same with disputes, each word later than the one before. Money that has been taken is not taken again: where the status moves,
// journals say nothing of the cell.
func TestDisputesFollowTheTable(t *testing.T) {
	compared := 0
	for status, columns := range pageTable(t, "dispute") {
		for event, want := range columns {
			if want == "-" {
				continue
			}
			w := newWorld(t)
			w.play("open a BRL policy=rail", "payin a 10000 BRL method=card policy=rail key=m", "answer a of=m step=collect result=confirmed")
			if status != "none" {
				w.play("dispute a of=m key=d amount=100 occurred=-2h stage=" + status)
			}
			line := "dispute a of=m key=d amount=100 occurred=-1h stage=" + event
			if event == "evidence" || event == "accept" {
				line = event + " a of=d files=x policy=none"
			}
			d := w.play(line).Decision
			compared++
			if got := cell(d, status, word(d.GetStatus(), "PAYMENT_STATUS_")); got != want {
				t.Errorf("%s in %s: want %s, got %s: %v", event, status, want, got, d.GetReasons())
			}
		}
	}
	if compared < 35 {
		t.Fatalf("the page has only %d cells to compare", compared)
	}
}
