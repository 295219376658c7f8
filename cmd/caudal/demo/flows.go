package demo

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/caudalpay/caudal/cmd/caudal/clearing"
	"github.com/caudalpay/caudal/cmd/caudal/client"
	"github.com/caudalpay/caudal/cmd/caudal/lines"
)

// flow is one life of a payment. Its play ends with an error where a turn is another than it should be.
type flow struct {
	name   string
	policy string // of its account; empty: acquiring
	play   func(*scene) error
}

func flows() []flow {
	return []flow{
		{name: "an authorisation expires", policy: "shortlived", play: expires}, // takes longest
		{name: "charged in one step", play: collected},
		{name: "authorised, captured whole", play: captured},
		{name: "captured in part, the rest let go", play: capturedInPart},
		{name: "captured in part, and the rail takes no more", play: capturedOnce},
		{name: "given up", play: voided},
		{name: "two captures at once", play: capturedTwice},
		{name: "declined by the issuer", play: declined},
		{name: "the acquirer's answer is lost", play: lost},
		{name: "refunded in parts, and not beyond", play: refunded},
		{name: "two refunds at once", play: refundedTwice},
		{name: "a payout that arrives", play: paid},
		{name: "a payout that the bank refuses", play: payoutRefused},
		{name: "a payout that comes back", play: payoutReturned},
		{name: "a rate quoted, used once", play: quoted},
		{name: "a dispute, contested and won", play: disputeWon},
		{name: "a dispute, given in to", play: disputeAccepted},
		{name: "a dispute opened by the processor's webhook", play: disputeNotified},
		{name: "cards of the house at terminals", play: terminals},
		{name: "cards of the house, cleared by file", play: clearedByFile},
		{name: "a transfer that the payee cannot take", play: compensated},
	}
}

func card(s *scene, amount int64, capture, brand, token string) object {
	return object{
		"account_id": s.account, "amount": amount, "currency": "BRL", "instrument": token, "reference": "demo",
		"method": object{"type": "card", "brand": brand, "capture": capture},
	}
}

// pay orders a card payment and waits for what its rail says.
func (s *scene) pay(amount int64, capture, brand, token, becomes string) (string, error) {
	a, err := s.ask("/payins", card(s, amount, capture, brand, token))
	if err != nil {
		return "", err
	}
	s.step("%s", a.Status)
	_, err = s.becomes(a.PaymentID, becomes)
	return a.PaymentID, err
}

func collected(s *scene) error {
	_, err := s.pay(100_00, "automatic", "visa", "tok_a", "succeeded")
	return err
}

func captured(s *scene) error {
	id, err := s.pay(200_00, "manual", "visa", "tok_a", "requires_capture")
	if err != nil {
		return err
	}
	if _, err := s.ask("/payins/"+id+"/capture", object{}); err != nil {
		return err
	}
	s.step("capture")
	_, err = s.becomes(id, "succeeded")
	return err
}

func capturedInPart(s *scene) error {
	id, err := s.pay(200_00, "manual", "amex", "tok_a", "requires_capture")
	if err != nil {
		return err
	}
	if _, err := s.ask("/payins/"+id+"/capture", object{"amount": 80_00, "final": true}); err != nil {
		return err
	}
	s.step("capture 80.00, final")
	a, err := s.becomes(id, "succeeded")
	if err == nil && (a.Captured == nil || *a.Captured != 80_00) {
		return errors.New("another amount was captured")
	}
	return err
}

// capturedOnce leaves the rest for another capture, at an acquirer that takes one: the rest is let go as well.
func capturedOnce(s *scene) error {
	id, err := s.pay(200_00, "manual", "visa", "tok_a", "requires_capture")
	if err != nil {
		return err
	}
	if _, err := s.ask("/payins/"+id+"/capture", object{"amount": 50_00}); err != nil {
		return err
	}
	s.step("capture 50.00")
	_, err = s.becomes(id, "succeeded")
	return err
}

func voided(s *scene) error {
	id, err := s.pay(50_00, "manual", "visa", "tok_a", "requires_capture")
	if err != nil {
		return err
	}
	if _, err := s.ask("/payins/"+id+"/void", object{}); err != nil {
		return err
	}
	s.step("void")
	_, err = s.becomes(id, "cancelled")
	return err
}

// atOnce sends the same body twice under two keys, and gives how many were granted.
func (s *scene) atOnce(path string, body object) (granted int, err error) {
	var two sync.WaitGroup
	answers, errs := make([]answer, 2), make([]error, 2)
	for i := range 2 {
		two.Go(func() { answers[i], errs[i] = s.post(path, body) })
	}
	two.Wait()
	for _, a := range answers {
		if a.HTTP < 300 {
			granted++
		} else {
			s.step("the other: %v", a.Reasons)
		}
	}
	return granted, errors.Join(errs...)
}

func capturedTwice(s *scene) error {
	id, err := s.pay(60_00, "manual", "visa", "tok_a", "requires_capture")
	if err != nil {
		return err
	}
	granted, err := s.atOnce("/payins/"+id+"/capture", object{"amount": 60_00})
	if err != nil || granted != 1 {
		return fmt.Errorf("%d of two captures were granted (%w)", granted, err)
	}
	a, err := s.becomes(id, "succeeded")
	if err == nil && *a.Captured != 60_00 {
		return errors.New("captured twice")
	}
	return err
}

func declined(s *scene) error {
	_, err := s.pay(30_00, "automatic", "visa", "tok_3", "failed")
	return err
}

// lost is charged at an acquirer whose answer never comes: nobody knows, until it is asked.
func lost(s *scene) error {
	a, err := s.ask("/payins", card(s, 70_00, "automatic", "elo", "tok_a"))
	if err != nil {
		return err
	}
	if _, err := s.until(patience, a.PaymentID, "succeeded"); err != nil {
		return err
	}
	var line struct {
		Events []struct {
			Status string `json:"status"`
		} `json:"events"`
	}
	if err := s.get("/payments/"+a.PaymentID+"/timeline", &line); err != nil {
		return err
	}
	doubted := false
	for _, e := range line.Events {
		if e.Status != "" {
			s.step("%s", e.Status)
		}
		doubted = doubted || e.Status == "unknown"
	}
	if !doubted {
		return errors.New("it was never unknown: the simulator's fault did not fall")
	}
	return nil
}

func refunded(s *scene) error {
	id, err := s.pay(90_00, "automatic", "visa", "tok_a", "succeeded")
	if err != nil {
		return err
	}
	for _, amount := range []int64{25_00, 35_00} {
		a, err := s.ask("/refunds", object{"payment_id": id, "amount": amount, "reason": "demo"})
		if err != nil {
			return err
		}
		s.step("refund of %d.00", amount/100)
		if _, err := s.until(patience, a.PaymentID, "succeeded"); err != nil {
			return err
		}
	}
	if err := s.refused("/refunds", object{"payment_id": id, "amount": 40_00, "reason": "demo"}, "refund_exceeds_payment"); err != nil {
		return err
	}
	_, err = s.becomes(id, "partially_refunded")
	return err
}

func refundedTwice(s *scene) error {
	id, err := s.pay(40_00, "automatic", "visa", "tok_a", "succeeded")
	if err != nil {
		return err
	}
	granted, err := s.atOnce("/refunds", object{"payment_id": id, "amount": 40_00, "reason": "demo"})
	if err != nil || granted != 1 {
		return fmt.Errorf("%d of two refunds were granted (%w)", granted, err)
	}
	_, err = s.becomes(id, "refunded")
	return err
}

func compensated(s *scene) error {
	payee, err := s.openAs(s.name+"-payee", "acquiring", "BRL")
	if err != nil {
		return err
	}
	a, err := s.ask("/transfers", object{
		"account_id": s.account, "to_account_id": payee, "amount": 100_00, "currency": "BRL", "target_currency": "USD", "reference": "demo",
	})
	if err != nil {
		return err
	}
	s.step("%s", a.Status)
	b, err := s.becomes(a.PaymentID, "failed")
	if err == nil {
		s.step("%v, the money is back", b.Reasons)
	}
	return err
}

// expires is authorised under a policy that keeps authorisations for a second; the next minute's tick ends it.
func expires(s *scene) error {
	id, err := s.pay(10_00, "manual", "visa", "tok_a", "requires_capture")
	if err != nil {
		return err
	}
	if _, err := s.until(tick, id, "expired"); err != nil {
		return err
	}
	s.step("expired at the minute's tick")
	return nil
}

// payout sends money to an account whose last digit tells the simulated bank what to do with it.
func (s *scene) payout(amount int64, digit, becomes string) error {
	a, err := s.ask("/payouts", object{
		"account_id": s.account, "amount": amount, "currency": "BRL", "method": object{"type": "bank"}, "reference": "demo",
		"counterparty": object{"name": "Demo Ltda", "country": "BR", "account": "0001-1234" + digit},
	})
	if err != nil {
		return err
	}
	s.step("%s", a.Status)
	_, err = s.becomes(a.PaymentID, becomes)
	return err
}

func paid(s *scene) error           { return s.payout(120_00, "0", "paid") }
func payoutRefused(s *scene) error  { return s.payout(120_00, "5", "failed") }
func payoutReturned(s *scene) error { return s.payout(120_00, "8", "returned") }

// quoted buys dollars at a rate that was promised before; nobody gets it twice.
func quoted(s *scene) error {
	q, err := s.ask("/fx/quotes", object{"account_id": s.account, "amount": 100_00, "currency": "BRL", "target_currency": "USD"})
	if err != nil {
		return err
	}
	s.step("quote at %s", q.FX.Rate)
	body := object{
		"account_id": s.account, "amount": 100_00, "currency": "BRL", "target_currency": "USD", "quote": q.QuoteID,
		"method": object{"type": "book"}, "reference": "demo",
	}
	a, err := s.ask("/payouts", body)
	if err != nil {
		return err
	}
	if _, err := s.becomes(a.PaymentID, "succeeded"); err != nil {
		return err
	}
	return s.refused("/payouts", body, "quote_used")
}

// disputed is a payment of which the card network takes the money back, stage by stage.
func (s *scene) disputed(stages ...string) (string, error) {
	id, err := s.pay(150_00, "automatic", "visa", "tok_a", "succeeded")
	if err != nil {
		return "", err
	}
	var d answer
	for _, stage := range stages {
		d, err = s.ask("/disputes", object{"payment_id": id, "stage": stage, "amount": 150_00, "reason_code": "10.4", "reference": "case-" + s.name})
		if err != nil {
			return "", err
		}
		s.step("%s", d.Status)
	}
	return d.DisputeID, nil
}

func disputeWon(s *scene) error {
	id, err := s.disputed("pre_dispute", "dispute")
	if err != nil {
		return err
	}
	proof := strings.Repeat("ab", 32)
	if _, err := s.ask("/disputes/"+id+"/evidence", object{"files": []object{{"reference": "s3://evidence/1.pdf", "sha256": proof, "kind": "delivery"}}}); err != nil {
		return err
	}
	s.step("evidence")
	var told answer
	if err := s.get("/disputes/"+id, &told); err != nil {
		return err
	}
	if _, err := s.ask("/disputes", object{"payment_id": told.PaymentID, "stage": "won", "amount": 150_00, "reference": "case-" + s.name}); err != nil {
		return err
	}
	if err := s.ends("/disputes/"+id, "won"); err != nil {
		return err
	}
	s.step("the money and the fee are back")
	return nil
}

func disputeAccepted(s *scene) error {
	id, err := s.disputed("dispute")
	if err != nil {
		return err
	}
	if _, err := s.ask("/disputes/"+id+"/accept", object{}); err != nil {
		return err
	}
	s.step("accept")
	return s.ends("/disputes/"+id, "lost")
}

// disputeNotified is contested at the acquirer, whose webhooks tell each turn of it.
func disputeNotified(s *scene) error {
	id, err := s.pay(150_00, "automatic", "elo", "tok_a", "succeeded")
	if err != nil {
		return err
	}
	a, err := s.call(client.Request{Method: http.MethodGet, Path: "/transactions/" + id})
	if err != nil {
		return err
	}
	for _, stage := range []string{"pre_dispute", "dispute", "won"} {
		if err := s.outside.Dispute(s.ctx, a.Connector, a.Reference, stage); err != nil {
			return err
		}
		if err := s.notified(id, stage); err != nil {
			return err
		}
	}
	s.step("the money and the fee are back")
	return nil
}

// notified waits until a dispute of a payment stands as its processor has told.
func (s *scene) notified(paymentID, status string) error {
	var told struct {
		Disputes []struct {
			PaymentID string `json:"payment_id"`
			Status    string `json:"status"`
			Seq       uint64 `json:"account_seq"`
		} `json:"disputes"`
	}
	for by := time.Now().Add(patience); ; {
		if err := s.get("/disputes?account_id="+s.account, &told); err != nil {
			return err
		}
		if d := told.Disputes; len(d) == 1 && d[0].PaymentID == paymentID && d[0].Status == status {
			s.step("%s by webhook", status)
			s.seen = max(s.seen, d[0].Seq)
			return nil
		}
		if time.Now().After(by) {
			return fmt.Errorf("disputes are %+v after %v, not one that is %s", told.Disputes, patience, status)
		}
		select {
		case <-s.ctx.Done():
			return s.ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// terminals lets an acquirer send authorizations, reversals and clearings of cards that pay from accounts of the house, and check
// every answer. Its accounts are others than this flow's.
func terminals(s *scene) error {
	f, err := s.outside.Feed(s.ctx, s.house, 100, 5*time.Second)
	if err != nil {
		return err
	}
	s.step("%d messages by ISO 8583", f.Answered)
	s.step("%d approved, %d not", f.Approved, f.Answered-f.Approved)
	s.step("%d answers wrong, %d given without the core", f.WrongAnswers, f.StandIns)
	if f.WrongAnswers > 0 || f.Answered == 0 {
		return errors.New("an acquirer was answered wrongly, or not at all")
	}
	return nil
}

// clearedByFile lets an acquirer keep its clearings for the card network's file, which is loaded twice.
func clearedByFile(s *scene) error {
	file := filepath.Join(filepath.Dir(s.house.Data), s.name+"-clearings.ndjson")
	f, err := s.outside.Feed(s.ctx, s.house, 100, 3*time.Second, "--accounts", "50", "--clearing-file", file)
	if err != nil {
		return err //nolint:wrapcheck // it says what it was doing
	}
	s.step("%d messages by ISO 8583", f.Answered)
	if f.WrongAnswers > 0 || f.Answered == 0 {
		return errors.New("an acquirer was answered wrongly, or not at all")
	}
	for _, again := range []bool{false, true} {
		r, err := clearing.Load(s.ctx, lines.Options{File: file, URL: "http://" + s.house.HTTP, Token: s.house.Token(), Workers: 8})
		switch {
		case err != nil:
			return fmt.Errorf("loading the file: %w", err)
		case len(r.Refused) > 0 || r.Items == 0 || again && r.Cleared > 0:
			return fmt.Errorf("the file came to %+v", r)
		case again:
			s.step("loaded again: %d known", r.Repeated)
		default:
			s.step("%d items of a file cleared", r.Cleared)
		}
	}
	return nil
}
