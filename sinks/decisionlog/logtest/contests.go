package logtest

import (
	"crypto/sha256"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/caudalpay/caudal/processors/payment"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

const (
	dayUS = 24 * hourUS
	won   = paymentsv1.PaymentStatus_PAYMENT_STATUS_WON
	lost  = paymentsv1.PaymentStatus_PAYMENT_STATUS_LOST
)

// card is one that an account pays with, and its key's own count.
type card struct {
	key   string
	seq   uint64
	state *paymentsv1.CardState
}

// authorization is a payment by a card of the account, as far as it has come.
type authorization struct {
	made                 *paymentsv1.Decision
	status               paymentsv1.PaymentStatus
	authorized, captured int64
	hold, credited       int64
}

// dispute is about a captured pay-in.
type dispute struct {
	made     *paymentsv1.Decision
	of       *rail
	status   paymentsv1.PaymentStatus
	deadline int64
	fee      int64
	held     bool
	taken    bool
}

// contests draws what quotes, issued cards and disputes come to.
func (g *Generator) contests(a *account) []*paymentsv1.Decision {
	switch g.rng.IntN(10) {
	case 0:
		return g.quote(a)
	case 1:
		return g.useQuote(a)
	case 2:
		return g.card(a)
	case 3, 4:
		return g.authorization(a)
	case 5, 6:
		return g.cardFact(a)
	default:
		return g.dispute(a)
	}
}

func (g *Generator) quote(a *account) []*paymentsv1.Decision {
	outcome := approved
	if g.rng.IntN(4) == 0 {
		outcome = declined
	}
	d := g.create(a, payment.KindFXQuote, outcome, g.amount())
	d.Method, d.LimitAmountMinor, d.LimitCurrency, d.Sealed, d.FraudScore, d.RuleHits = "", 0, "", nil, 0, nil
	if outcome == declined {
		d.TargetCurrency, d.TargetAmountMinor = foreign, 0
		return g.fail(d, paymentsv1.Reason_REASON_RATE_STALE)
	}
	g.convert(d, a)
	d.Status, d.DeadlineUs = created, d.GetAcceptedAtUs()+hourUS
	a.quotes = append(a.quotes, d)
	return []*paymentsv1.Decision{d}
}

// useQuote converts a payment at a quote's rate; declined, it leaves the quote alone.
func (g *Generator) useQuote(a *account) []*paymentsv1.Decision {
	if len(a.quotes) == 0 {
		return g.fail(g.create(a, payment.KindPayIn, declined, g.amount()), paymentsv1.Reason_REASON_QUOTE_UNKNOWN)
	}
	q := a.quotes[0]
	if g.rng.IntN(4) == 0 {
		reasons := []paymentsv1.Reason{
			paymentsv1.Reason_REASON_QUOTE_EXPIRED, paymentsv1.Reason_REASON_QUOTE_USED, paymentsv1.Reason_REASON_QUOTE_MISMATCH,
		}
		return g.fail(g.create(a, payment.KindPayIn, declined, g.amount()), reasons[g.rng.IntN(len(reasons))])
	}
	a.quotes = a.quotes[1:]
	if g.rng.IntN(4) == 0 {
		d := g.create(a, payment.KindPayIn, review, q.GetAmountMinor())
		d.Quote = q.GetPaymentId()
		return g.hold(a, d, &paymentsv1.Posting{Account: a.id, Currency: currency, AmountMinor: d.GetAmountMinor(), Layer: paymentsv1.Layer_LAYER_PENDING})
	}
	d := g.create(a, payment.KindPayIn, approved, q.GetAmountMinor())
	d.Quote, d.Status = q.GetPaymentId(), succeeded
	g.convert(d, a)
	a.book(d, paymentsv1.JournalKind_JOURNAL_KIND_POST, lines(d, d.GetKind())...)
	used := g.about(a, paymentsv1.CommandKind_COMMAND_KIND_EXPIRE, applied, q) // the quote's record leaves
	used.Status = succeeded
	return []*paymentsv1.Decision{d, used}
}

// card issues a card, changes its status, or asks for what is refused.
func (g *Generator) card(a *account) []*paymentsv1.Decision {
	kind := paymentsv1.CommandKind_COMMAND_KIND_SET_CARD_STATUS
	if len(a.cards) == 0 || g.rng.IntN(5) == 0 {
		kind = paymentsv1.CommandKind_COMMAND_KIND_ISSUE_CARD
		a.cards = append(a.cards, &card{
			key: "crd_" + payment.DisputeIDFrom(payment.AccountID(a.id), "card", fmt.Sprint(g.serial)).Identity()[20:],
			state: &paymentsv1.CardState{
				Account: a.id, Status: paymentsv1.CardStatus_CARD_STATUS_ACTIVE, First6: "411111", Last4: fmt.Sprintf("%04d", g.rng.IntN(10_000)),
				Expiry: 2912, IssuedAtUs: g.clockUS,
			},
		})
	}
	c := a.cards[len(a.cards)-1]
	outcome, next := applied, proto.CloneOf(c.state)
	var reasons []paymentsv1.Reason
	if kind == paymentsv1.CommandKind_COMMAND_KIND_SET_CARD_STATUS {
		next.Status = paymentsv1.CardStatus(1 + g.rng.IntN(3)) //nolint:gosec // 1 to 3
		if c.state.GetStatus() == paymentsv1.CardStatus_CARD_STATUS_CLOSED {
			outcome, next, reasons = declined, proto.CloneOf(c.state), []paymentsv1.Reason{paymentsv1.Reason_REASON_PAYMENT_STATE}
		}
	}
	seq := a.seq
	d := g.base(a, kind, outcome)
	a.seq = seq
	c.seq++
	d.Account, d.AccountSeq, d.CardState, d.Card, d.Reasons = c.key, c.seq, next, c.key, reasons
	d.CommandPartition = Partition(d, 1<<20)
	c.state = next
	again := proto.CloneOf(d)
	c.seq++
	again.AccountSeq, again.Outcome, again.Merchant = c.seq, declined, "stranger"
	again.Reasons, again.CardState.Status = []paymentsv1.Reason{paymentsv1.Reason_REASON_OWNER_MISMATCH, paymentsv1.Reason_REASON_CARD_TAKEN}, 3
	return []*paymentsv1.Decision{d, again}
}

// authorization asks a card of the account for money, or takes back what nobody has asked for yet.
func (g *Generator) authorization(a *account) []*paymentsv1.Decision {
	au := &authorization{}
	switch g.rng.IntN(8) {
	case 0:
		au.made, au.status = g.byCard(a, declined), failed
		g.fail(au.made, paymentsv1.Reason_REASON_CARD_BLOCKED)
		a.auths = append(a.auths, au)
		if g.rng.IntN(2) == 0 {
			return []*paymentsv1.Decision{au.made}
		}
		return []*paymentsv1.Decision{au.made, g.advise(a, au)} // in the same instant
	case 1: // a reversal comes first
		au.made = g.byCard(a, applied)
		au.made.Kind, au.made.AmountMinor, au.made.TargetAmountMinor, au.made.Currency = paymentsv1.CommandKind_COMMAND_KIND_REVERSAL, 0, 0, ""
		au.made.TargetCurrency, au.status, au.made.Status, au.made.ReasonCode = "", cancelled, cancelled, "68"
		again := g.reverse(a, au)
		asked := g.byCard(a, declined)
		asked.PaymentId, asked.CommandId, asked.CreatedAtUs = au.made.GetPaymentId(), au.made.GetPaymentId(), au.made.GetCreatedAtUs()
		asked.Status, asked.Reasons = cancelled, []paymentsv1.Reason{paymentsv1.Reason_REASON_PAYMENT_STATE}
		return []*paymentsv1.Decision{au.made, again, asked}
	case 2: // an advice of what nobody has asked for
		au.made = g.byCard(a, applied)
		au.made.Kind = paymentsv1.CommandKind_COMMAND_KIND_AUTHORIZATION_ADVICE
	default:
		au.made = g.byCard(a, approved)
	}
	au.status, au.authorized = requiresCapture, au.made.GetAmountMinor()
	a.auths = append(a.auths, au)
	g.holdCard(a, au, au.made)
	return []*paymentsv1.Decision{au.tell(au.made)}
}

func (g *Generator) byCard(a *account, outcome paymentsv1.Outcome) *paymentsv1.Decision {
	d := g.create(a, payment.KindAuthorization, outcome, g.amount())
	d.Method, d.Sealed = "issuing", nil
	d.Card, d.Mcc, d.Acquirer, d.CardAcceptor, d.Rrn = "crd_"+d.GetPaymentId()[3:23], fmt.Sprint(5_000+g.rng.IntN(30)), "00000101", "SHOP 000000017", fmt.Sprintf("%012d", g.serial)
	return d
}

// tell ends a decision on an authorization with what stands after it.
func (au *authorization) tell(d *paymentsv1.Decision) *paymentsv1.Decision {
	d.Status, d.AuthorizedMinor, d.CapturedMinor, d.DeadlineUs = au.status, au.authorized, au.captured, 0
	if au.status == requiresCapture || au.status == partiallyCaptured {
		d.DeadlineUs = au.made.GetCreatedAtUs() + 7*dayUS
	}
	return d
}

func pendingBy(d *paymentsv1.Decision, minor int64) []*paymentsv1.Posting {
	line := func(account string, minor int64) *paymentsv1.Posting {
		return &paymentsv1.Posting{Account: account, Currency: currency, AmountMinor: minor, Layer: paymentsv1.Layer_LAYER_PENDING}
	}
	return []*paymentsv1.Posting{line(d.GetAccount(), -minor), line("sys_suspense", minor)}
}

func (g *Generator) holdCard(a *account, au *authorization, d *paymentsv1.Decision) {
	au.hold = au.authorized
	a.book(d, paymentsv1.JournalKind_JOURNAL_KIND_HOLD, pendingBy(d, au.hold)...)
}

func (au *authorization) release(a *account, d *paymentsv1.Decision, minor int64) {
	if minor > 0 {
		au.hold -= minor
		a.book(d, paymentsv1.JournalKind_JOURNAL_KIND_RELEASE, reversed(pendingBy(d, minor))...)
	}
}

// fact makes a decision on an authorization of before.
func (g *Generator) fact(a *account, au *authorization, kind paymentsv1.CommandKind) *paymentsv1.Decision {
	d := g.about(a, kind, applied, au.made)
	d.Card, d.Mcc, d.Acquirer, d.CardAcceptor, d.Rrn = au.made.GetCard(), "", "", "", fmt.Sprintf("%012d", g.serial)
	return d
}

// advise is a word of what was granted elsewhere: it lifts what was refused here.
func (g *Generator) advise(a *account, au *authorization) *paymentsv1.Decision {
	d := g.fact(a, au, paymentsv1.CommandKind_COMMAND_KIND_AUTHORIZATION_ADVICE)
	if au.status == failed {
		au.status, au.authorized = requiresCapture, au.made.GetAmountMinor()
		g.holdCard(a, au, d)
	}
	return au.tell(d)
}

// reverse takes an authorization back, wholly or in part.
func (g *Generator) reverse(a *account, au *authorization) *paymentsv1.Decision {
	d := g.fact(a, au, paymentsv1.CommandKind_COMMAND_KIND_REVERSAL)
	if g.rng.IntN(2) == 0 {
		d.ReasonCode = "17"
	}
	switch {
	case au.status != requiresCapture:
	case g.rng.IntN(3) == 0:
		au.release(a, d, au.hold/2)
		au.authorized = au.hold
	default:
		au.release(a, d, au.hold)
		au.status = cancelled
	}
	return au.tell(d)
}

func (g *Generator) cardFact(a *account) []*paymentsv1.Decision {
	if len(a.auths) == 0 {
		return g.authorization(a)
	}
	n := g.rng.IntN(len(a.auths))
	au := a.auths[n]
	switch g.rng.IntN(8) {
	case 0:
		return []*paymentsv1.Decision{g.advise(a, au)}
	case 1, 2:
		return []*paymentsv1.Decision{g.reverse(a, au)}
	case 3:
		if au.status != requiresCapture {
			break
		}
		d := g.about(a, paymentsv1.CommandKind_COMMAND_KIND_EXPIRE, applied, au.made)
		au.release(a, d, au.hold)
		au.status, d.Reasons = expired, []paymentsv1.Reason{paymentsv1.Reason_REASON_AUTHORIZATION_EXPIRED}
		return []*paymentsv1.Decision{au.tell(d)}
	case 4:
		d := g.fact(a, au, paymentsv1.CommandKind_COMMAND_KIND_REVERSAL)
		d.PaymentId, d.Outcome, d.Reasons = "au_unknown", declined, []paymentsv1.Reason{paymentsv1.Reason_REASON_PAYMENT_UNKNOWN}
		return []*paymentsv1.Decision{d}
	}
	return []*paymentsv1.Decision{g.clear(a, au)}
}

// clear collects what was authorised, or gives some of it back.
func (g *Generator) clear(a *account, au *authorization) *paymentsv1.Decision {
	d := g.create(a, payment.KindClearing, applied, max(au.made.GetAmountMinor()/2, 1))
	d.Method, d.Sealed, d.Card, d.Mcc, d.Rrn, d.Status = "issuing", nil, au.made.GetCard(), "5411", fmt.Sprintf("%012d", g.serial), succeeded
	d.RelatedPaymentId = au.made.GetPaymentId()
	x := d.GetAmountMinor()
	switch {
	case g.rng.IntN(5) == 0:
		au.credited += x
		a.book(d, paymentsv1.JournalKind_JOURNAL_KIND_REFUND, post("sys_clearing_issuing", currency, -x), post(a.id, currency, x))
	case au.status == failed || au.status == cancelled:
		d.Reasons = []paymentsv1.Reason{paymentsv1.Reason_REASON_RAIL_LATE}
		a.book(d, paymentsv1.JournalKind_JOURNAL_KIND_LATE, post("sys_suspense", currency, -x), post("sys_clearing_issuing", currency, x))
	default:
		au.captured += x
		done := au.captured >= au.authorized || au.status == expired || au.status == succeeded
		release := min(au.hold, x)
		if done {
			release = au.hold
		}
		au.release(a, d, release)
		a.book(d, paymentsv1.JournalKind_JOURNAL_KIND_POST, post(a.id, currency, -x), post("sys_clearing_issuing", currency, x))
		au.status = partiallyCaptured
		if done {
			au.status = succeeded
		}
	}
	d.RelatedStatus, d.RefundedMinor, d.CapturedMinor, d.AuthorizedMinor = au.status, au.credited, au.captured, au.authorized
	return d
}

// dispute opens a dispute about a captured pay-in, or takes one further.
func (g *Generator) dispute(a *account) []*paymentsv1.Decision {
	if len(a.disputes) == 0 || g.rng.IntN(5) == 0 {
		for _, r := range a.rails {
			if r.captured > 0 && r.made.GetKind() == paymentsv1.CommandKind_COMMAND_KIND_PAY_IN {
				return g.openDispute(a, r)
			}
		}
	}
	if len(a.disputes) == 0 {
		d := g.base(a, paymentsv1.CommandKind_COMMAND_KIND_DISPUTE_EVIDENCE, declined)
		d.PaymentId, d.Reasons = "dp_unknown", []paymentsv1.Reason{paymentsv1.Reason_REASON_PAYMENT_UNKNOWN}
		return []*paymentsv1.Decision{d}
	}
	p := a.disputes[g.rng.IntN(len(a.disputes))]
	switch g.rng.IntN(8) {
	case 0:
		return []*paymentsv1.Decision{g.evidence(a, p)}
	case 1:
		if p.status == won || p.status == lost {
			d := p.tell(g.about(a, paymentsv1.CommandKind_COMMAND_KIND_DISPUTE_ACCEPT, declined, p.made))
			d.Reasons = []paymentsv1.Reason{paymentsv1.Reason_REASON_PAYMENT_STATE}
			return []*paymentsv1.Decision{d}
		}
		d := g.about(a, paymentsv1.CommandKind_COMMAND_KIND_DISPUTE_ACCEPT, approved, p.made)
		p.move(a, d, lost)
		return []*paymentsv1.Decision{p.tell(d)}
	case 2:
		d := g.about(a, paymentsv1.CommandKind_COMMAND_KIND_EXPIRE, applied, p.made) // its record leaves, or stays on
		return []*paymentsv1.Decision{p.tell(d)}
	default:
		return []*paymentsv1.Decision{g.word(a, p), g.word(a, p)} // in the same instant
	}
}

func (g *Generator) openDispute(a *account, r *rail) []*paymentsv1.Decision {
	d := g.create(a, payment.KindDispute, applied, max(r.captured/3, 1))
	d.Method, d.Sealed, d.LimitAmountMinor, d.LimitCurrency, d.FraudScore, d.RuleHits, d.CounterpartyCountry = "card", nil, 0, "", 0, nil, ""
	p := &dispute{made: d, of: r}
	if r.made.GetFx() != nil {
		g.convert(d, a)
	}
	a.disputes = append(a.disputes, p)
	p.deadline = d.GetAcceptedAtUs() + 7*dayUS
	p.move(a, d, paymentsv1.PaymentStatus(17+g.rng.IntN(5))) //nolint:gosec // pre_dispute to lost
	d.ReasonCode = "10.4"
	first := p.withPayIn(p.tell(d))
	switch g.rng.IntN(3) {
	case 0:
		return []*paymentsv1.Decision{first}
	case 1:
		return []*paymentsv1.Decision{first, g.evidence(a, p)}
	default:
		return []*paymentsv1.Decision{first, g.word(a, p)} // in the same instant
	}
}

// word is a further one about a dispute. What it says may be older than what is known.
func (g *Generator) word(a *account, p *dispute) *paymentsv1.Decision {
	d := g.about(a, paymentsv1.CommandKind_COMMAND_KIND_DISPUTE, applied, p.made)
	switch g.rng.IntN(6) {
	case 0:
		d.Outcome, d.Reasons = declined, []paymentsv1.Reason{paymentsv1.Reason_REASON_RAIL_AMOUNT}
	case 1, 2: // older, or the same
	default:
		p.deadline = 0
		if g.rng.IntN(2) == 0 {
			p.deadline, d.ReasonCode = d.GetAcceptedAtUs()+dayUS, "13.1"
		}
		p.move(a, d, paymentsv1.PaymentStatus(18+g.rng.IntN(4))) //nolint:gosec // dispute to lost
	}
	return p.withPayIn(p.tell(d))
}

// move takes the dispute and its money further. The fee is charged with what is taken, and goes back with it.
func (p *dispute) move(a *account, d *paymentsv1.Decision, to paymentsv1.PaymentStatus) {
	if p.held {
		p.held = false
		a.book(d, paymentsv1.JournalKind_JOURNAL_KIND_RELEASE, reversed(p.pending())...)
	}
	p.status = to
	taken := []*paymentsv1.Posting{
		post(a.id, p.made.GetTargetCurrency(), -p.made.GetTargetAmountMinor()), post("sys_clearing_card", currency, p.made.GetAmountMinor()),
	}
	if p.made.GetFx() != nil {
		taken = append(taken, post("sys_fx", foreign, p.made.GetTargetAmountMinor()), post("sys_fx", currency, -p.made.GetAmountMinor()))
	}
	charged := []*paymentsv1.Posting{post(a.id, p.made.GetTargetCurrency(), -500), post("sys_fees", p.made.GetTargetCurrency(), 500)}
	switch {
	case to == paymentsv1.PaymentStatus_PAYMENT_STATUS_PRE_DISPUTE:
		p.held = true
		a.book(d, paymentsv1.JournalKind_JOURNAL_KIND_HOLD, p.pending()...)
	case to == won && p.taken:
		p.taken, p.fee = false, 0
		a.book(d, paymentsv1.JournalKind_JOURNAL_KIND_DISPUTE, reversed(taken)...)
		a.book(d, paymentsv1.JournalKind_JOURNAL_KIND_DISPUTE, reversed(charged)...)
	case to != won && !p.taken:
		p.taken, p.fee = true, 500
		a.book(d, paymentsv1.JournalKind_JOURNAL_KIND_DISPUTE, taken...)
		a.book(d, paymentsv1.JournalKind_JOURNAL_KIND_DISPUTE, charged...)
	}
}

func (p *dispute) pending() []*paymentsv1.Posting {
	lines := pendingBy(p.made, p.made.GetTargetAmountMinor())
	for _, l := range lines {
		l.Currency = p.made.GetTargetCurrency()
	}
	return lines
}

// tell ends a decision with where the dispute stands.
func (p *dispute) tell(d *paymentsv1.Decision) *paymentsv1.Decision {
	d.Status, d.FeeMinor, d.RelatedPaymentId, d.DeadlineUs = p.status, p.fee, p.of.made.GetPaymentId(), 0
	d.Connector, d.RailReference = "cielo", fmt.Sprint("CB-", p.made.GetCreatedAtUs())
	if p.status != won && p.status != lost {
		d.DeadlineUs = p.deadline
	}
	return d
}

// withPayIn tells where the pay-in stands, too.
func (p *dispute) withPayIn(d *paymentsv1.Decision) *paymentsv1.Decision {
	d.RelatedStatus, d.RefundedMinor, d.CapturedMinor, d.AuthorizedMinor = p.of.status, p.of.refunded, p.of.captured, p.of.authorized
	return d
}

func (g *Generator) evidence(a *account, p *dispute) *paymentsv1.Decision {
	d := g.about(a, paymentsv1.CommandKind_COMMAND_KIND_DISPUTE_EVIDENCE, approved, p.made)
	if p.status == won || p.status == lost {
		d.Outcome, d.Reasons = declined, []paymentsv1.Reason{paymentsv1.Reason_REASON_DEADLINE_PASSED}
		return p.tell(d)
	}
	kinds := []string{"receipt", "delivery", "communication", "other"}
	for i := range 1 + g.rng.IntN(3) {
		sum := sha256.Sum256(fmt.Append(nil, g.serial, i))
		d.Evidence = append(d.Evidence, &paymentsv1.EvidenceFile{
			Reference: fmt.Sprintf("s3://evidence/%d/ção %d", g.serial, i), Sha256: sum[:], Kind: kinds[g.rng.IntN(len(kinds))],
		})
	}
	return p.tell(d)
}
