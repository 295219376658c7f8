package http_test

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"github.com/caudalpay/caudal/ingest/http"
	"github.com/caudalpay/caudal/ingest/issuing"
	"github.com/caudalpay/caudal/processors/payment"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/schemas/rails/iso8583"
)

// withCard is a door whose shop has a card.
func withCard(t *testing.T, change ...func(*http.Config, *http.Ports)) (*door, string) {
	t.Helper()
	d := openDoor(t, change...)
	var card http.CardView
	if r := d.post("/cards", "enrolled", cardBody(d.shop, cardNumber, "2031-07")); r.status != 201 {
		t.Fatalf("%d %s", r.status, r.body)
	} else {
		r.decode(t, &card)
	}
	return d, card.CardID
}

// transmitted is the beginning of this day: the same however long a test takes.
func transmitted() time.Time { return time.Now().UTC().Truncate(24 * time.Hour) }

// collected is the body of an item; more begins with a comma, or is empty.
func collected(card, stan, amount, more string) string {
	return fmt.Sprintf(`{%s,"processing_code":"000000","amount":%s,"currency":"BRL","transmitted_at":%q,"stan":%q,"acquirer":"0077","terminal":"T1      ","merchant":"LOJA42","mcc":"5411","rrn":"000000000007"%s}`,
		card, amount, transmitted().Format(time.RFC3339), stan, more)
}

func (d *door) clear(key, body string, headers ...string) reply {
	d.tb.Helper()
	return d.post("/clearings", key, body, append([]string{"Authorization", "Bearer " + houseToken}, headers...)...)
}

func byID(card string) string { return `"card_id":"` + card + `"` }

const byNumber = `"number":"` + cardNumber + `"`

// Invariant: the door makes of an item the command that the feed makes of its message.
func TestClearingBecomesACommand(t *testing.T) {
	d, card := withCard(t)
	at := transmitted()
	key := iso8583.MatchKey{Class: iso8583.ClassFinancial, TransmissionTime: iso8583.TransmissionTimeOf(at), STAN: "000007", AcquirerID: "77", Terminal: "T1"}
	own := issuing.Message{Key: key, At: at}
	asked := own
	asked.Key.Class, asked.Key.STAN = iso8583.ClassAuthorization, "000006"
	elsewhere := asked
	elsewhere.Key.AcquirerID = "88"
	names := fmt.Sprintf(`,"authorization":{"mti":"0100","stan":"000006","transmitted_at":%q`, at.Format(time.RFC3339))
	id := payment.CardIDFrom(payment.KindClearing, d.shop, own.Identity("clearing"))
	for i, c := range []struct {
		card, more    string
		authorization payment.ID
		body          *paymentsv1.Clearing
	}{
		{byID(card), "", "", &paymentsv1.Clearing{Final: true}},
		{byNumber, names + `}`, asked.Authorization(d.shop), &paymentsv1.Clearing{Final: true}},
		{byNumber, names + `,"acquirer":"088"},"partial":true`, elsewhere.Authorization(d.shop), &paymentsv1.Clearing{}},
	} {
		r := d.clear(fmt.Sprint("k", i), collected(c.card, "000007", "1234", c.more))
		if r.status != 201 || r.header["Location"] != "/transactions/"+string(id) {
			t.Fatalf("%d %v %s", r.status, r.header, r.body)
		}
		cmd := d.produced()[i+1]
		c.body.AmountMinor, c.body.Currency, c.body.Card, c.body.Rrn, c.body.Acquirer, c.body.Mcc, c.body.CardAcceptor = 1234, "BRL", card, "000000000007", "77", "5411", "LOJA42"
		want := &paymentsv1.Command{
			Version: 1, Kind: paymentsv1.CommandKind_COMMAND_KIND_CLEARING, Tenant: "sample", Merchant: "shop", Customer: "c1", Account: string(d.shop),
			CommandId: string(id), PaymentId: string(c.authorization), Pins: &paymentsv1.Pins{Policy: "standard@3"},
			AcceptedAtUs: cmd.GetAcceptedAtUs(), BodyHash: cmd.GetBodyHash(), Body: &paymentsv1.Command_Clearing{Clearing: c.body},
		}
		if !proto.Equal(cmd, want) || len(cmd.GetBodyHash()) != 32 || d.keys[i+1] != string(d.shop) {
			t.Errorf("key %s command %v\nwant %v", d.keys[i+1], cmd, want)
		}
	}
}

// Invariant: an item is taken once, whatever key it comes under and however its card is named, and gets the first answer, reasons and
// all; a key names one item.
func TestClearingIsTakenOnce(t *testing.T) {
	d, card := withCard(t)
	first := d.clear("k", collected(byID(card), "000001", "500", ""))
	var answer http.ClearingAnswer
	first.decode(t, &answer)
	if first.status != 201 || answer.Status != "succeeded" || len(answer.Reasons) != 1 || answer.Reasons[0] != "payment_unknown" || answer.CardID != card ||
		answer.Amount != 500 || answer.Currency != "BRL" || answer.AuthorizationID != "" || first.header["Idempotency-Replayed"] != "" {
		t.Fatalf("%d %s", first.status, first.body)
	}
	for _, key := range []string{"k", "other"} {
		for _, named := range []string{byID(card), byNumber} {
			r := d.clear(key, " "+collected(named, "000001", "500", ""))
			if r.status != 201 || string(r.body) != string(first.body) || r.header["Idempotency-Replayed"] != "true" {
				t.Errorf("again under %s: %d %s", key, r.status, r.body)
			}
		}
	}
	other := d.clear("third", collected(byID(card), "000001", "501", ""))
	if p := other.problem(t); other.status != 422 || p.Code != http.ErrorIdempotencyConflict || !strings.Contains(p.Detail, "in the books already") || p.Instance != "/transactions/"+answer.ClearingID {
		t.Errorf("the item with another amount: %d %s", other.status, other.body)
	}
	before := len(d.produced())
	for _, prefer := range []string{"wait=1", "respond-async"} {
		for _, body := range []string{collected(byID(card), "000002", "500", ""), collected(byID(card), "000001", "500", `,"partial":true`)} {
			if r := d.clear("k", body, "Prefer", prefer); r.status != 422 || r.problem(t).Code != http.ErrorIdempotencyConflict {
				t.Errorf("another body under the key: %d %s", r.status, r.body)
			}
		}
	}
	if n := len(d.produced()); n != before {
		t.Errorf("%d commands of another item", n-before)
	}
	told := string(d.send("GET", "/metrics", "").body)
	for _, want := range []string{`"unknown"} 1`, `"repeated"} 4`, `"conflict"} 5`, `"cleared"} 0`, `"late"} 0`} {
		if !strings.Contains(told, `caudal_ingest_http_clearings_total{result=`+want+"\n") {
			t.Errorf("not counted as %s", want)
		}
	}
	pending := d.clear("later", collected(byID(card), "000003", "500", ""), "Prefer", "respond-async")
	if pending.status != 202 || !strings.Contains(string(pending.body), `"status":"pending","reasons":[],`) || !strings.HasPrefix(pending.header["Location"], "/transactions/cl_") {
		t.Errorf("%d %v %s", pending.status, pending.header, pending.body)
	}
}

// Invariant: nobody tells what a card network collects but a key that names the operator's scope, and that of its own merchant alone.
func TestOnlyOperatorsTellOfClearings(t *testing.T) {
	d, card := withCard(t)
	for _, secret := range []string{token, otherToken, readToken} {
		if r := d.clear("k", collected(byID(card), "000001", "500", ""), "Authorization", "Bearer "+secret); r.status != 403 || r.problem(t).Code != http.ErrorInsufficientScope {
			t.Errorf("%d %s", r.status, r.body)
		}
	}
	var foreign http.CardView
	d.post("/cards", "k", cardBody(d.rival, "4242424242424242", "2031-07"), "Authorization", "Bearer "+otherToken).decode(t, &foreign)
	for _, named := range []string{byID(foreign.CardID), `"number":"4242424242424242"`, `"number":"5105105105105100"`, byID("crd_aaaaaaaaaaaaaaaaaaaa")} {
		if r := d.clear("k", collected(named, "000001", "500", "")); r.status != 404 || r.problem(t).Code != http.ErrorCardUnknown {
			t.Errorf("%s: %d %s", named, r.status, r.body)
		}
	}
	if n := len(d.produced()); n != 2 {
		t.Fatalf("%d commands", n-2)
	}
}

func TestClearingRefusals(t *testing.T) {
	d, card := withCard(t)
	good := collected(byID(card), "000001", "500", "")
	edit := func(old, change string) string {
		if !strings.Contains(good, old) {
			t.Fatal(old)
		}
		return strings.Replace(good, old, change, 1)
	}
	at := transmitted().Format(time.RFC3339)
	far := transmitted().AddDate(0, -7, 0).Format(time.RFC3339)
	names := func(text string) string { return collected(byID(card), "000001", "500", `,"authorization":{`+text+`}`) }
	for name, c := range map[string]struct{ body, pointer, code string }{
		"two names of the card":  {collected(byID(card)+","+byNumber, "000001", "500", ""), "", "required"},
		"no card":                {edit(byID(card)+",", ""), "", "required"},
		"a card's id":            {edit(card, "crd_1"), "/card_id", "malformed"},
		"a wrong check digit":    {collected(`"number":"`+cardNumber[:15]+`1"`, "000001", "500", ""), "/number", "malformed"},
		"a number for a text":    {edit(`"stan":"000001"`, `"stan":1`), "/stan", "wrong_type"},
		"a short trace number":   {edit(`"000001"`, `"1"`), "/stan", "malformed"},
		"a processing code":      {edit(`"000000"`, `"300000"`), "/processing_code", "malformed"},
		"letters in it":          {edit(`"000000"`, `"00000x"`), "/processing_code", "malformed"},
		"nothing":                {edit("500", "0"), "/amount", "out_of_range"},
		"13 digits":              {edit("500", "1000000000000"), "/amount", "out_of_range"},
		"a fraction":             {edit("500", "5.00"), "/amount", "not_an_integer"},
		"a currency":             {edit("BRL", "XXX"), "/currency", "unknown_currency"},
		"a long merchant":        {edit("LOJA42", "A MERCHANT OF 16"), "/merchant", "malformed"},
		"a number as merchant":   {edit("LOJA42", "378282246310005"), "/merchant", "card_number"},
		"a merchant of spaces":   {edit("LOJA42", "  "), "/merchant", "malformed"},
		"a terminal":             {edit("T1      ", "TERMINAL1"), "/terminal", "malformed"},
		"an rrn":                 {edit("000000000007", "00000000-007"), "/rrn", "malformed"},
		"an mcc":                 {edit("5411", "541"), "/mcc", "malformed"},
		"an acquirer":            {edit("0077", "123456789012"), "/acquirer", "malformed"},
		"a local time":           {edit(at, at[:len(at)-1]), "/transmitted_at", "malformed"},
		"half a second":          {edit(at, at[:len(at)-1]+".5Z"), "/transmitted_at", "malformed"},
		"another year":           {edit(at, far), "/transmitted_at", "out_of_range"},
		"a part of a credit":     {collected(byID(card), "000001", "500", `,"partial":true`), "", ""},
		"a type":                 {names(`"mti":"0400","stan":"000001","transmitted_at":"` + at + `"`), "/authorization/mti", "malformed"},
		"an answer":              {names(`"mti":"0110","stan":"000001","transmitted_at":"` + at + `"`), "/authorization/mti", "malformed"},
		"an authorization":       {names(`"mti":"0100","stan":"000001"`), "/authorization/transmitted_at", "required"},
		"asked another year":     {names(`"mti":"0100","stan":"000001","transmitted_at":"` + far + `"`), "/authorization/transmitted_at", "out_of_range"},
		"more of authorizations": {names(`"mti":"0100","stan":"000001","transmitted_at":"` + at + `","terminal":"T1"`), "/authorization/terminal", "unknown_field"},
		"more":                   {collected(byID(card), "000001", "500", `,"expiry":"2031-12"`), "/expiry", "unknown_field"},
	} {
		if name == "a part of a credit" {
			c.body, c.pointer, c.code = strings.Replace(c.body, `"000000"`, `"200000"`, 1), "/partial", "malformed"
		}
		r := d.clear("k", c.body)
		if p := r.problem(t); r.status != 422 || len(p.Violations) != 1 || *p.Violations[0].Pointer != c.pointer || p.Violations[0].Code != c.code {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
		if _, wrong := http.ParseClearing([]byte(c.body), time.Now()); len(wrong) != 1 || *wrong[0].Pointer != c.pointer || wrong[0].Code != c.code {
			t.Errorf("%s: read ahead of it: %v", name, wrong)
		}
	}
	if n := len(d.produced()); n != 1 {
		t.Errorf("%d commands", n-1)
	}
	if _, wrong := http.ParseClearing([]byte(good), time.Now()); len(wrong) > 0 {
		t.Errorf("%v", wrong)
	}
}

// Invariant: the number of a card that an item names stands in no command, no answer and no log line.
func TestNumberOfAClearingIsForgotten(t *testing.T) {
	var log strings.Builder
	var mu sync.Mutex
	d, _ := withCard(t, func(_ *http.Config, p *http.Ports) {
		p.Log = slog.New(slog.NewJSONHandler(writer(func(b []byte) {
			mu.Lock()
			defer mu.Unlock()
			log.Write(b)
		}), nil))
	})
	wrong := cardNumber[:15] + "1"
	said := ""
	for i, body := range []string{
		collected(byNumber, "000001", "500", ""), collected(byNumber, "000001", "501", ""), collected(byNumber, "000002", "504", ""), collected(byNumber, "000003", "503", ""),
		collected(`"number":"`+wrong+`"`, "000001", "500", ""), collected(byNumber, cardNumber, "500", ""), collected(byNumber, "000001", cardNumber, ""),
		collected(`"card_id":"crd_`+cardNumber+`"`, "000001", "500", ""), collected(byNumber, "000001", "500", `,"`+cardNumber+`":1`), `{"number":` + cardNumber + `}`, `{"number":"` + cardNumber,
	} {
		said += string(d.clear(fmt.Sprint("k", i), body).body)
		_, violations := http.ParseClearing([]byte(body), time.Now())
		for _, v := range violations {
			said += *v.Pointer + v.Detail
		}
	}
	for _, cmd := range d.produced() {
		said += prototext.Format(cmd)
	}
	said += log.String()
	for _, secret := range []string{cardNumber, wrong, cardNumber[6:12]} {
		if strings.Contains(said, secret) {
			t.Errorf("%s is in %s", secret, said)
		}
	}
}
