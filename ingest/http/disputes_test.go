package http_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/caudalpay/caudal/ingest/http"
	"github.com/caudalpay/caudal/processors/payment"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

const evidenceSum = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

// told is what is told of a dispute about shop's first pay-in, with more members, which may be empty or begin with a comma.
func (d *door) told(stage, amount, more string) string {
	return `{"payment_id":"` + string(d.payInID("first")) + `","stage":"` + stage + `","amount":` + amount + `,"reference":"CB-1"` + more + `}`
}

func (d *door) tell(key, body string, headers ...string) reply {
	d.tb.Helper()
	return d.post("/disputes", key, body, append([]string{"Authorization", "Bearer " + houseToken}, headers...)...)
}

func (d *door) disputeID(connector, reference string) string {
	return string(payment.DisputeIDFrom(d.shop, connector, reference))
}

func evidence(files ...string) string { return `{"files":[` + strings.Join(files, ",") + `]}` }

func evidenceFile(reference string) string {
	return `{"reference":"` + reference + `","sha256":"` + evidenceSum + `","kind":"receipt"}`
}

// What an operator tells is about a merchant's account, under the id that who tells of it makes.
func TestDisputeBecomesACommand(t *testing.T) {
	d := openDoor(t)
	deadline := time.Date(2026, 12, 7, 23, 59, 59, 0, time.UTC)
	for i, c := range []struct {
		stage, more, connector string
		want                   *paymentsv1.Dispute
	}{
		{"pre_dispute", ``, "operator", &paymentsv1.Dispute{Stage: paymentsv1.DisputeStage_DISPUTE_STAGE_PRE_DISPUTE}},
		{"dispute", `,"connector":"cielo","reason_code":"10.4","deadline":"2026-12-07T20:59:59-03:00"`, "cielo", &paymentsv1.Dispute{
			Stage: paymentsv1.DisputeStage_DISPUTE_STAGE_DISPUTE, ReasonCode: "10.4", DeadlineUs: deadline.UnixMicro(),
		}},
		{"pre_arbitration", ``, "operator", &paymentsv1.Dispute{Stage: paymentsv1.DisputeStage_DISPUTE_STAGE_PRE_ARBITRATION}},
		{"won", `,"connector":"rede"`, "rede", &paymentsv1.Dispute{Stage: paymentsv1.DisputeStage_DISPUTE_STAGE_WON}},
		{"lost", `,"occurred_at":"2026-12-07T20:59:59-03:00"`, "operator", &paymentsv1.Dispute{
			Stage: paymentsv1.DisputeStage_DISPUTE_STAGE_LOST, OccurredAtUs: deadline.UnixMicro(),
		}},
	} {
		id := d.disputeID(c.connector, "CB-1")
		r := d.tell(payKey(c.stage), d.told(c.stage, "100", c.more))
		var a http.RequestAnswer
		r.decode(t, &a)
		if r.status != 200 || r.header["Location"] != "/disputes/"+id || a != (http.RequestAnswer{
			AccountID: string(d.shop), Kind: "dispute", Status: c.stage, PaymentID: string(d.payInID("first")), DisputeID: id,
		}) {
			t.Fatalf("%s: %d %v %s", c.stage, r.status, r.header, r.body)
		}
		c.want.AmountMinor, c.want.Connector, c.want.Reference = 100, c.connector, "CB-1"
		c.want.MessageId = payment.CommandIDFrom(string(d.shop), "shop", payKey(c.stage))
		cmd := d.produced()[i]
		want := &paymentsv1.Command{
			Version: 1, Kind: paymentsv1.CommandKind_COMMAND_KIND_DISPUTE, Tenant: "sample", Merchant: "shop", Customer: "c1", Account: string(d.shop),
			CommandId: id, PaymentId: string(d.payInID("first")), Pins: &paymentsv1.Pins{Policy: "standard@3"},
			AcceptedAtUs: cmd.GetAcceptedAtUs(), BodyHash: cmd.GetBodyHash(), Body: &paymentsv1.Command_Dispute{Dispute: c.want},
		}
		if !proto.Equal(cmd, want) || len(cmd.GetBodyHash()) != 32 || d.keys[i] != string(d.shop) {
			t.Errorf("key %s command %v\nwant %v", d.keys[i], cmd, want)
		}
	}
}

// Invariant: nobody says what became of a dispute but a key that names the operator's scope. A merchant's key with every scope
// of a merchant would decide its own disputes.
func TestOnlyOperatorsTellOfDisputes(t *testing.T) {
	d := openDoor(t)
	for _, secret := range []string{token, otherToken, readToken} {
		if r := d.tell("k", d.told("won", "100", ""), "Authorization", "Bearer "+secret); r.status != 403 || r.problem(t).Code != http.ErrorInsufficientScope {
			t.Errorf("%d %s", r.status, r.body)
		}
	}
	for path, body := range map[string]string{"evidence": evidence(evidenceFile("a")), "accept": ""} {
		if r := d.post("/disputes/"+d.disputeID("cielo", "CB-1")+"/"+path, "k", body, "Authorization", "Bearer "+houseToken); r.status != 403 {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
	}
	foreign := strings.Replace(d.told("dispute", "100", ""), string(d.payInID("first")), string(payment.IDFrom(payment.KindPayIn, d.foreign, "shop", "k")), 1)
	if r := d.tell("k", foreign); r.status != 404 || r.problem(t).Code != http.ErrorPaymentUnknown {
		t.Errorf("another tenant's: %d %s", r.status, r.body)
	}
	rival := strings.Replace(d.told("dispute", "100", ""), string(d.payInID("first")), string(payment.IDFrom(payment.KindPayIn, d.rival, "rival", "k")), 1)
	if r := d.tell("k", rival); r.status != 404 || r.problem(t).Code != http.ErrorPaymentUnknown {
		t.Errorf("another merchant's: %d %s", r.status, r.body)
	}
	if n := len(d.produced()); n != 0 {
		t.Fatalf("%d commands", n)
	}
}

// Invariant: what is told of a dispute under one key is taken once, whatever is told in between; under another key it is news.
func TestDisputeIsToldOnceUnderAKey(t *testing.T) {
	d := openDoor(t)
	first := map[string]reply{}
	for i, stage := range []string{"pre_dispute", "dispute", "won", "pre_arbitration", "won"} {
		key := fmt.Sprint("k", i)
		r := d.tell(key, d.told(stage, "100", ""))
		if r.status != 200 || !strings.Contains(string(r.body), `"status":"`+stage+`"`) || r.header["Idempotency-Replayed"] != "" {
			t.Errorf("%s: %d %s", stage, r.status, r.body)
		}
		first[key] = r
	}
	for i, stage := range []string{"pre_dispute", "dispute", "won", "pre_arbitration", "won"} {
		key := fmt.Sprint("k", i)
		if r := d.tell(key, " "+d.told(stage, "100", "")); r.status != 200 || !bytes.Equal(r.body, first[key].body) || r.header["Idempotency-Replayed"] != "true" {
			t.Errorf("%s again: %d %s", stage, r.status, r.body)
		}
		for _, other := range []string{d.told("lost", "100", ""), d.told(stage, "101", ""), d.told(stage, "100", `,"occurred_at":"2026-12-07T00:00:00Z"`)} {
			if r := d.tell(key, other); r.status != 422 || r.problem(t).Code != http.ErrorIdempotencyConflict {
				t.Errorf("another under %s: %d %s", key, r.status, r.body)
			}
		}
	}
	for amount, want := range map[string]struct {
		status int
		id     http.ErrorID
		detail string // what to change
	}{
		"666": {409, http.ErrorRequestDeclined, "Declined: rail_amount. The amount is above what is left of the captured amount, or another than this dispute was told with before."},
		"668": {404, http.ErrorPaymentUnknown, "connector and reference name a dispute of another pay-in."},
		"503": {503, http.ErrorBusy, ""},
	} {
		r := d.tell("k", d.told("dispute", amount, ""))
		if p := r.problem(t); r.status != want.status || p.Code != want.id || !strings.HasSuffix(p.Detail, want.detail) {
			t.Errorf("%s: %d %s", amount, r.status, r.body)
		}
	}
	pending := d.tell("later", d.told("lost", "100", ""), "Prefer", "respond-async")
	if pending.status != 202 || pending.header["Location"] != "/disputes/"+d.disputeID("operator", "CB-1") || !strings.Contains(string(pending.body), `"dispute_id":"dp_`) {
		t.Errorf("%d %s", pending.status, pending.body)
	}
	inFlight := make(chan reply, 1)
	go func() { inFlight <- d.tell("slow", d.told("lost", "1111", "")) }()
	<-d.arrived
	if r := d.tell("slow", d.told("lost", "1111", "")); r.problem(t).Code != http.ErrorInFlight {
		t.Errorf("%d %s", r.status, r.body)
	}
	close(d.slow)
	if r := <-inFlight; r.status != 200 {
		t.Errorf("%d %s", r.status, r.body)
	}
}

func TestEvidenceBecomesACommand(t *testing.T) {
	d := openDoor(t)
	id := d.disputeID("cielo", "CB-1")
	file := `{"kind":"delivery","sha256":"` + strings.ToUpper(evidenceSum) + `","reference":"s3://evidence/ção 1.pdf"}`
	r := d.post("/disputes/"+id+"/evidence", "k", evidence(evidenceFile("a"), file))
	want := fmt.Sprintf(`{"account_id":%q,"kind":"dispute_evidence","status":"dispute","dispute_id":%q}`, d.shop, id)
	if r.status != 200 || string(r.body) != want || r.header["Location"] != "/disputes/"+id || r.header["Caudal-Account-Seq"] != "1" {
		t.Fatalf("%d %v %s", r.status, r.header, r.body)
	}
	cmd := d.produced()[0]
	files := cmd.GetDisputeEvidence().GetFiles()
	if cmd.GetKind() != paymentsv1.CommandKind_COMMAND_KIND_DISPUTE_EVIDENCE || cmd.GetPaymentId() != id || cmd.GetCommandId() != payment.CommandIDFrom(string(d.shop), "shop", "k") ||
		len(files) != 2 || files[0].GetReference() != "a" || files[1].GetReference() != "s3://evidence/ção 1.pdf" || files[1].GetKind() != "delivery" ||
		fmt.Sprintf("%x", files[1].GetSha256()) != evidenceSum || cmd.GetPins().GetPolicy() != "standard@3" || d.keys[0] != string(d.shop) {
		t.Errorf("%v", cmd)
	}
	again := d.post("/disputes/"+id+"/evidence", "k", " "+evidence(evidenceFile("a"), file))
	if again.status != 200 || !bytes.Equal(again.body, r.body) || again.header["Idempotency-Replayed"] != "true" {
		t.Errorf("%d %s", again.status, again.body)
	}
	for name, other := range map[string]reply{
		"order":   d.post("/disputes/"+id+"/evidence", "k", evidence(file, evidenceFile("a"))),
		"fewer":   d.post("/disputes/"+id+"/evidence", "k", evidence(evidenceFile("a"))),
		"dispute": d.post("/disputes/"+d.disputeID("cielo", "CB-2")+"/evidence", "k", evidence(evidenceFile("a"), file)),
		"accept":  d.post("/disputes/"+id+"/accept", "k", ""),
	} {
		if other.status != 422 || other.problem(t).Code != http.ErrorIdempotencyConflict {
			t.Errorf("another %s: %d %s", name, other.status, other.body)
		}
	}
}

func TestAcceptBecomesACommand(t *testing.T) {
	d := openDoor(t)
	id := d.disputeID("cielo", "CB-1")
	for i, body := range []string{"", "{}"} {
		r := d.post("/disputes/"+id+"/accept", fmt.Sprint("k", i), body)
		want := fmt.Sprintf(`{"account_id":%q,"kind":"dispute_accept","status":"lost","dispute_id":%q}`, d.shop, id)
		if r.status != 200 || string(r.body) != want {
			t.Errorf("%d %s", r.status, r.body)
		}
		if cmd := d.produced()[i]; cmd.GetDisputeAccept() == nil || cmd.GetPaymentId() != id || cmd.GetKind() != paymentsv1.CommandKind_COMMAND_KIND_DISPUTE_ACCEPT {
			t.Errorf("%v", cmd)
		}
	}
	if r := d.post("/disputes/"+id+"/accept", "k", `{"why":1}`); r.status != 422 {
		t.Errorf("%d %s", r.status, r.body)
	}
}

func TestDeclinedContestTellsWhy(t *testing.T) {
	d := openDoor(t)
	id := d.disputeID("cielo", "CB-1")
	for reference, want := range map[string]struct {
		status int
		id     http.ErrorID
		reason string
		detail string
	}{
		"late":    {409, http.ErrorRequestDeclined, "deadline_passed", "it takes no evidence, and cannot be accepted."},
		"unknown": {404, http.ErrorDisputeUnknown, "payment_unknown", "Declined: payment_unknown. No such dispute."},
	} {
		r := d.post("/disputes/"+id+"/evidence", reference, evidence(evidenceFile(reference)))
		var p http.DeclinedProblem
		r.decode(t, &p)
		if r.status != want.status || p.Code != want.id || !slices.Equal(p.Reasons, []string{want.reason}) || p.Instance != "/disputes/"+id || p.Payment != nil || !strings.HasSuffix(p.Detail, want.detail) {
			t.Errorf("%s: %d %s", reference, r.status, r.body)
		}
		if again := d.post("/disputes/"+id+"/evidence", reference, evidence(evidenceFile(reference))); !bytes.Equal(again.body, r.body) || again.header["Idempotency-Replayed"] != "true" {
			t.Errorf("%s again: %d %s", reference, again.status, again.body)
		}
	}
}

func TestWhatCannotBeSaidOfADispute(t *testing.T) {
	d := openDoor(t)
	id := d.disputeID("cielo", "CB-1")
	good := d.told("dispute", "100", "")
	many := make([]string, 21)
	for i := range many {
		many[i] = evidenceFile("a")
	}
	for _, c := range []struct{ body, pointer string }{
		{strings.Replace(good, `"dispute"`, `"DISPUTE"`, 1), "/stage"},
		{strings.Replace(good, `"dispute"`, `"unspecified"`, 1), "/stage"},
		{strings.Replace(good, `"dispute"`, `"chargeback"`, 1), "/stage"},
		{strings.Replace(good, `"stage":"dispute",`, ``, 1), "/stage"},
		{strings.Replace(good, `:100`, `:0`, 1), "/amount"},
		{strings.Replace(good, `"CB-1"`, `""`, 1), "/reference"},
		{strings.Replace(good, `"CB-1"`, `"CB 1"`, 1), "/reference"},
		{strings.Replace(good, `"pi_`, `"po_`, 1), "/payment_id"},
		{d.told("dispute", "100", `,"deadline":"tomorrow"`), "/deadline"},
		{d.told("dispute", "100", `,"deadline":"2026-12-07"`), "/deadline"},
		{d.told("dispute", "100", `,"deadline":"1969-12-07T00:00:00Z"`), "/deadline"},
		{d.told("dispute", "100", `,"deadline":"2200-01-01T00:00:00Z"`), "/deadline"},
		{d.told("dispute", "100", `,"deadline":5`), "/deadline"},
		{d.told("dispute", "100", `,"occurred_at":"2026-12-07"`), "/occurred_at"},
		{d.told("dispute", "100", `,"reason_code":""`), "/reason_code"},
		{d.told("dispute", "100", `,"currency":"BRL"`), "/currency"},
	} {
		r := d.tell("k", c.body)
		if p := r.problem(t); r.status != 422 || len(p.Violations) != 1 || *p.Violations[0].Pointer != c.pointer {
			t.Errorf("%s: %d %s", c.body, r.status, r.body)
		}
	}
	for _, c := range []struct{ body, pointer string }{
		{`{}`, "/files"},
		{`{"files":[]}`, "/files"},
		{`{"files":{}}`, "/files"},
		{`{"files":null}`, "/files"},
		{evidence(many...), "/files"},
		{evidence(`1`), "/files/0"},
		{evidence(evidenceFile("a"), evidenceFile("")), "/files/1/reference"},
		{evidence(evidenceFile(strings.Repeat("é", 141))), "/files/0/reference"},
		{evidence(strings.Replace(evidenceFile("a"), evidenceSum, evidenceSum[2:], 1)), "/files/0/sha256"},
		{evidence(strings.Replace(evidenceFile("a"), evidenceSum, "g"+evidenceSum[1:], 1)), "/files/0/sha256"},
		{evidence(strings.Replace(evidenceFile("a"), `"receipt"`, `"Receipt"`, 1)), "/files/0/kind"},
		{evidence(strings.Replace(evidenceFile("a"), `,"kind":"receipt"`, ``, 1)), "/files/0/kind"},
		{evidence(strings.Replace(evidenceFile("a"), `{`, `{"body":"",`, 1)), "/files/0/body"},
	} {
		r := d.post("/disputes/"+id+"/evidence", "k", c.body)
		if p := r.problem(t); r.status != 422 || len(p.Violations) != 1 || *p.Violations[0].Pointer != c.pointer {
			t.Errorf("%s: %d %s", c.body, r.status, r.body)
		}
	}
	if n := len(d.produced()); n != 0 {
		t.Errorf("%d commands", n)
	}
}

// Invariant: the address names a dispute of the caller's; whatever else it names looks like nothing.
func TestDisputeThatIsNotYours(t *testing.T) {
	d := openDoor(t)
	mine := d.disputeID("cielo", "CB-1")
	for _, id := range []string{
		"pi_" + mine[3:], "x", mine[:42], mine + "a", string(payment.DisputeIDFrom(d.rival, "cielo", "CB-1")), string(payment.DisputeIDFrom(d.foreign, "cielo", "CB-1")),
		"dp_" + strings.Repeat("a", 40),
	} {
		for path, body := range map[string]string{"evidence": evidence(evidenceFile("a")), "accept": ""} {
			r := d.post("/disputes/"+id+"/"+path, "k", body)
			if p := r.problem(t); r.status != 404 || p.Code != http.ErrorDisputeUnknown || p.Detail != "No such dispute of yours." {
				t.Errorf("%s of %s: %d %s", path, id, r.status, r.body)
			}
		}
		if r := d.send("GET", "/disputes/"+id, ""); r.status != 404 {
			t.Errorf("%s: %d %s", id, r.status, r.body)
		}
	}
	for path, body := range map[string]string{"evidence": evidence(evidenceFile("a")), "accept": ""} {
		if r := d.post("/disputes/"+mine+"/"+path, "", body); r.problem(t).Code != http.ErrorMissingKey {
			t.Errorf("%d %s", r.status, r.body)
		}
		if r := d.post("/disputes/"+mine+"/"+path, "k", body, "Authorization", "Bearer "+readToken); r.status != 403 {
			t.Errorf("%d %s", r.status, r.body)
		}
	}
	if n := len(d.produced()); n != 0 {
		t.Errorf("%d commands", n)
	}
}

func TestReadDisputes(t *testing.T) {
	d := openDoor(t)
	at := time.Date(2026, 11, 23, 6, 0, 0, 5000, time.UTC)
	for i, status := range []string{"won", "dispute", "dispute", "lost"} {
		account := d.shop
		if i == 3 {
			account = d.buyer
		}
		d.disputes = append(d.disputes, http.DisputeView{
			DisputeID: string(payment.DisputeIDFrom(account, "cielo", fmt.Sprint("CB-", i))), AccountID: string(account), Status: status, AccountSeq: uint64(i + 1),
			CreatedAt: at.Add(-time.Duration(i) * time.Minute), Reasons: []string{}, Evidence: []http.EvidenceFile{},
		})
	}
	r := d.send("GET", "/disputes/"+d.disputes[1].DisputeID, "")
	var one http.DisputeView
	r.decode(t, &one)
	if r.status != 200 || one.Status != "dispute" || r.header["Caudal-Account-Seq"] != "2" || !strings.Contains(string(r.body), `"evidence":[]`) {
		t.Errorf("%d %s", r.status, r.body)
	}
	for query, want := range map[string][]int{
		"":                                  {0, 1, 2, 3},
		"?status=dispute":                   {1, 2},
		"?account_id=" + string(d.buyer):    {3},
		"?limit=2":                          {0, 1, 2, 3},
		"?limit=1&status=dispute":           {1, 2},
		"?limit=500&status=pre_arbitration": {},
		"?min_seq=0&account_id=" + string(d.shop): {0, 1, 2},
	} {
		var got []string
		for next := query; ; {
			r := d.send("GET", "/disputes"+next, "", "Authorization", "Bearer "+readToken)
			var page http.DisputesPage
			r.decode(t, &page)
			for _, v := range page.Disputes {
				got = append(got, v.DisputeID)
			}
			if !page.HasMore {
				break
			}
			next = query + "&cursor=" + page.Cursor
		}
		var ids []string
		for _, i := range want {
			ids = append(ids, d.disputes[i].DisputeID)
		}
		if !slices.Equal(got, ids) {
			t.Errorf("%s: %v, want %v", query, got, ids)
		}
	}
	for query, status := range map[string]int{
		"?min_seq=1": 400,
		"?min_seq=99&account_id=" + string(d.shop): 503,
		"?account_id=" + string(d.rival):           404,
		"?account_id=x":                            400,
		"?status=open":                             400,
		"?status=succeeded":                        400,
		"?limit=0":                                 400,
		"?limit=501":                               400,
		"?cursor=AQEB":                             400,
		"?cursor=Ag":                               400,
		"?status=won&status=won":                   400,
		"?nothing=1":                               400,
	} {
		if r := d.send("GET", "/disputes"+query, ""); r.status != status {
			t.Errorf("%s: %d %s", query, r.status, r.body)
		}
	}
	d.storeErr = http.ErrUnavailable
	if r := d.send("GET", "/disputes", ""); r.status != 503 || r.header["Retry-After"] == "" {
		t.Errorf("%d %v", r.status, r.header)
	}
}
