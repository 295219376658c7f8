package http_test

import (
	"bytes"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/caudalpay/caudal/ingest/http"
	"github.com/caudalpay/caudal/processors/payment"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

// byCard is the body of a pay-in whose method has more members, which may be empty or begin with a comma.
func (d *door) byCard(amount, more string) string {
	return strings.Replace(d.payIn(amount, `,"instrument":"tok_1"`), `{"type":"book"}`, `{"type":"card"`+more+`}`, 1)
}

// byBank is the body of a payout to an account at a bank.
func (d *door) byBank(amount string) string {
	return strings.Replace(d.payIn(amount, `,"counterparty":{"account":"0001/12-3"}`), `"book"`, `"bank"`, 1)
}

func (d *door) payInID(key string) payment.ID {
	return payment.IDFrom(payment.KindPayIn, d.shop, "shop", key)
}

func TestCardBecomesACommand(t *testing.T) {
	d := openDoor(t)
	const automatic, manual = paymentsv1.CaptureMethod_CAPTURE_METHOD_AUTOMATIC, paymentsv1.CaptureMethod_CAPTURE_METHOD_MANUAL
	for i, c := range []struct {
		more string
		card *paymentsv1.Card
	}{
		{``, &paymentsv1.Card{Capture: automatic, Installments: 1}},
		{`,"capture":"automatic"`, &paymentsv1.Card{Capture: automatic, Installments: 1}},
		{`,"capture":"manual"`, &paymentsv1.Card{Capture: manual, Installments: 1}},
		{`,"brand":"visa_electron","installments":99`, &paymentsv1.Card{Capture: automatic, Brand: "visa_electron", Installments: 99}},
		{`,"installments":1,"brand":"elo","capture":"manual"`, &paymentsv1.Card{Capture: manual, Brand: "elo", Installments: 1}},
	} {
		r := d.post("/payins", payKey(c.more), d.byCard("100", c.more))
		var a http.PaymentAnswer
		r.decode(t, &a)
		if r.status != 201 || a.Status != "processing" || a.Decision != "approved" || a.Method != "card" || a.Kind != "payin" || r.header["Location"] != "/transactions/"+a.PaymentID {
			t.Errorf("%s: %d %s", c.more, r.status, r.body)
		}
		in := d.produced()[i].GetInstruction()
		if !proto.Equal(in.GetCard(), c.card) || in.GetMethod() != "card" || in.GetInstrument() != "tok_1" {
			t.Errorf("%s: instruction %v", c.more, in)
		}
	}
	// The type may stand anywhere.
	body := strings.Replace(d.byCard("100", `,"brand":"visa"`), `{"type":"card","brand":"visa"}`, `{"brand":"visa","type":"card"}`, 1)
	if r := d.post("/payins", "last", body); r.status != 201 {
		t.Errorf("%d %s", r.status, r.body)
	}
	d.post("/payins", "book", d.payIn("100", ""))
	if in := d.produced()[6].GetInstruction(); in.GetCard() != nil {
		t.Errorf("a payment by book with a card: %v", in)
	}
}

func TestPayoutByBankBecomesACommand(t *testing.T) {
	d := openDoor(t)
	r := d.post("/payouts", "k", d.byBank("100"))
	var a http.PaymentAnswer
	r.decode(t, &a)
	if r.status != 201 || a.Status != "created" || a.Method != "bank" || a.Kind != "payout" {
		t.Errorf("%d %s", r.status, r.body)
	}
	cmd := d.produced()[0]
	personal, err := d.sealer.Open(cmd.GetSealed())
	check(t, err)
	if in := cmd.GetInstruction(); in.GetMethod() != "bank" || in.GetCard() != nil || personal.GetCounterpartyAccount() != "0001/12-3" {
		t.Errorf("%v, sealed %v", in, personal)
	}
}

// What is left out and what it means are one request; anything else about the card is another.
func TestRepeatOfACardPayment(t *testing.T) {
	d := openDoor(t)
	first := d.post("/payins", "k", d.byCard("100", `,"brand":"visa"`))
	again := d.post("/payins", "k", d.byCard("100", `,"installments":1,"capture":"automatic","brand":"visa"`))
	if first.status != 201 || again.status != 201 || !bytes.Equal(first.body, again.body) || again.header["Idempotency-Replayed"] != "true" {
		t.Fatalf("first %d %s\nagain %d %s", first.status, first.body, again.status, again.body)
	}
	for name, body := range map[string]string{
		"brand":        d.byCard("100", `,"brand":"elo"`),
		"no brand":     d.byCard("100", ``),
		"capture":      d.byCard("100", `,"brand":"visa","capture":"manual"`),
		"installments": d.byCard("100", `,"brand":"visa","installments":2`),
		"instrument":   strings.Replace(d.byCard("100", `,"brand":"visa"`), "tok_1", "tok_2", 1),
		"method":       d.payIn("100", `,"instrument":"tok_1"`),
	} {
		if r := d.post("/payins", "k", body); r.status != 422 || r.problem(t).Code != http.ErrorIdempotencyConflict {
			t.Errorf("another %s: %d %s", name, r.status, r.body)
		}
	}
}

func TestOperationBecomesACommand(t *testing.T) {
	d := openDoor(t)
	pi := d.payInID("first")
	for _, c := range []struct {
		name, body string
		kind       payment.Kind
		want       *paymentsv1.Command
	}{
		{"capture", `{"amount":400,"final":true}`, payment.KindCapture, &paymentsv1.Command{Body: &paymentsv1.Command_Capture{Capture: &paymentsv1.CaptureInstruction{AmountMinor: 400, Final: true}}}},
		{"capture", `{"final":false}`, payment.KindCapture, &paymentsv1.Command{Body: &paymentsv1.Command_Capture{Capture: &paymentsv1.CaptureInstruction{}}}},
		{"capture", ` { "amount" : 9223372036854775807 } `, payment.KindCapture, &paymentsv1.Command{Body: &paymentsv1.Command_Capture{Capture: &paymentsv1.CaptureInstruction{AmountMinor: 1<<63 - 1}}}},
		{"capture", `{}`, payment.KindCapture, &paymentsv1.Command{Body: &paymentsv1.Command_Capture{Capture: &paymentsv1.CaptureInstruction{}}}},
		{"capture", ``, payment.KindCapture, &paymentsv1.Command{Body: &paymentsv1.Command_Capture{Capture: &paymentsv1.CaptureInstruction{}}}},
		{"void", `{}`, payment.KindVoid, &paymentsv1.Command{Body: &paymentsv1.Command_Void{Void: &paymentsv1.VoidInstruction{}}}},
		{"void", ``, payment.KindVoid, &paymentsv1.Command{Body: &paymentsv1.Command_Void{Void: &paymentsv1.VoidInstruction{}}}},
		{"increment", `{"amount":1}`, payment.KindIncrement, &paymentsv1.Command{Body: &paymentsv1.Command_Increment{Increment: &paymentsv1.IncrementInstruction{AmountMinor: 1}}}},
	} {
		t.Run(c.name+c.body, func(t *testing.T) {
			n, key := len(d.produced()), payKey(c.name+c.body)
			r := d.post("/payins/"+string(pi)+"/"+c.name, key, c.body)
			id := payment.IDFrom(c.kind, d.shop, "shop", key)
			var a http.PaymentAnswer
			r.decode(t, &a)
			if r.status != 201 || a.PaymentID != string(id) || a.Kind != c.name || a.Status != "processing" || a.Decision != "approved" ||
				a.RelatedPaymentID != string(pi) || a.RefundedPaymentID != "" || a.AccountID != string(d.shop) || r.header["Location"] != "/transactions/"+string(id) {
				t.Fatalf("%d %s", r.status, r.body)
			}
			cmd := d.produced()[n]
			want := &paymentsv1.Command{
				Version: 1, Kind: paymentsv1.CommandKind(c.kind), Tenant: "sample", Merchant: "shop", Customer: "c1", Account: string(d.shop),
				CommandId: string(id), PaymentId: string(pi), Pins: &paymentsv1.Pins{Policy: "standard@3"},
				AcceptedAtUs: cmd.GetAcceptedAtUs(), BodyHash: cmd.GetBodyHash(), Body: c.want.GetBody(),
			}
			if !proto.Equal(cmd, want) || len(cmd.GetBodyHash()) != 32 || d.keys[n] != string(d.shop) {
				t.Errorf("key %s command %v\nwant %v", d.keys[n], cmd, want)
			}
		})
	}
}

// Invariant: a repeat of an operation gets the first status and body, byte for byte, whatever became of the payment.
func TestRepeatOfAnOperation(t *testing.T) {
	d := openDoor(t)
	at := func(key, operation string) string { return "/payins/" + string(d.payInID(key)) + "/" + operation }
	for name, c := range map[string]struct {
		operation, body, again, other string
		status                        int
	}{
		"capture":  {"capture", `{"amount":400}`, `{"final":false,"amount":400}`, `{"amount":401}`, 201},
		"final":    {"capture", `{"amount":400,"final":true}`, "{\"final\" : true,\n\"amount\":400}", `{"amount":400}`, 201},
		"all":      {"capture", ``, `{}`, `{"final":true}`, 201},
		"increase": {"increment", `{"amount":300}`, ` {"amount":300}`, `{"amount":3000}`, 201},
		"void":     {"void", `{}`, ``, ``, 201},
		"declined": {"capture", `{"amount":666}`, `{"amount":666,"final":false}`, `{"amount":1}`, 402},
		"beside":   {"increment", `{"amount":667}`, `{"amount":667}`, `{"amount":1}`, 402},
		"unknown":  {"capture", `{"amount":668}`, `{"amount":668}`, `{"amount":1}`, 404},
	} {
		t.Run(name, func(t *testing.T) {
			first, again := d.post(at("first", c.operation), name, c.body), d.post(at("first", c.operation), name, c.again)
			if first.status != c.status || again.status != c.status || !bytes.Equal(first.body, again.body) || first.header["Location"] != again.header["Location"] {
				t.Fatalf("first %d %s\nagain %d %s", first.status, first.body, again.status, again.body)
			}
			if first.header["Idempotency-Replayed"] != "" || again.header["Idempotency-Replayed"] != "true" {
				t.Errorf("headers %v %v", first.header, again.header)
			}
			others := map[string]reply{
				"payment": d.post(at("second", c.operation), name, c.body),
				"refund":  d.post("/refunds", name, `{"payment_id":"`+string(d.payInID("first"))+`"}`),
				"pay-in":  d.post("/payins", name, d.payIn("400", "")),
			}
			if c.other != "" {
				others["body"] = d.post(at("first", c.operation), name, c.other)
			}
			for another, r := range others {
				if p := r.problem(t); r.status != 422 || p.Code != http.ErrorIdempotencyConflict {
					t.Errorf("another %s: %d %s", another, r.status, r.body)
				}
			}
		})
	}
	// A void and a capture that say nothing are two requests.
	bare := []reply{d.post(at("first", "void"), "bare", ``), d.post(at("first", "capture"), "bare", ``)}
	if bare[0].status != 201 || bare[1].status != 422 {
		t.Errorf("%d, then %d %s", bare[0].status, bare[1].status, bare[1].body)
	}
}

func TestDeclinedOperationTellsWhy(t *testing.T) {
	d := openDoor(t)
	pi := d.payInID("first")
	for body, want := range map[string]struct {
		status int
		id     http.ErrorID
		reason string
	}{
		`{"amount":666}`: {402, http.ErrorPaymentDeclined, "capture_exceeds_authorization"},
		`{"amount":667}`: {402, http.ErrorPaymentDeclined, "operation_in_progress"},
		`{"amount":668}`: {404, http.ErrorPaymentUnknown, "payment_unknown"},
	} {
		r := d.post("/payins/"+string(pi)+"/capture", payKey(body), body)
		var p http.DeclinedProblem
		r.decode(t, &p)
		if r.status != want.status || p.Code != want.id || p.Decision != "declined" || len(p.Reasons) != 1 || p.Reasons[0] != want.reason ||
			p.Payment == nil || p.Payment.Status != "failed" || p.Payment.RelatedPaymentID != string(pi) || p.Instance != "/transactions/"+p.Payment.PaymentID {
			t.Errorf("%s: %d %s", body, r.status, r.body)
		}
	}
}

func TestOperationWithoutWaiting(t *testing.T) {
	d := openDoor(t)
	path := "/payins/" + string(d.payInID("first"))
	for operation, body := range map[string]string{"capture": `{"amount":5}`, "void": ``, "increment": `{"amount":5}`} {
		first := d.post(path+"/"+operation, operation, body, "Prefer", "respond-async")
		again := d.post(path+"/"+operation, operation, body, "Prefer", "respond-async")
		other := d.post(path+"/capture", operation, `{"amount":6}`, "Prefer", "respond-async")
		var p http.PendingAnswer
		first.decode(t, &p)
		if first.status != 202 || p.Status != "pending" || p.Kind != operation || first.header["Location"] != "/transactions/"+p.PaymentID {
			t.Errorf("%s: %d %s", operation, first.status, first.body)
		}
		if !bytes.Equal(first.body, again.body) || again.header["Idempotency-Replayed"] != "true" || other.status != 422 {
			t.Errorf("%s: %d %s, another body %d", operation, again.status, again.body, other.status)
		}
	}
	if r := d.post(path+"/capture", "late", `{"amount":999}`); r.status != 202 || !strings.Contains(string(r.body), `"status":"pending"`) {
		t.Errorf("%d %s", r.status, r.body)
	}
	if r := d.post(path+"/increment", "busy", `{"amount":503}`); r.problem(t).Code != http.ErrorBusy {
		t.Errorf("%d %s", r.status, r.body)
	}
	inFlight := make(chan reply, 1)
	go func() { inFlight <- d.post(path+"/capture", "slow", `{"amount":1111}`) }()
	<-d.arrived
	if r := d.post(path+"/capture", "slow", `{"amount":1111}`); r.problem(t).Code != http.ErrorInFlight {
		t.Errorf("%d %s", r.status, r.body)
	}
	close(d.slow)
	if r := <-inFlight; r.status != 201 {
		t.Errorf("%d %s", r.status, r.body)
	}
}

// Invariant: the address of an operation names a pay-in of the caller's; whatever else it names looks like nothing.
func TestOperationOnWhatIsNotYours(t *testing.T) {
	d := openDoor(t)
	digests := string(d.payInID("first"))[3:]
	foreign := string(payment.IDFrom(payment.KindPayIn, d.foreign, "shop", "k"))
	for _, id := range []string{
		"po_" + digests, "re_" + digests, "ca_" + digests, "vo_" + digests, "tr_" + digests, "PI_" + digests, "pi_" + digests[1:], "pi_" + digests + "a", "x",
		"pi_" + strings.Repeat("a", 40), foreign, string(payment.IDFrom(payment.KindPayIn, d.rival, "rival", "k")),
	} {
		for operation, body := range map[string]string{"capture": `{}`, "void": ``, "increment": `{"amount":1}`} {
			r := d.post("/payins/"+id+"/"+operation, "k", body)
			if p := r.problem(t); r.status != 404 || p.Code != http.ErrorPaymentUnknown || p.Detail != "No such payment of yours." || len(p.Violations) != 0 {
				t.Errorf("%s of %s: %d %s", operation, id, r.status, r.body)
			}
		}
	}
	mine := "/payins/pi_" + digests
	for _, c := range []struct {
		header, value string
		status        int
	}{
		{"Authorization", "Bearer " + otherToken, 404},
		{"Authorization", "Bearer " + readToken, 403},
		{"Authorization", "", 401},
		{"Idempotency-Key", "", 400},
		{"Content-Type", "application/x-ndjson", 415},
	} {
		for operation, body := range map[string]string{"/capture": `{}`, "/void": `{}`, "/increment": `{"amount":1}`} {
			if r := d.post(mine+operation, "k", body, c.header, c.value); r.status != c.status {
				t.Errorf("%s %s %q: %d %s", operation, c.header, c.value, r.status, r.body)
			}
		}
	}
	if r := d.send("GET", mine+"/capture", ""); r.status != 405 || r.header["Allow"] != "POST" {
		t.Errorf("%d %v", r.status, r.header)
	}
	if n := len(d.produced()); n != 0 {
		t.Errorf("%d commands", n)
	}
}

// Items of a batch are what the single writes are: one key for one request, whichever door it came by.
func TestRailsInABatch(t *testing.T) {
	for _, lined := range []bool{false, true} {
		d := openDoor(t)
		item := func(kind, key, body string) string {
			return `{"kind":"` + kind + `","idempotency_key":"` + key + `",` + body[1:]
		}
		pi := `{"payment_id":"` + string(d.payInID("first")) + `"`
		items := []string{
			item("payin", "i0", d.byCard("100", `,"brand":"visa","capture":"manual"`)),
			item("payout", "i1", d.byBank("100")),
			item("capture", "i2", pi+`,"amount":400,"final":true}`),
			item("capture", "i3", pi+`}`),
			item("void", "i4", pi+`}`),
			item("increment", "i5", pi+`,"amount":7}`),
			item("capture", "i6", pi+`,"amount":666}`),
			item("payout", "i7", d.byCard("100", "")),
			item("payin", "i8", d.byBank("100")),
			item("void", "i9", pi+`,"amount":5}`),
			item("increment", "i10", pi+`}`),
			item("capture", "i11", `{"amount":5}`),
			item("capture", "i12", strings.Replace(pi, "pi_", "po_", 1)+`}`),
			item("void", "i13", `{"payment_id":"pi_`+strings.Repeat("a", 40)+`"}`),
			item("payin", "i14", strings.Replace(d.byCard("100", ""), `,"instrument":"tok_1"`, "", 1)),
			item("capture", "i2", pi+`,"final":true,"amount":400}`),
			item("capture", "i2", pi+`,"amount":400}`),
		}
		want := []struct {
			status  int
			pointer string
		}{
			{201, ""},
			{201, ""},
			{201, ""},
			{201, ""},
			{201, ""},
			{201, ""},
			{402, ""},
			{422, "/method/type"},
			{422, "/method/type"},
			{422, "/amount"},
			{422, "/amount"},
			{422, "/payment_id"},
			{422, "/payment_id"},
			{404, "/payment_id"},
			{422, "/instrument"},
			{201, ""},
			{422, ""},
		}
		body, headers := "["+strings.Join(items, ",")+"]", []string{"Prefer", "wait=2"}
		if lined {
			body, headers = strings.Join(items, "\n"), append(headers, "Content-Type", "application/x-ndjson")
		}
		got, r := d.batch(body, headers...)
		if r.status != 200 || len(got) != len(want) {
			t.Fatalf("%d %s", r.status, r.body)
		}
		for i, g := range got {
			if g.Status != want[i].status || want[i].pointer != "" && !strings.Contains(string(g.Body), `"pointer":"`+want[i].pointer+`"`) {
				t.Errorf("item %d: %d %s, want %v", i, g.Status, g.Body, want[i])
			}
		}
		if !got[15].Replayed || !bytes.Equal(got[15].Body, got[2].Body) {
			t.Errorf("the repeat reads %s, the first %s", got[15].Body, got[2].Body)
		}
		single := d.post("/payins/"+string(d.payInID("first"))+"/capture", "i2", `{"amount":400,"final":true}`)
		if single.header["Idempotency-Replayed"] != "true" || !bytes.Equal(single.body, got[2].Body) {
			t.Errorf("alone it is another request: %d %s", single.status, single.body)
		}
	}
}

func TestOperationsAreMeasuredByRoute(t *testing.T) {
	d := openDoor(t)
	d.post("/payins/"+string(d.payInID("first"))+"/capture", "k", `{}`)
	d.post("/payins/x/void", "k", `{}`)
	r := d.send("GET", "/metrics", "", "Authorization", "")
	for _, line := range []string{
		`caudal_ingest_http_requests_total{route="/payins/{id}/capture",status="201"} 1`,
		`caudal_ingest_http_requests_total{route="/payins/{id}/void",status="404"} 1`,
	} {
		if !strings.Contains(string(r.body), line) {
			t.Errorf("no %s", line)
		}
	}
}
