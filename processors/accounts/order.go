package accounts

import (
	"strings"

	"github.com/caudalpay/caudal/processors/payment"
)

// The steps of a payment or operation that ask a rail. They stand in order ids: changing one loses the answers on their way.
const (
	stepCollect   = "collect"
	stepAuthorize = "authorize"
	stepCapture   = "capture"
	stepIncrement = "increment"
	stepVoid      = "void"
	stepExpire    = "expire" // a void that nobody asked for
	stepReturn    = "return"
	stepSend      = "send"
)

// OrderID names an order: the record that waits for the answer, and the step that is asked for.
func OrderID(waits payment.ID, step string) string { return string(waits) + "." + step }

// stepOf is what a record asks its rail for, as its saga has it.
func stepOf(rec *payment.Record) (string, OrderKind) {
	step, _ := rec.StepOrdering()
	return step.Name, step.Order
}

// ordered is what a record asks for, in the currency of the order: a payout is sent in what the other side gets.
func ordered(rec *payment.Record) (amountMinor int64, currency string) {
	if rec.Kind == payment.KindPayOut {
		return rec.TargetAmountMinor, rec.TargetCurrency
	}
	return rec.AmountMinor, rec.Currency
}

// order asks the rail for what the record waits for. id is the record's, paid the payment's own: the same where the payment
// itself waits.
func (r *reducer) order(id payment.ID, rec *payment.Record, paidID payment.ID, paid *payment.Record) {
	step, kind := stepOf(rec)
	amountMinor, currency := ordered(rec)
	rec.Rail.Ordered = true
	r.sendOrder(Order{
		OrderID: OrderID(id, step), Kind: kind, PaymentID: paidID, AmountMinor: amountMinor, Currency: currency, Final: rec.Rail.Final,
	}, paid)
}

// orderVoid gives up, unasked, what is authorised at the rail and nobody wants.
func (r *reducer) orderVoid(id payment.ID, paid *payment.Record, amountMinor int64) {
	r.sendOrder(Order{
		OrderID: OrderID(id, stepExpire), Kind: OrderKindVoid, PaymentID: id,
		AmountMinor: amountMinor, Currency: paid.Currency,
	}, paid)
}

func (r *reducer) sendOrder(o Order, paid *payment.Record) {
	o.Account, o.Tenant, o.Merchant, o.Method, o.OrderedAtUS = payment.AccountID(r.key), r.cell.Tenant, r.cell.Merchant, paid.Method, r.d.AcceptedAtUS
	switch o.Kind {
	case OrderKindCollect, OrderKindAuthorize, OrderKindSend:
		o.Instrument, o.Brand, o.Installments = paid.Instrument, paid.Rail.Brand, paid.Rail.Installments
	default: // about what somebody has authorised
		o.Connector, o.Reference = paid.Rail.Connector, paid.Rail.Reference
	}
	o.LateAtUS = paid.Rail.LateAtUS
	r.d.GivenOrderID = o.OrderID
	r.out = append(r.out, Emission{Order: &o})
}

// splitOrderID is the record that waits, and the step.
func splitOrderID(s string) (payment.ID, string) {
	id, step, _ := strings.Cut(s, ".")
	return payment.ID(id), step
}
