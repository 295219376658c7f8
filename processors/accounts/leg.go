package accounts

import (
	"slices"

	"github.com/caudalpay/caudal/processors/ledger"
	"github.com/caudalpay/caudal/processors/payment"
)

// Names behind which the ids of emitted commands are derived. No merchant has the empty name, so no request can take them.
const (
	counterLegName   = "counter_leg/"
	legResultName    = "leg_result/"
	expireName       = "expire/"
	releaseClaimName = "release_claim/"
)

// askPayee emits the payee's side of a transfer.
func (r *reducer) askPayee(id payment.ID, rec *payment.Record) {
	key := string(rec.ToAccount)
	r.emit(key, payment.Command{
		Kind: payment.KindCounterLeg, Tenant: r.d.Tenant, Merchant: r.d.Merchant, Customer: r.d.Customer, Account: rec.ToAccount,
		CommandID: payment.CommandIDFrom(key, "", counterLegName+string(id)), PaymentID: id,
		AcceptedAtUS: r.d.AcceptedAtUS, Pins: rec.Pins,
		CounterLeg: &payment.CounterLeg{
			TransferID: id, PayerAccount: payment.AccountID(r.key), PayerSeq: r.d.AccountSeq, AmountMinor: rec.TargetAmountMinor, Currency: rec.TargetCurrency,
			EffectiveDate: rec.EffectiveDate,
		},
	}, false)
}

// counterLeg takes on the payee's side what the payer has posted to transit.
func (r *reducer) counterLeg() {
	leg := r.cmd.CounterLeg
	if !r.cell.holds(leg.Currency) {
		r.decline(payment.ReasonCurrencyNotHeld)
		return
	}
	l := newLines(ledger.LayerPosted, 2)
	l.add(ledger.SysTransit, leg.Currency, -leg.AmountMinor)
	l.add(r.key, leg.Currency, leg.AmountMinor)
	if !r.book(ledger.Journal{Kind: ledger.JournalPost, Postings: l.postings}) {
		r.decline(payment.ReasonAmountOverflow)
		return
	}
	r.d.Outcome = payment.OutcomeApproved
	r.answerLeg(true)
}

// holds tells whether the account has the currency.
func (c *Cell) holds(currency string) bool {
	return slices.Contains(c.State.Currencies, currency)
}

// answerLeg remembers the leg and tells the payer. The key of no account answers too, and has nothing to remember.
func (r *reducer) answerLeg(accepted bool) {
	leg := r.cmd.CounterLeg
	r.d.Related, r.d.AmountMinor, r.d.Currency = leg.TransferID, leg.AmountMinor, leg.Currency
	result := &payment.LegResult{TransferID: leg.TransferID, PayeeAccount: payment.AccountID(r.key), Accepted: accepted}
	if !accepted {
		result.Reason = r.d.Reasons[0]
	}
	if r.cell.State != nil {
		r.w.Leg = &LegWrite{Identity: leg.TransferID.Identity(), Record: &LegRecord{
			PayerSeq: leg.PayerSeq, ExpiresAtUS: r.retain(leg.TransferID),
		}}
	}
	key := string(leg.PayerAccount)
	r.emit(key, payment.Command{
		Kind: payment.KindLegResult, Tenant: r.cmd.Tenant, Merchant: r.cmd.Merchant, Customer: r.cmd.Customer, Account: leg.PayerAccount,
		CommandID: payment.CommandIDFrom(key, "", legResultName+string(leg.TransferID)), PaymentID: leg.TransferID,
		AcceptedAtUS: r.d.AcceptedAtUS, Pins: r.cmd.Pins, LegResult: result,
	}, false)
}

// legResult ends a transfer on the payer's side: done, or returned to the last line.
func (r *reducer) legResult() {
	result := r.cmd.LegResult
	r.d.Related = result.TransferID
	if r.s.Related == nil {
		return
	}
	rec := *r.s.Related
	r.d.tell(result.TransferID, &rec)
	r.d.Related, r.d.RelatedStatus = result.TransferID, rec.Status
	if rec.Status != payment.StatusProcessing || rec.Kind != payment.KindTransfer {
		return // it was taken in before
	}
	if result.Accepted {
		r.move(&rec, payment.EventConfirmed)
	} else {
		r.d.Reasons = []payment.Reason{result.Reason}
		// What comes back is never refused: an account that has grown too far meanwhile is treated as a closed one.
		if !r.book(compensation(r.key, r.cell.State.Status, &rec)) && !r.book(compensation(r.key, AccountStatusClosed, &rec)) {
			r.fail("compensation overflows")
			return
		}
		r.unreserve(&rec)
		r.move(&rec, payment.EventRefused)
	}
	r.store(result.TransferID, &rec)
	r.d.Related, r.d.RelatedStatus = result.TransferID, rec.Status
}
