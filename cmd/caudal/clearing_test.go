package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caudalpay/caudal/cmd/caudal/clearing"
	"github.com/caudalpay/caudal/cmd/railsim/acquirer"
	"github.com/caudalpay/caudal/schemas/rails/iso8583"
)

// TestClearingFile proves with the binary itself that a card network's file and the feed's second messages are one way to the books.
func TestClearingFile(t *testing.T) {
	t.Parallel()
	h := startHouse(t, t.TempDir(), "--iso8583", "127.0.0.1:0", "--iso8583-deadline", "30s")
	t.Run("EachItem", h.clearsEachItem)
	t.Run("AtOnce", h.clearsAtOnce)
	t.Run("KilledLoad", func(t *testing.T) { h = h.killedLoad(t) })
	if t.Failed() {
		return
	}
	h.stop()
	verifyStrictly(t, h.data)
}

// clearingFile writes a file of items as the page has it, with a trailer that fits, and tells where.
func clearingFile(t *testing.T, items ...map[string]any) string {
	t.Helper()
	var text bytes.Buffer
	lines := json.NewEncoder(&text)
	var trailer clearing.Trailer
	for i := -1; i <= len(items); i++ {
		var line any
		switch i {
		case -1:
			line = map[string]any{"header": clearing.Header{Format: "caudal.clearings", Version: 1, File: t.Name()}}
		case len(items):
			line = map[string]any{"trailer": trailer}
		default:
			line = items[i]
			code, _ := items[i]["processing_code"].(string)
			amount, _ := items[i]["amount"].(int64)
			trailer.Add("BRL", amount, strings.HasPrefix(code, "20"))
		}
		if err := lines.Encode(line); err != nil {
			t.Fatal(err)
		}
	}
	name := filepath.Join(t.TempDir(), "file.ndjson")
	if err := os.WriteFile(name, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// loaded runs the program on a file, and gives what it says and its exit code.
func (h *house) loaded(t *testing.T, file string) (r clearing.Result, code int) {
	t.Helper()
	out, err := caudal(t, "clearing", "load", file, "--data", h.data, "--url", "http://"+h.http, "-o", "json").Output()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		t.Fatal(err)
	}
	if ended != nil {
		code = ended.ExitCode()
		t.Logf("it ends with %d: %s", code, ended.Stderr)
	}
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	return r, code
}

// secondMessage is the clearing of what was asked, as the feed has it.
func secondMessage(of iso8583.Message, stan int, amount int64) iso8583.Message {
	m := of
	m.MTI, m.AmountMinor, m.STAN = iso8583.FinancialAdvice, amount, iso8583.STAN(fmt.Sprintf("%06d", stan))
	m.OriginalData = iso8583.OriginalData{MTI: of.MTI, STAN: of.STAN, TransmissionTime: of.TransmissionTime, AcquirerID: of.AcquirerID}
	return m
}

// itemOf is a second message as an item of a file.
func itemOf(t *testing.T, m iso8583.Message, card string) map[string]any {
	t.Helper()
	moment := func(text iso8583.TransmissionTime) string {
		at, err := text.At(time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return at.Format(time.RFC3339)
	}
	item := map[string]any{
		"processing_code": m.ProcessingCode, "amount": m.AmountMinor, "currency": string(m.Currency), "transmitted_at": moment(m.TransmissionTime),
		"stan": string(m.STAN), "acquirer": m.AcquirerID, "terminal": m.Terminal, "merchant": m.Merchant, "mcc": m.MCC, "rrn": string(m.RRN),
	}
	if card == "" {
		item["number"] = string(m.PAN)
	} else {
		item["card_id"] = card
	}
	if m.OriginalData != (iso8583.OriginalData{}) {
		item["authorization"] = map[string]any{
			"mti": string(m.OriginalData.MTI), "transmitted_at": moment(m.OriginalData.TransmissionTime), "stan": string(m.OriginalData.STAN),
		}
	}
	if m.ResponseCode == iso8583.ResponsePartiallyApproved {
		item["partial"] = true
	}
	return item
}

// Invariant: what a file collects stands in the books once, whatever it is of, however often the file is loaded, and whether or not
// the feed has told it before or tells it afterwards.
func (h *house) clearsEachItem(t *testing.T) {
	card, fund := h.feedAccount(t, nil, "by-file", "4000056655665556", 100_000)
	l := posDial(t, h.addresses().CardFeed)
	approved := func(m iso8583.Message) {
		t.Helper()
		if got := l.ask(m); got.ResponseCode != "00" {
			t.Fatalf("%v is answered %v", &m, &got)
		}
	}
	asked := make([]iso8583.Message, 6)
	for i := range asked {
		asked[i] = purchase(card, i+1, "T1", 1_000)
		approved(asked[i])
	}
	reversal := secondMessage(asked[4], 15, 1_000)
	reversal.MTI, reversal.ResponseCode, reversal.ProcessingCode = iso8583.ReversalAdvice, iso8583.ResponseCustomerCancelled, "000000"
	approved(reversal)
	messages := []iso8583.Message{
		secondMessage(asked[0], 21, 1_000), secondMessage(asked[1], 22, 700), secondMessage(asked[2], 23, 1_300), // equal, less, more
		secondMessage(asked[3], 24, 400), secondMessage(asked[3], 25, 500), // a part, and the rest
		secondMessage(asked[4], 26, 1_000),                                     // taken back before: it waits in suspense
		secondMessage(purchase(card, 99, "T1", 250), 27, 250),                  // never asked
		secondMessage(asked[5], 28, 1_000), secondMessage(asked[0], 29, 2_000), // told by message too; a credit
	}
	messages[3].ResponseCode, messages[8].ProcessingCode = iso8583.ResponsePartiallyApproved, "200000"
	approved(messages[7]) // before the file
	items := make([]map[string]any, len(messages))
	for i, m := range messages {
		items[i] = itemOf(t, m, []string{"", card.id}[i%2])
	}
	stranger := itemOf(t, messages[0], "")
	stranger["number"], stranger["stan"] = "5105105105105100", "000031"
	other := itemOf(t, messages[7], card.id)
	file := clearingFile(t, append(items, stranger)...)
	collected := int64(1_000 + 700 + 1_300 + 400 + 500 + 250 + 1_000 - 2_000)
	want := funds{Posted: fund - collected, Available: fund - collected}
	for round, counts := range [][2]int{{8, 1}, {0, 9}, {0, 9}} {
		r, code := h.loaded(t, file)
		if code != 1 || r.Items != 10 || r.Cleared != counts[0] || r.Repeated != counts[1] || len(r.Refused) != 1 || r.Refused[0].Line != 11 || r.Refused[0].Code != "card_unknown" ||
			r.Reasons["payment_unknown"] != 1 || r.Reasons["rail_late"] != 1 || len(r.Reasons) != 2 {
			t.Fatalf("round %d: ends with %d, %+v", round, code, r)
		}
		h.settles(t, card.account, want)
		for _, m := range messages { // after the file
			m.MTI = iso8583.FinancialAdviceRepeat
			approved(m)
		}
	}
	h.settles(t, card.account, want)
	other["amount"] = int64(999)
	if r, code := h.loaded(t, clearingFile(t, other)); code != 1 || len(r.Refused) != 1 || r.Refused[0].Code != "idempotency_conflict" {
		t.Errorf("an item with another amount ends with %d, %+v", code, r)
	}
	if r, code := h.loaded(t, clearingFile(t, items[:2]...)); code != 0 || r.Repeated != 2 {
		t.Errorf("a file of what is there ends with %d, %+v", code, r)
	}
	h.settles(t, card.account, want)
	h.nowhere(t, card.number)
}

// Invariant: two loads of one file and its messages, all at once, come to each item once.
func (h *house) clearsAtOnce(t *testing.T) {
	const items, each = 300, 100
	card, fund := h.feedAccount(t, nil, "at-once", "4111111111111111", 100_000)
	l := posDial(t, h.addresses().CardFeed)
	messages, texts := make([]iso8583.Message, items), make([]map[string]any, items)
	for i := range messages {
		asked := purchase(card, 2*i+1, "T2", each)
		if i%3 == 0 { // the others are not known, and no less collected
			if got := l.ask(asked); got.ResponseCode != "00" {
				t.Fatalf("%v", &got)
			}
		}
		messages[i] = secondMessage(asked, 2*i+2, each)
		texts[i] = itemOf(t, messages[i], []string{"", card.id}[i%2])
	}
	file := clearingFile(t, texts...)
	var ways sync.WaitGroup
	var results [2]clearing.Result
	began := time.Now()
	for i := range results {
		ways.Go(func() { results[i], _ = h.loaded(t, file) })
	}
	ways.Go(func() {
		for _, m := range messages {
			if got := l.ask(m); got.ResponseCode != "00" {
				t.Errorf("%v is answered %v", &m, &got)
			}
		}
	})
	ways.Wait()
	t.Logf("in %v: %+v", time.Since(began), results)
	for _, r := range results {
		if r.Items != items || r.Cleared+r.Repeated != items {
			t.Errorf("%+v", r)
		}
	}
	if cleared := results[0].Cleared + results[1].Cleared; cleared > items {
		t.Errorf("%d of %d items were cleared", cleared, items)
	}
	h.settles(t, card.account, funds{Posted: fund - items*each, Available: fund - items*each})
}

// nowhere fails where a card's number stands in what the house has written: its logs, topics and stores.
func (h *house) nowhere(t *testing.T, number string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(h.data, func(path string, e os.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return nil //nolint:nilerr // files come and go
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return nil //nolint:nilerr // as above
		}
		files++
		if bytes.Contains(text, []byte(number)) {
			t.Errorf("the number stands in %s", path)
		}
		return nil
	})
	if err != nil || files < 10 {
		t.Errorf("%d files: %v", files, err)
	}
}

// Invariant: wherever a load is cut, by its own death or the house's, loading the file again brings the rest into the books, and
// nothing twice: every balance is what an acquirer's own model foretells.
func (h *house) killedLoad(t *testing.T) *house {
	file := filepath.Join(t.TempDir(), "network.ndjson")
	a := h.acquirer(t, acquirer.Config{
		Connect: []string{h.addresses().CardFeed}, Connections: 8, Rate: 200, Duration: 8 * time.Second, Accounts: 60, FundMinor: 100_000, Seed: 11,
		Deadline: 30 * time.Second, Timeout: 40 * time.Second, ClearingFile: file,
	})
	r, err := a.Run(t.Context(), 200, 8*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	agreed(t, a, r) // holds stand
	items := a.Filed()
	if err := a.WriteClearings(); err != nil {
		t.Fatal(err)
	}
	before := h.cleared()
	for _, kill := range []string{"the load", "the house"} {
		load := caudal(t, "clearing", "load", file, "--data", h.data, "--url", "http://"+h.http, "--workers", "2", "-o", "json")
		if err := load.Start(); err != nil {
			t.Fatal(err)
		}
		some := before + float64(items)/4
		if kill == "the house" {
			some = before + float64(items)/2
		}
		for until := time.Now().Add(time.Minute); h.cleared() < some && time.Now().Before(until); {
			time.Sleep(time.Millisecond)
		}
		if kill == "the house" {
			h.kill()
		}
		_ = load.Process.Kill() // it tries on for a while
		if err := load.Wait(); err == nil {
			t.Fatalf("killing %s cut nothing: it was too late", kill)
		}
	}
	h = startHouse(t, h.data, "--iso8583", "127.0.0.1:0", "--iso8583-deadline", "30s")
	result, code := h.loaded(t, file)
	t.Logf("%+v", result)
	if code != 0 || result.Items != items || result.Cleared+result.Repeated != items || result.Cleared == 0 || result.Repeated < items/4 {
		t.Fatalf("of %d items: ends with %d, %+v", items, code, result)
	}
	if again, code := h.loaded(t, file); code != 0 || again.Repeated != items {
		t.Fatalf("again: ends with %d, %+v", code, again)
	}
	a.Cleared()
	a.MovedTo("http://" + h.http)
	agreed(t, a, r)
	return h
}

// cleared is how many clearings the door has answered as done since its start.
func (h *house) cleared() (n float64) {
	h.t.Helper()
	for _, m := range h.metrics()["caudal_ingest_http_requests_total"].GetMetric() {
		labels := map[string]string{}
		for _, l := range m.GetLabel() {
			labels[l.GetName()] = l.GetValue()
		}
		if labels["route"] == "/clearings" && labels["status"] == "201" {
			n += m.GetCounter().GetValue()
		}
	}
	return n
}
