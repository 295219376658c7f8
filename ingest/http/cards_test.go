package http_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/prototext"

	"github.com/caudalpay/caudal/ingest/http"
	"github.com/caudalpay/caudal/processors/payment"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

// cards is the house seen as the directory of cards.
type cards struct{ *house }

func (c cards) Card(id payment.CardKey) (http.Card, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	card, ok := c.cards[id]
	return card, ok
}

func (c cards) WaitCard(ctx context.Context, id payment.CardKey, seq uint64) error {
	if card, ok := c.Card(id); !ok || card.Seq < seq {
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

// decideCard decides by the state it finds, as docs/domain.md has it.
func (h *house) decideCard(key payment.CardKey, cmd *paymentsv1.Command) *paymentsv1.Decision {
	d := &paymentsv1.Decision{Kind: cmd.GetKind(), Outcome: paymentsv1.Outcome_OUTCOME_APPLIED, AccountSeq: h.seq, Card: string(key)}
	decline := func(r paymentsv1.Reason) *paymentsv1.Decision {
		d.Outcome, d.Reasons = paymentsv1.Outcome_OUTCOME_DECLINED, []paymentsv1.Reason{r}
		return d
	}
	card, known := h.cards[key]
	issue := cmd.GetIssueCard()
	switch {
	case known && (card.Tenant != cmd.GetTenant() || card.Merchant != cmd.GetMerchant()):
		return decline(paymentsv1.Reason_REASON_OWNER_MISMATCH)
	case issue == nil && !known:
		return decline(paymentsv1.Reason_REASON_PAYMENT_UNKNOWN)
	case issue == nil && card.Status == paymentsv1.CardStatus_CARD_STATUS_CLOSED && cmd.GetSetCardStatus().GetStatus() != card.Status:
		return decline(paymentsv1.Reason_REASON_PAYMENT_STATE)
	case issue == nil:
		card.Status = cmd.GetSetCardStatus().GetStatus()
	case !known:
		card = http.Card{
			Tenant: cmd.GetTenant(), Merchant: cmd.GetMerchant(), Account: payment.AccountID(cmd.GetAccount()), Status: paymentsv1.CardStatus_CARD_STATUS_ACTIVE,
			First6: issue.GetFirst6(), Last4: issue.GetLast4(), Expiry: issue.GetExpiry(),
		}
	case card.Account != payment.AccountID(cmd.GetAccount()):
		return decline(paymentsv1.Reason_REASON_CARD_TAKEN)
	case card.Expiry != issue.GetExpiry():
		d.Outcome, d.Reasons = paymentsv1.Outcome_OUTCOME_CONFLICT, []paymentsv1.Reason{paymentsv1.Reason_REASON_IDEMPOTENCY_CONFLICT}
		return d
	default:
		d.Outcome = paymentsv1.Outcome_OUTCOME_REPEATED
	}
	if d.GetOutcome() == paymentsv1.Outcome_OUTCOME_APPLIED {
		card.Seq = h.seq
		h.cards[key] = card
	}
	d.CardState = &paymentsv1.CardState{Account: string(card.Account), Status: card.Status, First6: card.First6, Last4: card.Last4, Expiry: card.Expiry}
	return d
}

const cardNumber = "4000127391860007"

func cardBody(account payment.AccountID, number, expiry string) string {
	return `{"account_id":"` + string(account) + `","number":"` + number + `","expiry":"` + expiry + `"}`
}

func TestCards(t *testing.T) {
	d := openDoor(t)
	first := d.post("/cards", "card-1", cardBody(d.shop, cardNumber, "2031-07"))
	var card http.CardView
	first.decode(t, &card)
	want := http.CardView{CardID: card.CardID, AccountID: string(d.shop), First6: "400012", Last4: "0007", Expiry: "2031-07", Status: "active"}
	if first.status != 201 || card != want || !payment.IsCardKey(card.CardID) || first.header["Location"] != "/cards/"+card.CardID {
		t.Fatalf("%d %s %v", first.status, first.body, first.header)
	}
	for _, key := range []string{"card-1", "card-2"} { // by the state, whatever the key
		again := d.post("/cards", key, cardBody(d.shop, cardNumber, "2031-07"))
		if again.status != 201 || string(again.body) != string(first.body) || again.header["Idempotency-Replayed"] != "true" {
			t.Errorf("again: %d %s", again.status, again.body)
		}
	}
	if p := d.post("/cards", "card-3", cardBody(d.shop, cardNumber, "2031-08")).problem(t); p.Code != http.ErrorIdempotencyConflict {
		t.Errorf("another expiry: %v", p)
	}
	if p := d.post("/cards", "card-4", cardBody(d.buyer, cardNumber, "2031-07")).problem(t); p.Code != http.ErrorRequestDeclined || !strings.Contains(p.Detail, "card_taken") {
		t.Errorf("another account: %v", p)
	}
	taken := d.post("/cards", "card-1", cardBody(d.rival, cardNumber, "2031-07"), "Authorization", "Bearer "+otherToken)
	if p := taken.problem(t); p.Code != http.ErrorRequestDeclined || !strings.Contains(string(taken.body), "card_taken") || strings.Contains(string(taken.body), "owner") {
		t.Errorf("another merchant: %s", taken.body)
	}
	path := "/cards/" + card.CardID
	for _, step := range []struct{ verb, want string }{{"block", "blocked"}, {"block", "blocked"}, {"unblock", "active"}, {"close", "closed"}} {
		d.post(path+"/"+step.verb, "to-"+step.want, "{}").decode(t, &card)
		var read http.CardView
		d.send("GET", path, "").decode(t, &read)
		if card.Status != step.want || read != card {
			t.Errorf("%s: %v, read %v", step.verb, card, read)
		}
	}
	if p := d.post(path+"/unblock", "late", "").problem(t); p.Code != http.ErrorRequestDeclined {
		t.Errorf("a closed card: %v", p)
	}
	for _, call := range [][]string{{"GET", path}, {"POST", path + "/block"}} {
		if p := d.send(call[0], call[1], "", "Authorization", "Bearer "+otherToken, "Idempotency-Key", "k").problem(t); p.Code != http.ErrorCardUnknown {
			t.Errorf("a stranger's %s: %v", call[0], p)
		}
	}
	if p := d.send("GET", "/cards/crd_x", "").problem(t); p.Code != http.ErrorCardUnknown {
		t.Errorf("%v", p)
	}
}

// Invariant: the number stands in no command, no answer and no log line.
func TestCardNumberIsForgotten(t *testing.T) {
	var log strings.Builder
	var mu sync.Mutex
	d := openDoor(t, func(_ *http.Config, p *http.Ports) {
		p.Log = slog.New(slog.NewJSONHandler(writer(func(b []byte) {
			mu.Lock()
			defer mu.Unlock()
			log.Write(b)
		}), nil))
	})
	answers := ""
	wrong := cardNumber[:15] + "1"
	for i, body := range []string{
		cardBody(d.shop, cardNumber, "2031-07"), cardBody(d.shop, wrong, "2031-07"), cardBody(d.shop, cardNumber, cardNumber),
		cardBody("acc_"+cardNumber, cardNumber, "2031-07"), `{"number":` + cardNumber + `}`, `{"number":"` + cardNumber, `{"` + cardNumber + `":1}`,
	} {
		r := d.post("/cards", "k", body, "Prefer", []string{"respond-async", "wait=1"}[i%2])
		if i < 6 { // who writes a number where a name belongs is told that name: it is a pointer into his own body
			answers += string(r.body)
		}
	}
	for _, cmd := range d.produced() {
		answers += prototext.Format(cmd)
	}
	answers += log.String()
	for _, secret := range []string{cardNumber, wrong, cardNumber[6:12]} {
		if strings.Contains(answers, secret) {
			t.Errorf("%s is in %s", secret, answers)
		}
	}
	if len(d.produced()) != 1 {
		t.Errorf("%d commands", len(d.produced()))
	}
}

type writer func([]byte)

func (w writer) Write(b []byte) (int, error) {
	w(b)
	return len(b), nil
}

func TestCardRefusals(t *testing.T) {
	d := openDoor(t)
	for name, c := range map[string]struct{ body, pointer, code string }{
		"a wrong check digit": {cardBody(d.shop, cardNumber[:15]+"1", "2031-07"), "/number", "malformed"},
		"too short":           {cardBody(d.shop, "400012739186", "2031-07"), "/number", "malformed"},
		"too long":            {cardBody(d.shop, strings.Repeat("0", 20), "2031-07"), "/number", "malformed"},
		"spaces":              {cardBody(d.shop, "4000 1273 9186 0002", "2031-07"), "/number", "malformed"},
		"no month":            {cardBody(d.shop, cardNumber, "2031-13"), "/expiry", "malformed"},
		"as on the card":      {cardBody(d.shop, cardNumber, "07/31"), "/expiry", "malformed"},
		"another century":     {cardBody(d.shop, cardNumber, "1931-07"), "/expiry", "malformed"},
		"a rival's account":   {cardBody(d.rival, cardNumber, "2031-07"), "/account_id", "unknown"},
		"a number as number":  {`{"account_id":"` + string(d.shop) + `","number":4000127391860007,"expiry":"2031-07"}`, "/number", "wrong_type"},
		"nothing":             {`{}`, "/account_id", "required"},
		"more":                {strings.Replace(cardBody(d.shop, cardNumber, "2031-07"), "{", `{"cvv":"1",`, 1), "/cvv", "unknown_field"},
	} {
		p := d.post("/cards", "k", c.body).problem(t)
		if len(p.Violations) == 0 || *p.Violations[0].Pointer != c.pointer || p.Violations[0].Code != c.code {
			t.Errorf("%s: %+v", name, p)
		}
	}
	if len(d.produced()) > 0 {
		t.Errorf("%d commands", len(d.produced()))
	}
}

// Invariant: no card is enrolled that could never pay: the last month is taken until a day after its end, by the door's clock in UTC.
func TestExpiredCardIsNotEnrolled(t *testing.T) {
	var now atomic.Int64
	d := openDoor(t, func(_ *http.Config, p *http.Ports) {
		p.Now = func() time.Time { return time.UnixMicro(now.Load()).In(time.FixedZone("", 3*3600)) }
	})
	for _, c := range []struct {
		at, expiry string
		status     int
	}{
		{"2029-12-31T12:00:00Z", "2029-12", 201},
		{"2030-01-01T23:59:59Z", "2029-12", 201},
		{"2030-01-02T00:00:00Z", "2029-12", 422},
		{"2030-01-02T00:00:00Z", "2030-01", 201},
		{"2030-01-02T00:00:00Z", "2020-01", 422},
	} {
		at, err := time.Parse(time.RFC3339, c.at)
		if err != nil {
			t.Fatal(err)
		}
		now.Store(at.UnixMicro())
		number := map[string]string{"2029-12": cardNumber, "2030-01": "4242424242424242", "2020-01": "5105105105105100"}[c.expiry]
		before := len(d.produced())
		r := d.post("/cards", c.at+c.expiry, cardBody(d.shop, number, c.expiry))
		if r.status != c.status {
			t.Errorf("%s at %s: %d %s", c.expiry, c.at, r.status, r.body)
		}
		if r.status != 422 {
			continue
		}
		if p := r.problem(t); len(p.Violations) != 1 || *p.Violations[0].Pointer != "/expiry" || p.Violations[0].Code != "out_of_range" || len(d.produced()) != before {
			t.Errorf("%s at %s: %s, %d commands", c.expiry, c.at, r.body, len(d.produced())-before)
		}
	}
}

// Invariant: a door asks for a card's status in the way that is remembered, so that a retry does nothing.
func TestCardStatusIsAskedForOnce(t *testing.T) {
	d := openDoor(t)
	var card http.CardView
	d.post("/cards", "card-1", cardBody(d.shop, cardNumber, "2031-07")).decode(t, &card)
	for _, verb := range []string{"block", "unblock", "close"} {
		d.post("/cards/"+card.CardID+"/"+verb, "to-"+verb, "{}")
	}
	asked := 0
	for _, cmd := range d.produced() {
		if s := cmd.GetSetCardStatus(); s != nil {
			asked++
			if !s.GetOnce() {
				t.Errorf("asked for %v in the way that is not remembered", s.GetStatus())
			}
		}
	}
	if asked != 3 {
		t.Errorf("asked %d times", asked)
	}
}

// Invariant: what the policy does not issue is enrolled for nobody, and nobody learns whether somebody else has it. The violation does
// not repeat the number.
func TestCardsOfOthersAreNotEnrolled(t *testing.T) {
	d := openDoor(t)
	if r := d.post("/cards", "taken", cardBody(d.rival, "5105105105105100", "2031-07"), "Authorization", "Bearer "+otherToken); r.status != 201 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	d.bins = []string{"400012739", "42424242"}
	told := map[string]bool{}
	for _, number := range []string{"5105105105105100", "5555555555554444", "4000056655665556", "4111111111111111"} {
		r := d.post("/cards", "k", cardBody(d.shop, number, "2031-07"))
		p := r.problem(t)
		if r.status != 422 || len(p.Violations) != 1 || *p.Violations[0].Pointer != "/number" || p.Violations[0].Code != "not_issued" || strings.Contains(string(r.body), number) {
			t.Errorf("%s: %d %s", number, r.status, r.body)
		}
		told[p.Detail+p.Violations[0].Detail] = true
	}
	if n := len(d.produced()); n != 1 || len(told) != 1 {
		t.Errorf("%d commands, told %v", n, told)
	}
	for i, number := range []string{cardNumber, "4242424242424242"} {
		if r := d.post("/cards", "own-"+string(rune('a'+i)), cardBody(d.shop, number, "2031-07")); r.status != 201 {
			t.Errorf("%s: %d %s", number, r.status, r.body)
		}
	}
}

// Invariant: under one key there is one card, whoever waits: the second would be enrolled by a key that has done its work.
func TestOneKeyEnrolsOneCard(t *testing.T) {
	const second = "5105105105105100"
	for name, prefer := range map[string]string{"who waits": "wait=1", "who does not": "respond-async"} {
		t.Run(name, func(t *testing.T) {
			d := openDoor(t)
			first := d.post("/cards", "k", cardBody(d.shop, cardNumber, "2031-07"), "Prefer", prefer)
			if first.status != 201 && first.status != 202 {
				t.Fatalf("%d %s", first.status, first.body)
			}
			for what, body := range map[string]string{
				"another card": cardBody(d.shop, second, "2031-07"), "another account": cardBody(d.buyer, cardNumber, "2031-07"), "both": cardBody(d.buyer, second, "2031-07"),
			} {
				if r := d.post("/cards", "k", body, "Prefer", prefer); r.status != 422 || r.problem(t).Code != http.ErrorIdempotencyConflict {
					t.Errorf("%s under the key: %d %s", what, r.status, r.body)
				}
			}
			if n := len(d.produced()); n != 1 {
				t.Errorf("%d commands", n)
			}
			again := d.post("/cards", "k", cardBody(d.shop, cardNumber, "2031-07"), "Prefer", prefer)
			if again.status != first.status || string(again.body) != string(first.body) || again.header["Idempotency-Replayed"] != "true" {
				t.Errorf("again: %d %s", again.status, again.body)
			}
			if r := d.post("/cards", "k", cardBody(d.rival, second, "2031-07"), "Authorization", "Bearer "+otherToken); r.status != 201 {
				t.Errorf("another merchant's key of that name: %d %s", r.status, r.body)
			}
			if r := d.post("/cards", "other", cardBody(d.shop, "4242424242424242", "2031-07")); r.status != 201 {
				t.Errorf("another key: %d %s", r.status, r.body)
			}
		})
	}
}
