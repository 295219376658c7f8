package http_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/caudalpay/caudal/ingest/http"
	"github.com/caudalpay/caudal/processors/payment"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

func TestGetTransaction(t *testing.T) {
	d := openDoor(t)
	id := payment.IDFrom(payment.KindPayIn, d.shop, "shop", "k")
	path := "/transactions/" + string(id)
	if r := d.send("GET", path, ""); r.status != 404 {
		t.Errorf("%d %s", r.status, r.body)
	}
	sealed, err := d.sealer.Seal(&paymentsv1.Personal{Reference: "order", CounterpartyName: "Ann", MetadataJson: `{"a":1}`})
	check(t, err)
	// A payment that comes while the read waits is found.
	appears := time.AfterFunc(20*time.Millisecond, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.payments[id] = &http.PaymentView{PaymentID: string(id), AccountSeq: 7, Sealed: sealed, CounterpartyCountry: "BR", CreatedAt: time.UnixMicro(1_700_000_000_123_456).UTC()}
	})
	defer appears.Stop()
	r := d.send("GET", path, "")
	var v http.PaymentView
	check(t, json.Unmarshal(r.body, &v))
	if r.status != 200 || v.Reference != "order" || v.Counterparty == nil || v.Counterparty.Name != "Ann" || v.Counterparty.Country != "BR" ||
		string(v.Metadata) != `{"a":1}` || r.header["Caudal-Account-Seq"] != "7" {
		t.Errorf("%d %s %v", r.status, r.body, r.header)
	}
	if s := string(r.body); !strings.Contains(s, `"reasons":[]`) || !strings.Contains(s, `"created_at":"2023-11-14T22:13:20.123456Z"`) || strings.Contains(s, "ealed") {
		t.Errorf("%s", s)
	}
	// A payment whose personal data was erased stays readable.
	d.mu.Lock()
	d.payments[id].Sealed = &paymentsv1.Sealed{KeyId: "gone", Ciphertext: []byte("x")}
	d.mu.Unlock()
	if r := d.send("GET", path, ""); r.status != 200 || strings.Contains(string(r.body), "Ann") {
		t.Errorf("%d %s", r.status, r.body)
	}
	d.mu.Lock()
	d.storeErr = errors.New("connection refused")
	d.mu.Unlock()
	if r := d.send("GET", path, ""); r.problem(t).Code != http.ErrorUnavailable || strings.Contains(string(r.body), "refused") {
		t.Errorf("%d %s", r.status, r.body)
	}
}

// Amounts of a card payment are told where they are 0, and nowhere else.
func TestGetTransactionByCard(t *testing.T) {
	d := openDoor(t)
	var authorized, captured int64 = 1000, 0
	pi, ca := d.payInID("k"), payment.IDFrom(payment.KindCapture, d.shop, "shop", "c")
	d.payments[pi] = &http.PaymentView{
		PaymentID: string(pi), Status: "requires_capture", AuthorizedAmount: &authorized, CapturedAmount: &captured,
		ExpiresAt: time.Date(2026, 11, 30, 8, 0, 0, 0, time.UTC),
	}
	d.payments[ca] = &http.PaymentView{PaymentID: string(ca), Status: "processing", RelatedPaymentID: string(pi)}
	r := d.send("GET", "/transactions/"+string(pi), "")
	for _, member := range []string{`"authorized_amount":1000`, `"captured_amount":0`, `"expires_at":"2026-11-30T08:00:00Z"`} {
		if r.status != 200 || !strings.Contains(string(r.body), member) {
			t.Errorf("no %s in %d %s", member, r.status, r.body)
		}
	}
	r = d.send("GET", "/transactions/"+string(ca), "")
	if s := string(r.body); r.status != 200 || !strings.Contains(s, `"related_payment_id":"`+string(pi)+`"`) ||
		strings.Contains(s, "captured_amount") || strings.Contains(s, "expires_at") || strings.Contains(s, "review_deadline") {
		t.Errorf("%d %s", r.status, r.body)
	}
}

func TestMinSeq(t *testing.T) {
	d := openDoor(t)
	d.views[d.shop] = &http.AccountView{AccountID: string(d.shop), AccountSeq: 3}
	d.stored = 3
	path := "/accounts/" + string(d.shop) + "/balances?min_seq="
	if r := d.send("GET", path+"3", ""); r.status != 200 || string(r.body) != `{"balances":[{"currency":"BRL","posted":100,"held":30,"available":70}],"account_seq":3}` {
		t.Errorf("%d %s", r.status, r.body)
	}
	if r := d.send("GET", path+"4", ""); r.problem(t).Code != http.ErrorStoreBehind || r.header["Retry-After"] == "" {
		t.Errorf("%d %s", r.status, r.body)
	}
	later := time.AfterFunc(20*time.Millisecond, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.stored = 4
	})
	defer later.Stop()
	if r := d.send("GET", path+"4", ""); r.status != 200 || r.header["Caudal-Account-Seq"] != "4" {
		t.Errorf("%d %s", r.status, r.body)
	}
}

func TestStatementPages(t *testing.T) {
	d := openDoor(t)
	d.views[d.shop] = &http.AccountView{}
	for i := range 7 {
		d.lines = append(d.lines, http.StatementLine{AccountSeq: uint64(i/2 + 1), Line: int32(i % 2), Amount: int64(i + 1)})
	}
	path := "/accounts/" + string(d.shop) + "/statement"
	var seen []int64
	for cursor, pages := "", 0; ; pages++ {
		var p http.StatementPage
		r := d.send("GET", path+"?limit=3&cursor="+cursor, "")
		if cursor == "" {
			r = d.send("GET", path+"?limit=3", "")
		}
		r.decode(t, &p)
		for _, l := range p.Lines {
			seen = append(seen, l.Amount)
		}
		cursor = p.Cursor
		if !p.HasMore {
			break
		}
		if pages > 3 {
			t.Fatal("pages without end")
		}
	}
	if len(seen) != 7 || seen[0] != 1 || seen[6] != 7 {
		t.Errorf("%v", seen)
	}
}

func TestParametersThatAreNot(t *testing.T) {
	d := openDoor(t)
	d.views[d.shop] = &http.AccountView{}
	for _, q := range []string{
		"?min_seq=-1", "?min_seq=x", "?min_seq=", "?min_seq=9223372036854775808", "?min_seq=1&min_seq=1", "?limit=0", "?limit=501", "?limit=1.5",
		"?cursor=", "?cursor=!!", "?cursor=AQ", "?cursor=AQEBAQ", "?cursor=AgEB", "?offset=3", "?x",
	} {
		r := d.send("GET", "/accounts/"+string(d.shop)+"/statement"+q, "")
		if p := r.problem(t); r.status != 400 || p.Code != http.ErrorInvalidParameter || p.Violations[0].Parameter == "" {
			t.Errorf("%s: %d %s", q, r.status, r.body)
		}
	}
	if r := d.send("GET", "/accounts/"+string(d.shop)+"?limit=3", ""); r.status != 400 {
		t.Errorf("%d %s", r.status, r.body)
	}
}

// Whoever sends nonsense gets no more of it back than says where it is, and never a card number.
func TestNamesOfParametersAreBounded(t *testing.T) {
	d := openDoor(t)
	d.views[d.shop] = &http.AccountView{}
	for q, name := range map[string]string{
		"?offset=3": "offset", "?" + strings.Repeat("x", 64) + "=1": strings.Repeat("x", 64),
		"?" + strings.Repeat("x", 65) + "=1": "", "?4111111111111111=1": "", "?%ff=1": "",
	} {
		r := d.send("GET", "/accounts/"+string(d.shop)+q, "")
		if p := r.problem(t); r.status != 400 || p.Code != http.ErrorInvalidParameter || len(p.Violations) != 1 || p.Violations[0].Parameter != name {
			t.Errorf("%s: %d %s", q, r.status, r.body)
		}
	}
}

func TestOperations(t *testing.T) {
	ready := errors.New("the broker is away")
	d := openDoor(t, func(_ *http.Config, p *http.Ports) {
		p.Checks = []http.Check{{Name: "commands", Ready: func() error { return ready }}}
	})
	none := []string{"Authorization", ""}
	if r := d.send("GET", "/healthz", "", none...); r.status != 200 || string(r.body) != `{"status":"ok"}` {
		t.Errorf("%d %s", r.status, r.body)
	}
	if r := d.send("GET", "/readyz", "", none...); r.status != 503 || !strings.Contains(string(r.body), "the broker is away") || r.header["Retry-After"] == "" {
		t.Errorf("%d %s", r.status, r.body)
	}
	if err := d.server.Ready(); !errors.Is(err, ready) {
		t.Error(err)
	}
	ready = nil
	if r := d.send("GET", "/readyz", "", none...); r.status != 200 {
		t.Errorf("%d %s", r.status, r.body)
	}
	d.post("/payins", "k", d.payIn("5", ""))
	if r := d.send("GET", "/metrics", "", none...); r.status != 200 || !strings.Contains(string(r.body), `caudal_ingest_http_requests_total{route="/payins",status="201"} 1`) {
		t.Errorf("%d %s", r.status, r.body)
	}
	if r := d.send("GET", "/", "", none...); r.status != 200 || !strings.Contains(string(r.body), "/payments:batch") {
		t.Errorf("%d %s", r.status, r.body)
	}
}
