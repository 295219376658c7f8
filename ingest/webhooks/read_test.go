package webhooks

import (
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"github.com/caudalpay/caudal/schemas/openapi"
	railsv1 "github.com/caudalpay/caudal/schemas/rails/v1"
)

// bodies are what processors send, as their public pages show them, and what is read out of each; "" is not understood.
func bodies() []struct{ name, dialect, body, want string } {
	return []struct{ name, dialect, body, want string }{
		{
			"post", "cielo", `{"PaymentId":"24bc8366-fc31-4d6c-8555-17049a836a07","ChangeType":1}`,
			`kind: NOTIFICATION_KIND_PAYMENT type: "ChangeType 1" reference: "24bc8366-fc31-4d6c-8555-17049a836a07"`,
		},
		{"post with texts", "cielo", `{"RecurrentPaymentId":"r","PaymentId":"p","ChangeType":"2"}`, `kind: NOTIFICATION_KIND_PAYMENT type: "ChangeType 2" reference: "p"`},
		{
			"post of a chargeback", "cielo", `{"PaymentId":"p","ChangeType":7}`,
			`kind: NOTIFICATION_KIND_DISPUTE type: "ChangeType 7" reference: "p" dispute: {stage: DISPUTE_STAGE_DISPUTE}`,
		},
		{
			"fraud alert", "cielo", `{"PaymentId":"p","ChangeType":8}`,
			`kind: NOTIFICATION_KIND_DISPUTE type: "ChangeType 8" reference: "p" dispute: {stage: DISPUTE_STAGE_PRE_DISPUTE}`,
		},
		{
			"chargeback", "cielo", `{"treatmentDeadline":"2024-12-20","idCase":49701065,"idChargeback":20451,"process":"PRIMEIRO_CHARGEBACK","lifecycle":{},
			"transactionAmount":100.0,"cdReason":4853,"transactionDetails":{"transactionDate":"2024-12-01","currency":"REAL","tid":"12043402495ERJ76EGDF"}}`,
			`kind: NOTIFICATION_KIND_DISPUTE type: "chargeback" dispute: {id: "49701065" stage: DISPUTE_STAGE_DISPUTE stage_word: "PRIMEIRO_CHARGEBACK"
			amount_minor: 10000 currency: "BRL" deadline_us: 1734750000000000 reason_code: "4853" tid: "12043402495ERJ76EGDF"}`,
		},
		{
			"chargeback in other money", "cielo", `{"idCase":"c1","process":"PRIMEIRO_CHARGEBACK","transactionAmount":100,"transactionDetails":{"currency":"DOLAR","tid":"t"}}`,
			`kind: NOTIFICATION_KIND_DISPUTE type: "chargeback" dispute: {id: "c1" stage: DISPUTE_STAGE_DISPUTE stage_word: "PRIMEIRO_CHARGEBACK" amount_minor: 10000
			currency: "DOLAR" tid: "t"}`,
		},
		{
			"chargeback of a kind nobody knows", "cielo", `{"idCase":"c1","process":"OUTRO","transactionAmount":1.234}`,
			`kind: NOTIFICATION_KIND_DISPUTE type: "chargeback" dispute: {id: "c1" stage_word: "OUTRO"}`,
		},
		{"nothing", "cielo", `{}`, ""},
		{"a list", "cielo", `[]`, ""},
		{
			"paid", "pagarme", `{"id":"hook_1","account":{"id":"acc_1","name":"x"},"type":"charge.paid","created_at":"2023-10-10T20:28:13Z","data":{"id":"ch_1","code":"c",
			"amount":12500,"paid_amount":12500,"status":"paid","currency":"BRL","order":{"id":"or_1","code":"ours"},"last_transaction":{"status":"captured"},"customer":{"name":"N"}}}`,
			`kind: NOTIFICATION_KIND_PAYMENT event_id: "hook_1" type: "charge.paid" reference: "ch_1" own_reference: "ours" state: NOTIFIED_STATE_CAPTURED authorized_minor: 12500 captured_minor: 12500`,
		},
		{
			"authorised", "pagarme", `{"id":"h","type":"charge.pending","data":{"id":"ch_1","code":"ours","amount":5,"status":"pending","last_transaction":{"status":"authorized_pending_capture"}}}`,
			`kind: NOTIFICATION_KIND_PAYMENT event_id: "h" type: "charge.pending" reference: "ch_1" own_reference: "ours" state: NOTIFIED_STATE_AUTHORIZED authorized_minor: 5`,
		},
		{
			"given back", "pagarme", `{"id":"h","type":"charge.refunded","data":{"id":"ch_1","code":"ours","amount":5,"paid_amount":5,"canceled_amount":5,"status":"canceled"}}`,
			`kind: NOTIFICATION_KIND_PAYMENT event_id: "h" type: "charge.refunded" reference: "ch_1" own_reference: "ours" state: NOTIFIED_STATE_VOIDED authorized_minor: 5 captured_minor: 5 returned_minor: 5`,
		},
		{
			"contested", "pagarme", `{"id":"h","type":"charge.chargedback","data":{"id":"ch_1","code":"ours","amount":5,"paid_amount":5,"status":"chargedback","currency":"BRL"}}`,
			`kind: NOTIFICATION_KIND_DISPUTE event_id: "h" type: "charge.chargedback" reference: "ch_1" own_reference: "ours" state: NOTIFIED_STATE_CAPTURED authorized_minor: 5 captured_minor: 5
			dispute: {id: "ch_1" stage: DISPUTE_STAGE_DISPUTE stage_word: "chargedback" amount_minor: 5 currency: "BRL"}`,
		},
		{
			"order", "pagarme", `{"id":"h","type":"order.paid","data":{"id":"or_1","code":"ours","amount":5,"status":"paid","charges":[{"id":"ch_1"}]}}`,
			`kind: NOTIFICATION_KIND_PAYMENT event_id: "h" type: "order.paid" reference: "ch_1" own_reference: "ours"`,
		},
		{"of no payment", "pagarme", `{"id":"h","type":"customer.created","data":{"id":"cus_1"}}`, `kind: NOTIFICATION_KIND_OTHER event_id: "h" type: "customer.created"`},
		{"amount below nothing", "pagarme", `{"id":"h","type":"charge.paid","data":{"id":"ch_1","amount":-5}}`, ""},
		{"amount with a fraction", "pagarme", `{"id":"h","type":"charge.paid","data":{"id":"ch_1","amount":5.5}}`, ""},
		{"no id", "pagarme", `{"type":"charge.paid","data":{"id":"ch_1"}}`, ""},
		{
			"approved", "rede", `{"companyNumber":"1","events":["PV.UPDATE_TRANSACTION"],"data":{"id":"tid","reference":"ours","status":"Approved","amount":700,"refundedAmount":100}}`,
			`kind: NOTIFICATION_KIND_PAYMENT type: "PV.UPDATE_TRANSACTION" reference: "tid" own_reference: "ours" state: NOTIFIED_STATE_CAPTURED captured_minor: 700 returned_minor: 100`,
		},
		{
			"cancelled", "rede", `{"companyNumber":1,"events":["PV.UPDATE_TRANSACTION"],"data":{"id":7,"reference":"ours","status":"Canceled","amount":700}}`,
			`kind: NOTIFICATION_KIND_PAYMENT type: "PV.UPDATE_TRANSACTION" reference: "7" own_reference: "ours" state: NOTIFIED_STATE_VOIDED returned_minor: 700`,
		},
		{
			"contested", "rede", `{"events":["PV.CHARGEBACK"],"data":{"id":"tid","reference":"ours","amount":700}}`,
			`kind: NOTIFICATION_KIND_DISPUTE type: "PV.CHARGEBACK" reference: "tid" own_reference: "ours" dispute: {id: "tid" stage: DISPUTE_STAGE_DISPUTE stage_word: "PV.CHARGEBACK" amount_minor: 700 currency: "BRL"}`,
		},
		{
			"a dispute's stage", "rede", `{"events":["PV.CHARGEBACK"],"data":{"id":"tid","reference":"ours","status":"Approved","amount":700,"chargeback":{"id":"cb_1","stage":"PRE_ARBITRATION",
			"amount":600,"reasonCode":"10.4","occurredAt":"2026-11-23T12:00:00.000001Z","evidenceUntil":"2026-12-01"}}}`,
			`kind: NOTIFICATION_KIND_DISPUTE type: "PV.CHARGEBACK" reference: "tid" own_reference: "ours" dispute: {id: "cb_1" stage: DISPUTE_STAGE_PRE_ARBITRATION stage_word: "PRE_ARBITRATION"
			amount_minor: 600 currency: "BRL" deadline_us: 1796180400000000 reason_code: "10.4" occurred_at_us: 1795435200000001}`,
		},
		{
			"a stage nobody knows, at no time", "rede", `{"events":["PV.CHARGEBACK"],"data":{"id":"tid","chargeback":{"id":7,"stage":"ARBITRATION","amount":600,"occurredAt":"0001-01-01T00:00:00Z","evidenceUntil":"0001-01-01"}}}`,
			`kind: NOTIFICATION_KIND_DISPUTE type: "PV.CHARGEBACK" reference: "tid" dispute: {id: "7" stage_word: "ARBITRATION" amount_minor: 600 currency: "BRL"}`,
		},
		{
			"contested at a time, after a part", "pagarme", `{"id":"h","type":"charge.chargedback","created_at":"2026-11-23T12:00:00Z","data":{"id":"ch_1","amount":9,"paid_amount":5,"status":"chargedback","currency":"BRL"}}`,
			`kind: NOTIFICATION_KIND_DISPUTE event_id: "h" type: "charge.chargedback" reference: "ch_1" state: NOTIFIED_STATE_CAPTURED authorized_minor: 9 captured_minor: 5
			dispute: {id: "ch_1" stage: DISPUTE_STAGE_DISPUTE stage_word: "chargedback" amount_minor: 5 currency: "BRL" occurred_at_us: 1795435200000000}`,
		},
		{
			"sent", "transfers", `{"id":"evt_1","type":"transfer.sent","data":{"id":"e1","end_to_end_id":"e1","amount":700,"status":"sent"}}`,
			`kind: NOTIFICATION_KIND_PAYMENT event_id: "evt_1" type: "transfer.sent" reference: "e1" own_reference: "e1" state: NOTIFIED_STATE_SENT captured_minor: 700`,
		},
		{"no transfer", "transfers", `{"id":"evt_1","type":"transfer.sent"}`, ""},
	}
}

func TestRead(t *testing.T) {
	for _, c := range bodies() {
		n, understood := (&processor{read: readers()[c.dialect]}).understand([]byte(c.body))
		if understood != (c.want != "") {
			t.Errorf("%s %s: understood %v", c.dialect, c.name, understood)
			continue
		}
		want := &railsv1.Notification{Kind: other}
		if c.want != "" {
			want = &railsv1.Notification{}
			if err := prototext.Unmarshal([]byte(c.want), want); err != nil {
				t.Fatal(c.name, err)
			}
		}
		if !proto.Equal(n, want) {
			t.Errorf("%s %s: %v\nwant %v", c.dialect, c.name, n, want)
		}
	}
}

// Invariant: whatever an authentic body holds, reading it neither panics nor gives what a record cannot take.
func FuzzRead(f *testing.F) {
	for _, c := range bodies() {
		f.Add([]byte(c.body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for dialect, read := range readers() {
			n, understood := (&processor{read: read}).understand(body)
			if n.GetKind() == railsv1.NotificationKind_NOTIFICATION_KIND_UNSPECIFIED || !understood && n.GetKind() != other {
				t.Errorf("%s: kind %v, understood %v", dialect, n.GetKind(), understood)
			}
			if n.GetKind() == dispute != (n.GetDispute() != nil) {
				t.Errorf("%s: %v with dispute %v", dialect, n.GetKind(), n.GetDispute())
			}
			if n.GetAuthorizedMinor() < 0 || n.GetCapturedMinor() < 0 || n.GetReturnedMinor() < 0 || n.GetDispute().GetAmountMinor() < 0 ||
				outOfTime(n.GetDispute().GetDeadlineUs()) || outOfTime(n.GetDispute().GetOccurredAtUs()) {
				t.Errorf("%s: an amount below nothing, or a time that no command takes: %v", dialect, n)
			}
			for _, s := range []string{n.GetEventId(), n.GetType(), n.GetReference(), n.GetOwnReference(), n.GetDispute().GetId(), n.GetDispute().GetTid()} {
				if len(s) > textMax {
					t.Errorf("%s: %d bytes of text", dialect, len(s))
				}
			}
			if _, err := proto.Marshal(n); err != nil {
				t.Errorf("%s: %v", dialect, err)
			}
		}
	})
}

func outOfTime(us int64) bool { return us < 0 || us > 1<<53 }

func TestCentavos(t *testing.T) {
	for text, want := range map[string]int64{"100.0": 10000, "100": 10000, "0.01": 1, "1.5": 150, "7.10": 710, "3.": 300, "1.2300": -1, "": -1, ".5": -1, "-1": -1, "1e3": -1, "99999999999999999999": -1} {
		got, ok := centavos(text)
		if ok != (want >= 0) || ok && got != want {
			t.Errorf("%q: %d %v, want %d", text, got, ok, want)
		}
	}
	if got := time.UnixMicro(endOfDay("2024-12-20")).UTC().Format(time.RFC3339); got != "2024-12-21T03:00:00Z" {
		t.Errorf("the day ends at %s", got)
	}
	if endOfDay("soon") != 0 {
		t.Error("no day has an end")
	}
}

// Invariant: the example of the document is understood as it stands.
func TestExampleOfTheDocument(t *testing.T) {
	var doc struct {
		Paths map[string]map[string]struct {
			RequestBody struct {
				Content map[string]struct {
					Examples map[string]struct{ Value jsontext.Value }
				}
			} `json:"requestBody"`
		}
	}
	if err := json.Unmarshal([]byte(openapi.Document()), &doc, json.MatchCaseInsensitiveNames(true)); err != nil {
		t.Fatal(err)
	}
	examples := doc.Paths["/webhooks/{id}"]["post"].RequestBody.Content["application/json"].Examples
	for dialect, e := range examples {
		if n, ok := (&processor{read: readers()[dialect]}).understand(e.Value); !ok || n.GetKind() != payment {
			t.Errorf("%s: %v", dialect, n)
		}
	}
	if len(examples) == 0 {
		t.Error("no example")
	}
}
