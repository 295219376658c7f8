package http

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/caudalpay/caudal/ingest/door"
	"github.com/caudalpay/caudal/processors/payment"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

// CardView is a card that an account pays with. The number is told once, by whoever enrols it, and never again.
type CardView struct {
	CardID    string `json:"card_id"`
	AccountID string `json:"account_id"`
	First6    string `json:"first6"`
	Last4     string `json:"last4"`
	Expiry    string `json:"expiry"` // YYYY-MM
	Status    string `json:"status"` // active blocked closed, or pending
}

// cardRequest is the body of POST /cards.
type cardRequest struct {
	account payment.AccountID
	number  string
	expiry  int32 // YYMM
}

// card reads the body of POST /cards. What it refuses it does not repeat.
func (d *decoder) card(r *cardRequest) error {
	missing := map[string]bool{"account_id": true, "number": true, "expiry": true}
	object := false
	err := d.object(func(name []byte) error {
		object = true
		delete(missing, string(name))
		switch string(name) {
		case "account_id":
			return d.accountID(&r.account)
		case "number":
			return d.cardNumber(&r.number)
		case "expiry":
			return d.month(&r.expiry)
		default:
			return d.unknown()
		}
	})
	if err != nil || !object && len(d.violations) > 0 {
		return err
	}
	for _, name := range [...]string{"account_id", "number", "expiry"} {
		if missing[name] {
			d.addAt("/"+name, codeRequired, "it is missing")
		}
	}
	return nil
}

// The digits of a card number.
const (
	cardDigitsMin = 13
	cardDigitsMax = 19
)

func (d *decoder) cardNumber(into *string) error {
	text, ok, err := d.text()
	if err != nil || !ok {
		return err
	}
	if len(text) < cardDigitsMin || len(text) > cardDigitsMax || !luhn(text) {
		d.add(codeMalformed, "a card number is expected: 13 to 19 digits, the last of which checks the others")
		return nil
	}
	*into = string(text)
	return nil
}

// luhn holds for digits of which the last checks the others.
func luhn(digits []byte) bool {
	sum := 0
	for i := range digits {
		n := int(digits[len(digits)-1-i]) - '0'
		if n < 0 || n > 9 {
			return false
		}
		if i%2 == 1 {
			if n *= 2; n > 9 {
				n -= 9
			}
		}
		sum += n
	}
	return sum%10 == 0
}

// month reads YYYY-MM of this century.
func (d *decoder) month(into *int32) error {
	text, ok, err := d.text()
	if err != nil || !ok {
		return err
	}
	at, perr := time.Parse("2006-01", string(text))
	if perr != nil || at.Year()/100 != 20 {
		d.add(codeMalformed, "a month is expected, as 2029-12")
		return nil
	}
	*into = yearMonth(at)
	return nil
}

// yearMonth is a month as a card has it: YYMM.
func yearMonth(at time.Time) int32 {
	return int32(at.Year()%100*100) + int32(at.Month()) //nolint:gosec // below 9912
}

// expirySlack is for how long a month that has passed is taken: somewhere it is still that month, and a request may come again.
const expirySlack = 24 * time.Hour

func (s *Server) postCards(c *call) answer {
	var r cardRequest
	if a := s.read(c.ctx.Request.Body(), func(d *decoder) error { return d.card(&r) }); a != nil {
		return *a
	}
	key, a := s.idempotencyKey(c)
	if a != nil {
		return *a
	}
	p, problem, err := s.issue(c.caller, &r, key)
	if problem != nil || err != nil {
		return s.refused(problem, err)
	}
	return s.submitCard(c, &p, fasthttp.StatusCreated)
}

func (s *Server) postBlockCard(c *call) answer {
	return s.postCardStatus(c, paymentsv1.CardStatus_CARD_STATUS_BLOCKED)
}

func (s *Server) postUnblockCard(c *call) answer {
	return s.postCardStatus(c, paymentsv1.CardStatus_CARD_STATUS_ACTIVE)
}

func (s *Server) postCloseCard(c *call) answer {
	return s.postCardStatus(c, paymentsv1.CardStatus_CARD_STATUS_CLOSED)
}

func (s *Server) postCardStatus(c *call, to paymentsv1.CardStatus) answer {
	card, key := s.ownedCard(c)
	if key == "" {
		return refusal(s.problem(ErrorCardUnknown, noCard))
	}
	if body := c.ctx.Request.Body(); len(body) > 0 {
		if a := s.read(body, (*decoder).nothing); a != nil {
			return *a
		}
	}
	idempotency, a := s.idempotencyKey(c)
	if a != nil {
		return *a
	}
	p, err := s.setCardStatus(c.caller, key, card.account, to, idempotency)
	if err != nil {
		return s.refused(nil, err)
	}
	p.card = card.view
	return s.submitCard(c, &p, fasthttp.StatusOK)
}

func (s *Server) getCard(c *call) answer {
	card, key := s.ownedCard(c)
	if key == "" {
		return refusal(s.problem(ErrorCardUnknown, noCard))
	}
	return answer{status: fasthttp.StatusOK, body: encode(card.view), accountSeq: card.seq}
}

const noCard = "No such card of yours."

// foundCard is what the directory tells of a card.
type foundCard struct {
	account payment.AccountID
	seq     uint64
	view    *CardView
}

// ownedCard finds a card of the caller; without a key there is none. Somebody else's card looks like none.
func (s *Server) ownedCard(c *call) (foundCard, payment.CardKey) {
	key, err := payment.ParseCardKey(c.param)
	if err != nil {
		return foundCard{}, ""
	}
	card, ok := s.ports.Cards.Card(key)
	if !ok || card.Tenant != c.caller.Tenant || card.Merchant != c.caller.Merchant {
		return foundCard{}, ""
	}
	return foundCard{account: card.Account, seq: card.Seq, view: &CardView{
		CardID: string(key), AccountID: string(card.Account), First6: card.First6, Last4: card.Last4, Expiry: monthText(card.Expiry),
		Status: cardStatusWord(card.Status),
	}}, key
}

func monthText(expiry int32) string { return fmt.Sprintf("20%02d-%02d", expiry/100, expiry%100) }

func cardStatusWord(status paymentsv1.CardStatus) string {
	switch status {
	case paymentsv1.CardStatus_CARD_STATUS_ACTIVE:
		return "active"
	case paymentsv1.CardStatus_CARD_STATUS_BLOCKED:
		return "blocked"
	case paymentsv1.CardStatus_CARD_STATUS_CLOSED:
		return "closed"
	default:
		return "unknown"
	}
}

// issue turns POST /cards into a command to the card's key. The number goes no further than its key and ten of its digits.
func (s *Server) issue(caller *Caller, r *cardRequest, idempotency string) (prepared, *Problem, error) {
	entry, ok := s.owned(caller, r.account)
	if !ok {
		return prepared{}, s.problems.make(ErrorAccountUnknown, "", violation("/account_id", codeUnknown, "no such account of yours")), nil
	}
	if r.expiry < yearMonth(s.ports.Now().UTC().Add(-expirySlack)) {
		return prepared{}, s.problems.make(ErrorInvalidRequest, "", violation("/expiry", codeOutOfRange, "the month has passed: the card would never pay")), nil
	}
	if !s.enrols(entry.Policy, r.number) {
		return prepared{}, s.problems.make(ErrorInvalidRequest, "", violation("/number", codeNotIssued, "the account's policy issues no numbers that begin so")), nil
	}
	key := s.ports.Sealer.CardKey(r.number)
	first6, last4 := r.number[:6], r.number[len(r.number)-4:]
	p, err := s.onCard(caller, payment.KindIssueCard, key, r.account, idempotency)
	if err != nil {
		return prepared{}, nil, err
	}
	cmd := p.item.Command
	cmd.Customer = entry.Customer
	cmd.BodyHash = s.ports.Sealer.AppendBodyHash(nil, door.Canonical(nil).Text(p.kind.String()).Text(string(r.account)).Text(string(key)).Number(int64(r.expiry)))
	cmd.Body = &paymentsv1.Command_IssueCard{IssueCard: &paymentsv1.IssueCard{First6: first6, Last4: last4, Expiry: r.expiry}}
	// The log knows a card by its number. The door remembers the key alone, for as long as it can: under one key there is one card.
	p.identity, p.once = onceUnder(caller, "card ", idempotency), cmd.GetBodyHash()
	p.card = &CardView{CardID: string(key), AccountID: string(r.account), First6: first6, Last4: last4, Expiry: monthText(r.expiry)}
	return p, nil, nil
}

// enrols tells whether a policy lets a number be a card of its accounts. One that names no leading digits leaves it to the log, which
// knows a number under one owner.
func (s *Server) enrols(policy, number string) bool {
	p, _ := s.ports.Policies.Policy(policy) // one that is not there is found out by whoever pins it
	bins := p.GetIssuing().GetBins()
	return len(bins) == 0 || slices.ContainsFunc(bins, func(bin string) bool { return strings.HasPrefix(number, bin) })
}

func (s *Server) setCardStatus(caller *Caller, key payment.CardKey, account payment.AccountID, to paymentsv1.CardStatus, idempotency string) (prepared, error) {
	p, err := s.onCard(caller, payment.KindSetCardStatus, key, account, idempotency)
	if err != nil {
		return prepared{}, err
	}
	cmd := p.item.Command
	cmd.BodyHash = s.ports.Sealer.AppendBodyHash(nil, door.Canonical(nil).Text(p.kind.String()).Text(string(key)).Number(int64(to)))
	cmd.Body = &paymentsv1.Command_SetCardStatus{SetCardStatus: &paymentsv1.SetCardStatus{Status: to, Once: true}}
	return p, nil
}

// onCard is what both commands to a card's key have.
func (s *Server) onCard(caller *Caller, kind payment.Kind, key payment.CardKey, account payment.AccountID, idempotency string) (prepared, error) {
	cmd := s.command(caller, kind, account)
	cmd.CommandId = payment.CommandIDFrom(string(key), caller.Merchant, idempotency)
	if entry, ok := s.owned(caller, account); ok {
		pins, err := s.ports.Pins.Pin(entry.Policy)
		if err != nil {
			return prepared{}, fmt.Errorf("pinning reference data: %w", err)
		}
		cmd.Customer, cmd.Pins = entry.Customer, pins
	}
	return prepared{item: Item{Key: string(key), Command: cmd}, kind: kind, account: account, identity: identityOf(cmd.GetCommandId())}, nil
}

// submitCard answers once the directory has the card as it is decided: then this door at least goes by it.
func (s *Server) submitCard(c *call, p *prepared, status int) answer {
	return s.submit(c, p, func(d *paymentsv1.Decision) answer {
		if d.GetOutcome() != paymentsv1.Outcome_OUTCOME_REPEATED { // a repeat changes nothing, so the directory hears nothing of it
			ctx, cancel := context.WithTimeout(s.requests, s.cfg.WaitDefault)
			defer cancel()
			if err := s.ports.Cards.WaitCard(ctx, payment.CardKey(p.item.Key), d.GetAccountSeq()); err != nil {
				return p.pending()
			}
		}
		view := *p.card
		view.Status, view.Expiry = cardStatusWord(d.GetCardState().GetStatus()), monthText(d.GetCardState().GetExpiry())
		return answer{status: status, location: "/cards/" + view.CardID, body: encode(view)}
	})
}
