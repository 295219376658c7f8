package chaos

import (
	"cmp"
	"context"
	"crypto/sha256"
	"math/rand/v2"
	"strconv"

	"github.com/caudalpay/caudal/processors/accounts"
	"github.com/caudalpay/caudal/processors/payment"
)

// life is what every third account does: it takes cards, pays out by bank, pays with a card of the house, asks for quotes and is
// disputed. Nobody stands behind rails and acquirers here: the ids of orders are foreseen, and a word about one that was never
// given is refused like any other lie.
type life struct {
	charged, disputes pool[payment.ID]
	orders            pool[order]
	last              *order                // whose rail has said nothing yet
	requests          pool[payment.Command] // of acquirers
}

// order is what a rail may have been asked for.
type order struct {
	id      string
	payment payment.ID
	minor   int64
}

// pool keeps some of what was sent, to come back to.
type pool[T any] struct {
	most int // that are kept; 0 means recentMax
	kept []T
}

func (p *pool[T]) keep(r *rand.Rand, v T) {
	if len(p.kept) < cmp.Or(p.most, recentMax) {
		p.kept = append(p.kept, v)
	} else {
		p.kept[r.IntN(len(p.kept))] = v
	}
}

// take gives one away, of those that are there.
func (p *pool[T]) take(r *rand.Rand) T {
	i, last := r.IntN(len(p.kept)), len(p.kept)-1
	v := p.kept[i]
	p.kept[i] = p.kept[last]
	p.kept = p.kept[:last]
	return v
}

func (p *pool[T]) any(r *rand.Rand) (v T, ok bool) {
	if len(p.kept) == 0 {
		return v, false
	}
	return p.kept[r.IntN(len(p.kept))], true
}

// recentMax keeps an answer, a capture or a clearing near to what it is about: authorizations live for a week.
const recentMax = 64

// cardOf is the card of the house that an account pays with.
func cardOf(account payment.AccountID) payment.CardKey { return payment.CardKeyFrom([]byte(account)) }

// issue gives an account its card.
func (l *load) issue(ctx context.Context, account payment.AccountID) error {
	key := string(cardOf(account))
	cmd := l.command(payment.KindIssueCard, account)
	cmd.CommandID = payment.CommandIDFrom(key, loadMerchant, "issue")
	cmd.IssueCard = &payment.IssueCard{First6: "445566", Last4: "1234", Expiry: 3012}
	return l.sendKeyed(ctx, key, &cmd)
}

// live sends what comes next in the life of an account. What needs something that was never sent falls back to a pay-in.
func (l *load) live(ctx context.Context, account payment.AccountID, key string) error {
	cmd := l.command(payment.KindPayIn, account)
	cmd.Pins = pins(acquiring)
	cmd.PaymentID = payment.IDFrom(payment.KindPayIn, account, loadMerchant, key)
	cmd.CommandID = string(cmd.PaymentID)
	l.life.last = nil
	switch roll := l.random.IntN(100); {
	case roll < 24:
		l.answer(&cmd)
	case roll < 36:
		l.operate(&cmd, key)
	case roll < 44:
		l.dispute(&cmd, key)
	case roll < 70:
		l.spend(&cmd, key)
	case roll < 76:
		return l.atQuote(ctx, cmd, key)
	case roll < 82:
		l.payOut(&cmd, key)
	case roll < 90:
		cmd.Instruction = &payment.Instruction{AmountMinor: 100_000 + l.random.Int64N(500_000), Currency: "BRL", Method: "book"}
	default:
	}
	if cmd.Kind == payment.KindPayIn && cmd.Instruction == nil {
		l.charge(&cmd)
	}
	err := l.sendKeyed(ctx, string(cmd.Account), &cmd)
	if o := l.life.last; err == nil && o != nil && l.random.IntN(3) > 0 { // most rails answer at once
		answer := l.said(*o, payment.RailConfirmed)
		err = l.sendKeyed(ctx, string(answer.Account), &answer)
	}
	return err
}

// atQuote asks for a rate, and pays at it once, twice, which is once too often, or not at all.
func (l *load) atQuote(ctx context.Context, cmd payment.Command, key string) error {
	quote := payment.IDFrom(payment.KindFXQuote, cmd.Account, loadMerchant, key)
	asked := cmd
	asked.Kind, asked.PaymentID, asked.CommandID = payment.KindFXQuote, quote, string(quote)
	asked.FXQuote = &payment.FXQuote{AmountMinor: sentMinor, Currency: "BRL", TargetCurrency: "USD"}
	err := l.sendKeyed(ctx, string(cmd.Account), &asked)
	for i, n := 0, l.random.IntN(3); i < n && err == nil; i++ {
		paid := cmd
		l.payOut(&paid, key+"-"+strconv.Itoa(i))
		paid.Instruction.TargetCurrency, paid.Instruction.Quote = "USD", quote
		err = l.sendKeyed(ctx, string(cmd.Account), &paid)
	}
	return err
}

// sentMinor is the amount of every payout, and so of every quote.
const sentMinor = 5_000

// charge takes a card.
func (l *load) charge(cmd *payment.Command) {
	capture, step := payment.CaptureAutomatic, "collect"
	if l.random.IntN(2) == 0 {
		capture, step = payment.CaptureManual, "authorize"
	}
	cmd.Instruction = &payment.Instruction{
		AmountMinor: 100 + l.random.Int64N(20_000), Currency: "BRL", Method: "card", Instrument: "tok_1",
		Card: payment.Card{Capture: capture, Brand: "visa", Installments: 1},
	}
	l.life.charged.keep(l.random, cmd.PaymentID)
	l.ordered(cmd.PaymentID, step, cmd.PaymentID, cmd.Instruction.AmountMinor)
}

// payOut sends money by bank, also into another currency at the day's rate.
func (l *load) payOut(cmd *payment.Command, key string) {
	cmd.Kind, cmd.PaymentID = payment.KindPayOut, payment.IDFrom(payment.KindPayOut, cmd.Account, loadMerchant, key)
	cmd.CommandID = string(cmd.PaymentID)
	cmd.Instruction = &payment.Instruction{AmountMinor: sentMinor, Currency: "BRL", Method: "bank", Instrument: "bank_1"}
	if l.random.IntN(3) == 0 {
		cmd.Instruction.TargetCurrency = "USD"
	}
	l.ordered(cmd.PaymentID, "send", cmd.PaymentID, 0)
}

func (l *load) ordered(waits payment.ID, step string, paid payment.ID, minor int64) {
	o := order{accounts.OrderID(waits, step), paid, minor}
	l.life.orders.keep(l.random, o)
	l.life.last = &o
}

// answer is a rail's word of an order: mostly the truth, which may come again, be doubted, or be another later.
func (l *load) answer(cmd *payment.Command) {
	o, ok := l.life.orders.any(l.random)
	if !ok {
		return
	}
	results := []payment.RailResult{
		payment.RailConfirmed, payment.RailConfirmed, payment.RailConfirmed, payment.RailConfirmed, payment.RailRefused, payment.RailUnknown,
		payment.RailSent, payment.RailReturned,
	}
	*cmd = l.said(o, results[l.random.IntN(len(results))])
	if l.random.IntN(20) == 0 {
		cmd.RailAnswer.AmountMinor++
	}
}

// said is a rail's word of an order.
func (l *load) said(o order, result payment.RailResult) payment.Command {
	cmd := l.command(payment.KindRailAnswer, o.payment.Account())
	cmd.PaymentID, cmd.CommandID = o.payment, payment.CommandIDFrom(string(cmd.Account), loadMerchant, o.id)
	cmd.RailAnswer = &payment.RailAnswer{
		OrderID: o.id, Result: result, Code: "00", Connector: "sim", Reference: o.id, AmountMinor: o.minor, ReportedAtUS: cmd.AcceptedAtUS,
	}
	return cmd
}

// operate captures, gives up, raises or refunds what was charged.
func (l *load) operate(cmd *payment.Command, key string) {
	of, ok := l.life.charged.any(l.random)
	if !ok {
		return
	}
	steps := []struct {
		kind payment.Kind
		step string
	}{
		{payment.KindCapture, "capture"},
		{payment.KindCapture, "capture"},
		{payment.KindVoid, "void"},
		{payment.KindIncrement, "increment"},
		{payment.KindRefund, "return"},
		{payment.KindRefund, "return"},
	}
	s := steps[l.random.IntN(len(steps))]
	cmd.Kind, cmd.Account, cmd.PaymentID = s.kind, of.Account(), of
	cmd.CommandID = string(payment.IDFrom(s.kind, cmd.Account, loadMerchant, key))
	part := l.random.Int64N(3) * 1_000
	switch s.kind {
	case payment.KindCapture:
		cmd.Capture = &payment.CaptureInstruction{AmountMinor: part, Final: l.random.IntN(4) == 0}
	case payment.KindVoid:
		cmd.Void = &payment.VoidInstruction{}
	case payment.KindIncrement:
		cmd.Increment = &payment.IncrementInstruction{AmountMinor: part + 1}
	default:
		cmd.Refund = &payment.RefundInstruction{AmountMinor: part}
	}
	l.ordered(payment.ID(cmd.CommandID), s.step, of, 0)
}

// dispute tells of one by stage, in any order, or lets the merchant speak.
func (l *load) dispute(cmd *payment.Command, key string) {
	if id, ok := l.life.disputes.any(l.random); ok && l.random.IntN(3) == 0 {
		cmd.Kind, cmd.Account, cmd.PaymentID = payment.KindDisputeAccept, id.Account(), id
		cmd.CommandID = payment.CommandIDFrom(string(cmd.Account), loadMerchant, key)
		if l.random.IntN(2) == 0 {
			cmd.Kind = payment.KindDisputeEvidence
			cmd.Evidence = []payment.EvidenceFile{{Reference: "file", SHA256: sha256.Sum256([]byte(key)), Kind: "receipt"}}
			return
		}
		cmd.Accept = &payment.DisputeAccept{}
		return
	}
	of, ok := l.life.charged.any(l.random)
	if !ok {
		return
	}
	id := payment.DisputeIDFrom(of.Account(), "sim", string(of))
	cmd.Kind, cmd.Account, cmd.PaymentID, cmd.CommandID = payment.KindDispute, of.Account(), of, string(id)
	cmd.Dispute = &payment.Dispute{
		Stage: payment.DisputeStage(1 + l.random.IntN(5)), AmountMinor: 100 + l.random.Int64N(3)*1_000, //nolint:gosec // small
		ReasonCode: "10.4", Connector: "sim", Reference: string(of), MessageID: payment.CommandIDFrom(string(cmd.Account), "", key), OccurredAtUS: l.nowUS - l.random.Int64N(minuteUS),
	}
	l.life.disputes.keep(l.random, id)
}

// spend is an acquirer's word: it asks, takes back, tells what others have granted, and collects.
func (l *load) spend(cmd *payment.Command, key string) {
	of, known := l.life.requests.any(l.random)
	roll := l.random.IntN(10)
	if !known || roll < 5 {
		cmd.Kind, cmd.PaymentID = payment.KindAuthorization, payment.CardIDFrom(payment.KindAuthorization, cmd.Account, key)
		cmd.CommandID = string(cmd.PaymentID)
		cmd.CardTransaction = &payment.CardTransaction{
			AmountMinor: l.random.Int64N(9_000), Currency: []string{"BRL", "BRL", "USD"}[l.random.IntN(3)], Financial: l.random.IntN(4) == 0,
			Card: cardOf(cmd.Account), MCC: "5411", Acquirer: "123456", CardAcceptor: "shop", RRN: "r", STAN: "417",
		}
		if roll == 0 {
			cmd.Kind = payment.KindAuthorizationAdvice
			cmd.CardTransaction.StandIn, cmd.CardTransaction.Refused = l.random.IntN(2) == 0, l.random.IntN(4) == 0
		}
		l.life.requests.keep(l.random, *cmd)
		return
	}
	cmd.Account, cmd.PaymentID = of.Account, of.PaymentID
	t := of.CardTransaction
	if roll < 7 {
		cmd.Kind, cmd.CommandID = payment.KindReversal, payment.CommandIDFrom(string(cmd.Account), "", key)
		cmd.Reversal = &payment.Reversal{LeftMinor: l.random.Int64N(3) * 100, Currency: t.Currency, Card: t.Card, ReasonCode: "17", RRN: t.RRN}
		return
	}
	cmd.Kind, cmd.CommandID = payment.KindClearing, string(payment.CardIDFrom(payment.KindClearing, cmd.Account, key))
	cmd.Clearing = &payment.Clearing{
		AmountMinor: 1 + l.random.Int64N(max(1, t.AmountMinor)), Currency: t.Currency, Credit: l.random.IntN(6) == 0, Final: l.random.IntN(2) == 0,
		Card: t.Card, MCC: t.MCC,
	}
}
