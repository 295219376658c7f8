package http_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/caudalpay/caudal/ingest/http"
	"github.com/caudalpay/caudal/processors/payment"
)

// item is a batch item: a pay-in with its kind and key.
func (d *door) item(key, amount string) string {
	return `{"kind":"payin","idempotency_key":"` + key + `",` + d.payIn(amount, "")[1:]
}

func (d *door) batch(body string, headers ...string) ([]http.BatchItemAnswer, reply) {
	d.tb.Helper()
	r := d.send("POST", "/payments:batch", body, headers...)
	var a http.BatchAnswer
	if r.header["Content-Type"] == "application/x-ndjson" {
		for line := range bytes.SplitSeq(bytes.TrimSpace(r.body), []byte{'\n'}) {
			var item http.BatchItemAnswer
			check(d.tb, json.Unmarshal(line, &item, json.RejectUnknownMembers(true)))
			a.Items = append(a.Items, item)
		}
	} else if r.status < 300 {
		r.decode(d.tb, &a)
	}
	return a.Items, r
}

func TestBatchAnswersPerItemInOrder(t *testing.T) {
	d := openDoor(t)
	items := []string{
		d.item("b1", "100"),
		d.item("b2", `"100"`),
		strings.Replace(d.item("b3", "100"), `"payin"`, `"payout"`, 1),
		d.item("b1", "100"),
		d.item("b1", "101"),
		d.item("b6", "503"),
		`7`,
		`{"amount":1}`,
		`{"kind":"account","idempotency_key":"x"}`,
		strings.Replace(d.item("b9", "100"), `"idempotency_key":"b9",`, "", 1),
		strings.Replace(d.item("b10", "100"), string(d.shop), string(d.rival), 1),
		strings.Replace(d.item("b11", "100"), `"book"`, `"pix"`, 1),
		d.item("b12", "777"),
		d.item("b13", "999"),
	}
	want := []struct{ async, waited int }{
		{202, 201},
		{422, 422},
		{202, 201},
		{202, 201},
		{422, 422},
		{503, 503},
		{422, 422},
		{422, 422},
		{422, 422},
		{422, 422},
		{404, 404},
		{422, 422},
		{202, 402},
		{202, 202},
	}
	array := "[" + strings.Join(items, ",\n") + "]"
	lines := strings.Join(items, "\n\r\n") + "\n"
	ndjson := []string{"Content-Type", "application/x-ndjson"}
	for _, c := range []struct {
		name, body string
		headers    []string
		status     int
		waited     bool
	}{
		{"array", array, nil, 202, false},
		{"lines", lines, ndjson, 202, false},
		{"array, waiting", array, []string{"Prefer", "wait=2"}, 200, true},
		{"lines, waiting", lines, append([]string{"Prefer", "wait=2"}, ndjson...), 200, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := openDoor(t)
			got, r := d.batch(c.body, c.headers...)
			if r.status != c.status || len(got) != len(want) || c.waited == (r.header["Preference-Applied"] == "") {
				t.Fatalf("%d, %d items, %v, %s", r.status, len(got), r.header, r.body)
			}
			for i, item := range got {
				status := want[i].async
				if c.waited {
					status = want[i].waited
				}
				if item.Index != i || item.Status != status || !item.Body.IsValid() {
					t.Errorf("item %d: %d %s, want %d", i, item.Status, item.Body, status)
				}
				if item.Replayed != (i == 3) {
					t.Errorf("item %d: replayed %v", i, item.Replayed)
				}
			}
			if !bytes.Equal(got[0].Body, got[3].Body) {
				t.Errorf("the repeat reads %s, the first %s", got[3].Body, got[0].Body)
			}
			keys := []string{}
			for _, cmd := range d.produced() {
				keys = append(keys, cmd.GetCommandId())
			}
			order := []string{}
			for _, k := range []struct {
				kind payment.Kind
				key  string
			}{{payment.KindPayIn, "b1"}, {payment.KindPayOut, "b3"}, {payment.KindPayIn, "b1"}, {payment.KindPayIn, "b1"}, {payment.KindPayIn, "b12"}, {payment.KindPayIn, "b13"}} {
				order = append(order, string(payment.IDFrom(k.kind, d.shop, "shop", k.key)))
			}
			if fmt.Sprint(keys) != fmt.Sprint(order) {
				t.Errorf("the log has %v\nwant %v", keys, order)
			}
			if !strings.Contains(string(got[1].Body), `"pointer":"/amount"`) {
				t.Errorf("a pointer is into the item: %s", got[1].Body)
			}
		})
	}
}

func TestBatchAsAWhole(t *testing.T) {
	d := openDoor(t)
	many := func(n int, sep string) string {
		items := make([]string, n)
		for i := range items {
			items[i] = d.item(fmt.Sprint("m", n, "-", i), "5")
		}
		return strings.Join(items, sep)
	}
	ndjson := []string{"Content-Type", "application/x-ndjson"}
	for _, c := range []struct {
		name, body string
		headers    []string
		status     int
		id         http.ErrorID
		pointer    string
	}{
		{"empty array", `[]`, nil, 422, http.ErrorInvalidRequest, ""},
		{"no lines", "\n\n", ndjson, 422, http.ErrorInvalidRequest, ""},
		{"object", d.item("k", "5"), nil, 422, http.ErrorInvalidRequest, ""},
		{"empty", ``, nil, 400, http.ErrorMalformedJSON, ""},
		{"unclosed", `[` + d.item("k", "5"), nil, 400, http.ErrorMalformedJSON, ""},
		{"comma", `[` + d.item("k", "5") + `,]`, nil, 400, http.ErrorMalformedJSON, ""},
		{"behind", `[` + d.item("k", "5") + `]1`, nil, 400, http.ErrorMalformedJSON, ""},
		{"broken item", `[` + d.item("k", "5") + `,{"amount":1,"amount":2}]`, nil, 400, http.ErrorMalformedJSON, "/1/amount"},
		{"too many", `[` + many(1001, ",") + `]`, nil, 413, http.ErrorTooLarge, "-"},
		{"too many lines", many(1001, "\n"), ndjson, 413, http.ErrorTooLarge, "-"},
		{"too large", strings.Repeat(" ", 8<<20), nil, 413, http.ErrorTooLarge, "-"},
		{"all busy", `[` + d.item("k1", "503") + `,` + d.item("k2", "503") + `]`, nil, 503, http.ErrorBusy, "-"},
	} {
		_, r := d.batch(c.body, c.headers...)
		p := r.problem(t)
		if r.status != c.status || p.Code != c.id {
			t.Errorf("%s: %d %s", c.name, r.status, r.body)
		}
		if c.pointer != "-" && (len(p.Violations) == 0 || *p.Violations[0].Pointer != c.pointer) {
			t.Errorf("%s: %s", c.name, r.body)
		}
	}
	if n := len(d.produced()); n != 0 {
		t.Errorf("%d commands", n)
	}
	if items, r := d.batch(`[` + many(1000, ",") + `]`); len(items) != 1000 || r.status != 202 {
		t.Errorf("%d items, %d", len(items), r.status)
	}
	items, r := d.batch(d.item("l1", "5")+"\n{\"a\":\n"+d.item("l2", "5")+"\n"+strings.Repeat("x", 17<<10)+"\n"+d.item("l3", "5")+"{}", ndjson...)
	if r.status != 202 || len(items) != 5 || items[0].Status != 202 || items[1].Status != 400 || items[2].Status != 202 || items[3].Status != 413 || items[4].Status != 400 {
		t.Errorf("%d %s", r.status, r.body)
	}
}
