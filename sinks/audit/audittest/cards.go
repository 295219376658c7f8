package audittest

import (
	"fmt"
	"math"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/caudalpay/caudal/processors/payment"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

// cardAccount is an account that pays by card, with what an acquirer remembers of it.
type cardAccount struct {
	id, policy string
	shift      int                   // of amounts, in bits: some go to where int64 ends
	requests   []*paymentsv1.Command // authorizations and advices
	clearings  []*paymentsv1.Command
	statuses   []cardStatus // set once
}

// cardStatus is a status that was asked for on a card's key.
type cardStatus struct {
	key string
	cmd *paymentsv1.Command
}

// PlayCardsAtRandom lets cards of a few accounts pay at terminals: acquirers ask, repeat themselves, take back what they asked
// or never asked, tell what others have granted, and collect more, less, other or nothing.
func (h *House) PlayCardsAtRandom(n int) {
	var all []*cardAccount
	for i, policy := range []string{"cards", "cards", "strict", "rail", "cards", "strict"} {
		name := fmt.Sprint("cards-", i)
		a := &cardAccount{id: string(payment.AccountIDFrom(tenant, merchant, name)), policy: policy, shift: i / 4 * 49}
		all = append(all, a)
		h.ask(string(payment.CustomerKeyFrom(tenant, merchant, name)), &paymentsv1.Command{
			Kind: paymentsv1.CommandKind_COMMAND_KIND_OPEN_ACCOUNT, Tenant: tenant, Merchant: merchant, Customer: name, Account: a.id,
			CommandId: "cmd_open_" + name, BodyHash: h.hash(name), Pins: a.pins(),
			Body: &paymentsv1.Command_OpenAccount{OpenAccount: &paymentsv1.OpenAccount{
				ExternalId: name, Kind: paymentsv1.AccountKind_ACCOUNT_KIND_PERSON, Currencies: []string{"BRL", "USD"}[:1+i%2], KycLevel: 2, Policy: policy,
				OverdraftLimitMinor: int64(i) * 1_000,
			}},
		})
	}
	all = append(all, &cardAccount{id: string(payment.AccountIDFrom(tenant, merchant, "cards of nobody")), policy: "cards"})
	h.Drain()
	for range n {
		h.now = h.now.Add(time.Duration(h.rng.IntN(60_000)) * time.Millisecond)
		if h.rng.IntN(60) == 0 {
			h.now = h.now.Add(time.Duration(h.rng.IntN(5)) * 40 * time.Minute)
			h.Tick()
		}
		a := all[h.rng.IntN(len(all))]
		if a.id == all[len(all)-1].id && h.rng.IntN(8) > 0 {
			a = all[0]
		}
		h.cardStep(a, all)
		if h.rng.IntN(3) > 0 {
			h.Drain()
		}
	}
	h.Drain()
}

func (a *cardAccount) pins() *paymentsv1.Pins {
	p := &paymentsv1.Pins{Policy: a.policy + "@1", Rates: "fx@1"}
	if a.policy == "strict" {
		p.Rules, p.Blocklist = "rules@1", "block@1"
	}
	return p
}

// cardStep is one command of an account, or of a card.
func (h *House) cardStep(a *cardAccount, all []*cardAccount) {
	h.serial++
	cmd := &paymentsv1.Command{Tenant: tenant, Merchant: merchant, Account: a.id, BodyHash: h.hash("cards", h.serial), Pins: a.pins()}
	if h.rng.IntN(60) == 0 {
		cmd.Merchant = "somebody else"
	}
	switch roll := h.rng.IntN(20); {
	case roll < 2:
		h.card(cmd, all)
		return
	case roll < 3:
		h.standInLater(a, cmd)
		return
	case roll < 5:
		cmd.Kind, cmd.CommandId = paymentsv1.CommandKind_COMMAND_KIND_PAY_IN, under("pi_", a.id, fmt.Sprint("fund-", h.serial))
		cmd.PaymentId = cmd.GetCommandId()
		cmd.Body = &paymentsv1.Command_Instruction{Instruction: &paymentsv1.Instruction{
			AmountMinor: (1 + h.rng.Int64N(15_000)) << a.shift, Currency: []string{"BRL", "USD"}[h.rng.IntN(2)], Method: "book",
		}}
		if a.policy == "strict" && a.shift == 0 {
			cmd.GetInstruction().AmountMinor *= 20
		}
	case roll < 10 || len(a.requests) == 0:
		cmd = h.authorization(a, cmd)
	case roll < 13:
		h.advice(a, cmd)
	case roll < 16:
		h.reversal(a, cmd)
	default:
		cmd = h.clearing(a, cmd)
	}
	h.ask(a.id, cmd)
}

// recent is a request that is not long ago, or one that was never made.
func (a *cardAccount) recent(h *House) *paymentsv1.Command {
	if len(a.requests) == 0 {
		return nil
	}
	return a.requests[max(0, len(a.requests)-1-h.rng.IntN(8))]
}

func (h *House) authorization(a *cardAccount, cmd *paymentsv1.Command) *paymentsv1.Command {
	if of := a.recent(h); of != nil && h.rng.IntN(4) == 0 { // again, or nearly, or after its reversal or its advice
		again := proto.CloneOf(of)
		again.Kind, again.AcceptedAtUs = paymentsv1.CommandKind_COMMAND_KIND_AUTHORIZATION, 0
		again.GetCardTransaction().StandIn, again.GetCardTransaction().Refused, again.GetCardTransaction().AskedAtUs = false, false, 0
		if again.GetPins() == nil {
			again.Pins = a.pins()
		}
		if h.rng.IntN(5) == 0 {
			again.BodyHash = h.hash("another request")
		}
		a.requests = append(a.requests, again)
		return again
	}
	cmd.Kind = paymentsv1.CommandKind_COMMAND_KIND_AUTHORIZATION
	h.transaction(a, cmd)
	if h.rng.IntN(30) == 0 {
		cmd.Pins = &paymentsv1.Pins{Policy: []string{"", "rail@1", "full@1"}[h.rng.IntN(3)]}
	}
	return cmd
}

// transaction fills in a request that nobody has made.
func (h *House) transaction(a *cardAccount, cmd *paymentsv1.Command) {
	cmd.CommandId = under("au_", a.id, fmt.Sprint("authorization-", h.serial))
	cmd.PaymentId = cmd.GetCommandId()
	t := &paymentsv1.CardTransaction{
		AmountMinor: h.rng.Int64N(6_000) << a.shift, Currency: "BRL", Financial: h.rng.IntN(4) == 0, Card: h.cardKey(), Mcc: "5411", Acquirer: "000123",
		CardAcceptor: "SHOP", Rrn: fmt.Sprint(h.serial),
	}
	switch h.rng.IntN(12) {
	case 0:
		t.AmountMinor = 0
	case 1, 2:
		t.Currency = "USD"
	case 3, 4:
		t.AmountMinor = min(t.GetAmountMinor(), math.MaxInt64/20) * 20
	}
	if h.rng.IntN(3) == 0 {
		t.Counterparty = &paymentsv1.Counterparty{Country: []string{"BR", "BR", "BR", "XX"}[h.rng.IntN(4)], Digest: h.hash("party", h.rng.IntN(50))}
	}
	cmd.Body = &paymentsv1.Command_CardTransaction{CardTransaction: t}
	a.requests = append(a.requests, cmd)
}

// advice tells what somebody else, or the door, has said to a request that was made or not.
func (h *House) advice(a *cardAccount, cmd *paymentsv1.Command) {
	cmd.Kind = paymentsv1.CommandKind_COMMAND_KIND_AUTHORIZATION_ADVICE
	if of := a.recent(h); of != nil && h.rng.IntN(3) > 0 {
		cmd.CommandId, cmd.PaymentId, cmd.BodyHash = of.GetCommandId(), of.GetPaymentId(), of.GetBodyHash()
		cmd.Body = &paymentsv1.Command_CardTransaction{CardTransaction: proto.CloneOf(of.GetCardTransaction())}
	} else {
		h.transaction(a, cmd)
	}
	t := cmd.GetCardTransaction()
	t.StandIn, t.Refused, t.AskedAtUs = h.rng.IntN(2) == 0, h.rng.IntN(5) == 0, 0
	if t.GetStandIn() {
		t.AskedAtUs = h.askedAt(a.recent(h))
	}
	h.unpin(cmd)
}

// askedAt is what the door says of when it was asked: mostly when it was.
func (h *House) askedAt(of *paymentsv1.Command) int64 {
	switch at := of.GetAcceptedAtUs(); {
	case at == 0 || h.rng.IntN(4) == 0:
		return 0
	case h.rng.IntN(6) == 0: // that asking never came to the log
		return at + h.rng.Int64N(3)*500_000
	default:
		return at
	}
}

// unpin lets a fact come without a policy, or with one that is not the account's.
func (h *House) unpin(cmd *paymentsv1.Command) {
	switch h.rng.IntN(8) {
	case 0:
		cmd.Pins = nil
	case 1:
		cmd.Pins = &paymentsv1.Pins{Policy: []string{"strict@1", "full@1", "rail@1"}[h.rng.IntN(3)]}
	}
}

// reversal takes back what was asked, or what comes later.
func (h *House) reversal(a *cardAccount, cmd *paymentsv1.Command) {
	of := a.recent(h)
	if h.rng.IntN(6) == 0 {
		of = proto.CloneOf(cmd)
		h.transaction(a, of) // an authorization of it may follow
	}
	cmd.Kind, cmd.CommandId, cmd.PaymentId = paymentsv1.CommandKind_COMMAND_KIND_REVERSAL, fmt.Sprint("cmd_reversal-", h.serial), of.GetPaymentId()
	r := &paymentsv1.Reversal{Card: h.cardKey(), ReasonCode: "17", StandIn: h.rng.IntN(4) == 0, Rrn: "1", Acquirer: "000123"}
	if h.rng.IntN(2) == 0 {
		r.LeftMinor = h.rng.Int64N(min(of.GetCardTransaction().GetAmountMinor(), math.MaxInt64-2) + 2)
	}
	switch h.rng.IntN(8) {
	case 0, 1: // made before currencies were told
	case 2:
		r.Currency = []string{"EUR", "USD", "BRL"}[h.rng.IntN(3)]
	default:
		r.Currency = of.GetCardTransaction().GetCurrency()
	}
	if r.GetStandIn() && h.rng.IntN(8) > 0 {
		cmd.BodyHash, r.AskedAtUs = of.GetBodyHash(), h.askedAt(of)
	}
	cmd.Body = &paymentsv1.Command_Reversal{Reversal: r}
	h.unpin(cmd)
}

// standInLater asks for what is likely too much, takes a part of it back, once or twice, and then grants it at the door.
func (h *House) standInLater(a *cardAccount, cmd *paymentsv1.Command) {
	asked := proto.CloneOf(cmd)
	asked.Kind = paymentsv1.CommandKind_COMMAND_KIND_AUTHORIZATION
	h.transaction(a, asked)
	t := asked.GetCardTransaction()
	t.AmountMinor = min(t.GetAmountMinor(), math.MaxInt64/2_000) * 2_000
	h.ask(a.id, asked)
	for i := range 1 + h.rng.IntN(3) {
		back := proto.CloneOf(cmd)
		h.reversal(a, back)
		back.CommandId = fmt.Sprint(back.GetCommandId(), "-", i)
		if h.rng.IntN(8) > 0 {
			r := back.GetReversal()
			back.PaymentId, r.Currency = asked.GetPaymentId(), t.GetCurrency()
			r.LeftMinor, r.StandIn = 1+h.rng.Int64N(min(max(1, t.GetAmountMinor()), math.MaxInt64-2)+1), h.rng.IntN(10) == 0
		}
		h.ask(a.id, back)
	}
	advice := proto.CloneOf(asked)
	advice.Kind, advice.AcceptedAtUs = paymentsv1.CommandKind_COMMAND_KIND_AUTHORIZATION_ADVICE, 0
	t = advice.GetCardTransaction()
	t.StandIn, t.AskedAtUs = true, h.askedAt(asked)
	switch h.rng.IntN(8) {
	case 0:
		t.Currency = []string{"EUR", "USD", "BRL"}[h.rng.IntN(3)]
	case 1:
		t.AmountMinor = h.rng.Int64N(max(1, t.GetAmountMinor()))
	case 2:
		t.Financial = !t.GetFinancial()
	}
	h.unpin(advice)
	h.ask(a.id, advice)
}

// clearing collects, or gives back.
func (h *House) clearing(a *cardAccount, cmd *paymentsv1.Command) *paymentsv1.Command {
	if len(a.clearings) > 0 && h.rng.IntN(6) == 0 {
		again := proto.CloneOf(a.clearings[max(0, len(a.clearings)-1-h.rng.IntN(4))])
		again.AcceptedAtUs = 0
		if h.rng.IntN(3) == 0 {
			again.BodyHash = h.hash("another clearing")
		}
		return again
	}
	of := a.recent(h)
	t := of.GetCardTransaction()
	cmd.Kind, cmd.CommandId, cmd.PaymentId = paymentsv1.CommandKind_COMMAND_KIND_CLEARING, under("cl_", a.id, fmt.Sprint("clearing-", h.serial)), of.GetPaymentId()
	x := &paymentsv1.Clearing{
		AmountMinor: max(1, t.GetAmountMinor()), Currency: t.GetCurrency(), Final: h.rng.IntN(4) == 0, Credit: h.rng.IntN(6) == 0, Card: h.cardKey(),
		Rrn: "1", Acquirer: "000123", Mcc: "5411", CardAcceptor: "SHOP",
	}
	switch h.rng.IntN(10) {
	case 0:
		cmd.PaymentId = ""
	case 1:
		x.Currency = []string{"EUR", "USD"}[h.rng.IntN(2)]
	case 2:
		cmd.PaymentId = under("au_", a.id, "never made")
	case 3:
		x.AmountMinor += min(h.rng.Int64N(500), math.MaxInt64-x.GetAmountMinor())
	case 4, 5, 6:
		x.AmountMinor = 1 + h.rng.Int64N(x.GetAmountMinor())
	}
	cmd.Body = &paymentsv1.Command_Clearing{Clearing: x}
	h.unpin(cmd)
	a.clearings = append(a.clearings, cmd)
	return cmd
}

// cardKey is the key of one of a few cards.
func (h *House) cardKey() string {
	return "crd_" + string(payment.AccountIDFrom(tenant, merchant, fmt.Sprint("card-", h.rng.IntN(6))))[4:]
}

// card asks something of a card's key.
func (h *House) card(cmd *paymentsv1.Command, all []*cardAccount) {
	cmd.CommandId, cmd.Account = fmt.Sprint("cmd_card-", h.serial), all[h.rng.IntN(2)].id
	if h.rng.IntN(2) == 0 {
		cmd.Kind = paymentsv1.CommandKind_COMMAND_KIND_ISSUE_CARD
		cmd.Body = &paymentsv1.Command_IssueCard{IssueCard: &paymentsv1.IssueCard{First6: "411111", Last4: "1111", Expiry: []int32{2911, 2912, 2912, 2912}[h.rng.IntN(4)]}}
	} else {
		if h.setAgain(all[0]) {
			return
		}
		cmd.Kind = paymentsv1.CommandKind_COMMAND_KIND_SET_CARD_STATUS
		status := paymentsv1.CardStatus(1 + h.rng.IntN(2)) //nolint:gosec // small
		if h.rng.IntN(10) == 0 {
			status = paymentsv1.CardStatus_CARD_STATUS_CLOSED
		}
		cmd.Body = &paymentsv1.Command_SetCardStatus{SetCardStatus: &paymentsv1.SetCardStatus{Status: status, Once: h.rng.IntN(4) > 0}}
		key := h.cardKey()
		all[0].statuses = append(all[0].statuses, cardStatus{key, cmd})
		h.ask(key, cmd)
		return
	}
	h.ask(h.cardKey(), cmd)
}

// setAgain repeats what was asked of a card, or nearly, now and then.
func (h *House) setAgain(a *cardAccount) bool {
	if len(a.statuses) == 0 || h.rng.IntN(2) > 0 {
		return false
	}
	of := a.statuses[max(0, len(a.statuses)-1-h.rng.IntN(8))]
	again := proto.CloneOf(of.cmd)
	again.AcceptedAtUs = 0
	switch h.rng.IntN(6) {
	case 0, 1:
		again.BodyHash = h.hash("another status", h.serial)
		again.GetSetCardStatus().Status = paymentsv1.CardStatus(1 + h.rng.IntN(3)) //nolint:gosec // small
	case 2:
		again.GetSetCardStatus().Once = !again.GetSetCardStatus().GetOnce()
	case 3:
		again.Merchant = "somebody else"
	}
	h.ask(of.key, again)
	return true
}
