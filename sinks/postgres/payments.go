package postgres

import (
	"cmp"
	"errors"
	"strconv"
	"strings"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/sinks/decisionlog"
)

// paymentRow is a record that this batch makes, of a payment or of something about one, with its latest state.
type paymentRow struct {
	decisionlog.Entry
	stateRow
}

// stateRow is what a decision tells of a payment that stands already. What it does not tell stays as it was: a decision on
// the payment itself knows no refunds, one on an operation knows no deadline.
type stateRow struct {
	own          bool  // told by a decision on the payment itself, which knows the month of creation and the deadline
	createdMonth int32 // days since 1970 of the month's first; where own
	deadlineUS   int64 // where own; else see keepsDeadline
	status       paymentsv1.PaymentStatus
	reasons      []paymentsv1.Reason // none: the earlier ones stay
	refunded     int64               // where refundedTold
	refundedTold bool
	// captured and authorized are told where authorized is not 0: neither ever goes back, and only what tells both of a payment
	// that its rail has granted has a number here. Approval, retention and refunds of a book payment leave 0. Of a card that
	// pays they may go back to 0, and grantedTold says so.
	captured, authorized int64
	grantedTold          bool
	fee, target          int64 // what a rail's answer gave an operation: told where one of them is not 0
	// connector and reference name what the rail did. The first answer with a reference keeps its place: those behind it are
	// repeats, returns and contradictions, and what is asked for later goes by the first.
	connector, reference string
	related              string // quotes: the payment that has used it; empty: the earlier one stays
	reasonCode           string // empty: the earlier one stays
	accountSeq           uint64
	offset               int64
	decidedUS            int64
}

// over lays a state on the one before it.
func (s stateRow) over(old stateRow) stateRow {
	if !s.own {
		if keepsDeadline(s.status) {
			s.deadlineUS = old.deadlineUS
		}
		s.own, s.createdMonth = old.own, old.createdMonth
	}
	if len(s.reasons) == 0 {
		s.reasons = old.reasons
	}
	if !s.refundedTold {
		s.refunded, s.refundedTold = old.refunded, old.refundedTold
	}
	if !s.granted() {
		s.captured, s.authorized, s.grantedTold = old.captured, old.authorized, old.grantedTold
	}
	if !s.amountsTold() {
		s.fee, s.target = old.fee, old.target
	}
	if old.reference != "" || s.connector == "" && s.reference == "" {
		s.connector, s.reference = old.connector, old.reference
	}
	s.related, s.reasonCode = cmp.Or(s.related, old.related), cmp.Or(s.reasonCode, old.reasonCode)
	return s
}

func (s *stateRow) granted() bool { return s.grantedTold || s.authorized != 0 }

func (s *stateRow) amountsTold() bool { return s.fee != 0 || s.target != 0 }

// keepsDeadline tells the statuses in which a payment that an operation is about still has the deadline it had. No operation
// moves a deadline, and its decision does not tell it: while something may be captured it stands, afterwards there is none.
// What does move it, an authorisation and its expiry, are decisions on the payment itself. changeRelated says the same.
func keepsDeadline(s paymentsv1.PaymentStatus) bool {
	return s == paymentsv1.PaymentStatus_PAYMENT_STATUS_REQUIRES_CAPTURE || s == paymentsv1.PaymentStatus_PAYMENT_STATUS_PARTIALLY_CAPTURED
}

func (r *rows) addPayment(e decisionlog.Entry) {
	switch e.GetKind() {
	case paymentsv1.CommandKind_COMMAND_KIND_PAY_IN, paymentsv1.CommandKind_COMMAND_KIND_PAY_OUT, paymentsv1.CommandKind_COMMAND_KIND_TRANSFER:
		r.addCreated(e)
		r.useQuote(e)
	case paymentsv1.CommandKind_COMMAND_KIND_FX_QUOTE, paymentsv1.CommandKind_COMMAND_KIND_AUTHORIZATION:
		r.addCreated(e)
	case paymentsv1.CommandKind_COMMAND_KIND_AUTHORIZATION_ADVICE, paymentsv1.CommandKind_COMMAND_KIND_REVERSAL:
		r.addFact(e)
	case paymentsv1.CommandKind_COMMAND_KIND_CLEARING, paymentsv1.CommandKind_COMMAND_KIND_DISPUTE:
		r.addFact(e)
		if granted(e) {
			r.changeRelated(e)
		}
	case paymentsv1.CommandKind_COMMAND_KIND_REFUND, paymentsv1.CommandKind_COMMAND_KIND_CAPTURE,
		paymentsv1.CommandKind_COMMAND_KIND_VOID, paymentsv1.CommandKind_COMMAND_KIND_INCREMENT:
		r.addCreated(e)
		if e.GetOutcome() == paymentsv1.Outcome_OUTCOME_APPROVED {
			r.changeRelated(e)
		}
	case paymentsv1.CommandKind_COMMAND_KIND_APPROVE, paymentsv1.CommandKind_COMMAND_KIND_DECLINE,
		paymentsv1.CommandKind_COMMAND_KIND_EXPIRE, paymentsv1.CommandKind_COMMAND_KIND_LEG_RESULT,
		paymentsv1.CommandKind_COMMAND_KIND_DISPUTE_EVIDENCE, paymentsv1.CommandKind_COMMAND_KIND_DISPUTE_ACCEPT:
		if granted(e) {
			r.changeOwn(e)
		}
	case paymentsv1.CommandKind_COMMAND_KIND_RAIL_ANSWER:
		if granted(e) {
			r.changeOwn(e)
			r.changeRelated(e)
		}
	default: // a counter-leg is the payee's side and no state of the payer's payment; the rest has no payment
	}
}

// granted tells whether a decision changed what it is about: what was declined tells it for information only.
func granted(e decisionlog.Entry) bool {
	return e.GetOutcome() == paymentsv1.Outcome_OUTCOME_APPROVED || e.GetOutcome() == paymentsv1.Outcome_OUTCOME_APPLIED
}

// addCreated takes a decision that makes a payment. Repeats and conflicts make none.
func (r *rows) addCreated(e decisionlog.Entry) {
	switch e.GetOutcome() {
	case paymentsv1.Outcome_OUTCOME_APPROVED, paymentsv1.Outcome_OUTCOME_DECLINED, paymentsv1.Outcome_OUTCOME_REVIEW:
	default:
		return
	}
	r.make(e)
}

func (r *rows) make(e decisionlog.Entry) {
	month := monthOfUS(createdUS(e.Decision))
	p := &paymentRow{e, at(e, stateRow{
		own: true, createdMonth: month, deadlineUS: e.GetDeadlineUs(), status: e.GetStatus(), reasons: e.GetReasons(),
		fee: e.GetFeeMinor(), target: e.GetTargetAmountMinor(), reasonCode: e.GetReasonCode(), related: e.GetRelatedPaymentId(),
	})}
	if paysByCard(e.GetKind()) {
		p.captured, p.authorized, p.grantedTold = e.GetCapturedMinor(), e.GetAuthorizedMinor(), true
	}
	if e.GetKind() == paymentsv1.CommandKind_COMMAND_KIND_DISPUTE {
		p.connector, p.reference = e.GetConnector(), e.GetRailReference()
	}
	r.createdMonths[month] = struct{}{}
	if old := r.payments[e.GetPaymentId()]; old != nil && old.createdMonth == month {
		*old = *p // declined without a record, and now decided anew
	} else {
		r.payments[e.GetPaymentId()] = p
		r.order = append(r.order, p)
	}
}

// paysByCard tells the kinds on an authorization: all of them tell what stands authorised and captured of it.
func paysByCard(k paymentsv1.CommandKind) bool {
	return k == paymentsv1.CommandKind_COMMAND_KIND_AUTHORIZATION || k == paymentsv1.CommandKind_COMMAND_KIND_AUTHORIZATION_ADVICE ||
		k == paymentsv1.CommandKind_COMMAND_KIND_REVERSAL
}

// addFact takes a fact told from outside, which makes the record where it is the first word about it. A record that is older than
// the decision has a row. One of the same instant may have: then it is made here, and replacePayments sees.
func (r *rows) addFact(e decisionlog.Entry) {
	if !granted(e) || e.GetStatus() == paymentsv1.PaymentStatus_PAYMENT_STATUS_UNSPECIFIED {
		return
	}
	made := createdUS(e.Decision)
	p, s := r.payments[e.GetPaymentId()], r.states[e.GetPaymentId()]
	switch {
	case made != e.GetAcceptedAtUs(), p != nil && createdUS(p.Decision) == made, p == nil && s != nil && s.own && s.createdMonth == monthOfUS(made):
		r.changeOwn(e)
	default:
		r.make(e)
	}
}

// useQuote takes a quote's leave: a payment that was granted has it for good.
func (r *rows) useQuote(e decisionlog.Entry) {
	if e.GetQuote() == "" || e.GetOutcome() != paymentsv1.Outcome_OUTCOME_APPROVED && e.GetOutcome() != paymentsv1.Outcome_OUTCOME_REVIEW {
		return
	}
	r.change(e.GetQuote(), at(e, stateRow{status: paymentsv1.PaymentStatus_PAYMENT_STATUS_SUCCEEDED, related: e.GetPaymentId()}))
}

// changeOwn takes what a decision tells of the payment, or operation, that it is about.
func (r *rows) changeOwn(e decisionlog.Entry) {
	if e.GetPaymentId() == "" || e.GetStatus() == paymentsv1.PaymentStatus_PAYMENT_STATUS_UNSPECIFIED {
		return
	}
	s := stateRow{
		own: true, createdMonth: monthOfUS(e.GetCreatedAtUs()), deadlineUS: e.GetDeadlineUs(), status: e.GetStatus(), reasons: e.GetReasons(),
	}
	if !strings.HasSuffix(e.GetOrderId(), expireStep) {
		s.connector, s.reference = e.GetConnector(), e.GetRailReference()
	}
	switch kind := e.GetKind(); {
	case paysByCard(kind):
		s.captured, s.authorized, s.grantedTold, s.reasonCode = e.GetCapturedMinor(), e.GetAuthorizedMinor(), true, e.GetReasonCode()
	case e.GetRelatedPaymentId() == "":
		s.captured, s.authorized = e.GetCapturedMinor(), e.GetAuthorizedMinor()
	case kind == paymentsv1.CommandKind_COMMAND_KIND_RAIL_ANSWER:
		s.fee, s.target = e.GetFeeMinor(), e.GetTargetAmountMinor() // of a capture: known when it is confirmed
	case isDispute(kind):
		s.fee, s.target, s.reasonCode = e.GetFeeMinor(), e.GetTargetAmountMinor(), e.GetReasonCode() // the fee that stands charged
	}
	r.change(e.GetPaymentId(), at(e, s))
}

// isDispute tells the kinds that tell a dispute whole.
func isDispute(k paymentsv1.CommandKind) bool {
	return k == paymentsv1.CommandKind_COMMAND_KIND_DISPUTE || k == paymentsv1.CommandKind_COMMAND_KIND_DISPUTE_EVIDENCE ||
		k == paymentsv1.CommandKind_COMMAND_KIND_DISPUTE_ACCEPT
}

// expireStep ends the ids of the orders that give up an authorisation unasked: their answers name a void, not the payment.
const expireStep = ".expire"

// changeRelated takes what an operation, or the answer to one, tells of the payment. Where it tells no status it tells nothing.
// That an operation's record leaves names its payment too, and is never asked here.
func (r *rows) changeRelated(e decisionlog.Entry) {
	if e.GetRelatedPaymentId() == "" || e.GetRelatedStatus() == paymentsv1.PaymentStatus_PAYMENT_STATUS_UNSPECIFIED {
		return
	}
	r.change(e.GetRelatedPaymentId(), at(e, stateRow{
		status: e.GetRelatedStatus(), refunded: e.GetRefundedMinor(), refundedTold: true,
		captured: e.GetCapturedMinor(), authorized: e.GetAuthorizedMinor(),
	}))
}

// at adds where and when a state was decided.
func at(e decisionlog.Entry, s stateRow) stateRow {
	s.accountSeq, s.offset, s.decidedUS = e.GetAccountSeq(), e.Offset, e.GetAcceptedAtUs()
	return s
}

// change applies a new state to the payment's row in this batch, or remembers it for the row of an earlier one.
func (r *rows) change(id string, s stateRow) {
	if p := r.payments[id]; p != nil {
		p.stateRow = s.over(p.stateRow)
		return
	}
	if old := r.states[id]; old != nil {
		*old = s.over(*old)
		return
	}
	r.states[id] = &s
}

func (r *rows) writePayment(p *paymentRow) error {
	d, c := p.Decision, r.payment
	c.row()
	c.text(d.GetPaymentId())
	c.day(p.createdMonth)
	c.day(d.GetEffectiveDate())
	c.time(createdUS(d))
	c.time(p.decidedUS)
	c.nullable(p.deadlineUS-epochUS, p.deadlineUS != 0)
	c.sequence(d.GetAccountSeq())
	c.sequence(p.accountSeq)
	c.int8(p.offset)
	c.int8(d.GetAmountMinor())
	c.int8(p.target)
	c.int8(p.fee)
	c.int8(d.GetLimitAmountMinor())
	c.int8(p.refunded)
	c.int8(p.captured)
	c.int8(p.authorized)
	c.int4(p.Partition)
	c.int8(p.Offset)
	c.time(p.Written.UnixMicro())
	c.int8(d.GetCommandOffset())
	c.int4(d.GetCommandPartition())
	fx := d.GetFx()
	if fx == nil {
		c.null()
	} else {
		c.int4(fx.GetSpreadBp())
	}
	c.word(int(recordKind(d.GetKind())))
	c.word(int(d.GetOutcome()))
	c.word(int(p.status))
	c.word(int(d.GetFraudScore()))
	for _, text := range []string{
		d.GetCurrency(), d.GetTargetCurrency(), d.GetLimitCurrency(), d.GetMethod(), d.GetTenant(), d.GetMerchant(), d.GetCustomer(),
		d.GetAccount(), d.GetToAccount(), p.related, d.GetInstrument(), d.GetCounterpartyCountry(), p.connector, p.reference,
		d.GetQuote(), d.GetCard(), d.GetMcc(), d.GetAcquirer(), d.GetCardAcceptor(), d.GetRrn(), p.reasonCode, d.GetSealed().GetKeyId(),
	} {
		c.text(text)
	}
	c.bytes(d.GetSealed().GetCiphertext())
	var err error
	if fx == nil {
		c.null()
		c.null()
	} else {
		err = errors.Join(c.decimal(fx.GetRateUnscaled(), fx.GetRateScale()), c.decimal(fx.GetMidUnscaled(), fx.GetMidScale()))
	}
	return errors.Join(err, c.words(p.reasons))
}

// likelyUS is how long after a payment most of what is asked about it comes: captures within days, refunds within weeks.
const likelyUS = 45 * dayUS

func (r *rows) writeState(id string, s *stateRow) {
	c := r.related.columns
	if s.own {
		c = r.state.columns
		c[1].day(s.createdMonth)
	} else {
		c[1].day(monthOfUS(s.decidedUS - likelyUS)) // from where it is looked for first
	}
	c[0].text(id)
	c[2].time(s.decidedUS)
	c[3].sequence(s.accountSeq)
	c[4].int8(s.offset)
	c[5].nullable(s.refunded, s.refundedTold)
	c[6].nullable(s.captured, s.granted())
	c[7].nullable(s.authorized, s.granted())
	c[8].nullable(s.fee, s.amountsTold())
	c[9].nullable(s.target, s.amountsTold())
	c[10].word(int(s.status))
	if len(s.reasons) > 0 {
		c[11].text(reasonsText(s.reasons))
	} else {
		c[11].null()
	}
	c[12].nullable(s.deadlineUS-epochUS, s.deadlineUS != 0)
	c[13].text(s.connector)
	c[14].text(s.reference)
	c[15].text(s.related)
	c[16].text(s.reasonCode)
}

// recordKind is the kind of the record that a decision makes.
func recordKind(k paymentsv1.CommandKind) paymentsv1.CommandKind {
	if paysByCard(k) {
		return paymentsv1.CommandKind_COMMAND_KIND_AUTHORIZATION
	}
	return k
}

// createdUS is when the payment was made; for the decision that makes it, its own time.
func createdUS(d *paymentsv1.Decision) int64 {
	if d.GetCreatedAtUs() != 0 {
		return d.GetCreatedAtUs()
	}
	return d.GetAcceptedAtUs()
}

// reasonsText is a smallint[] as Postgres reads it.
func reasonsText(reasons []paymentsv1.Reason) string {
	if len(reasons) == 0 {
		return "{}"
	}
	b := make([]byte, 0, 16)
	b = append(b, '{')
	for i, r := range reasons {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(r), 10)
	}
	return string(append(b, '}'))
}
