package accounts

import (
	"github.com/caudalpay/caudal/processors/ledger"
	"github.com/caudalpay/caudal/processors/payment"
)

// lines collects the postings of a journal; a zero line vanishes.
type lines struct {
	layer    ledger.Layer
	postings []ledger.Posting
}

func newLines(layer ledger.Layer, n int) *lines {
	return &lines{layer: layer, postings: make([]ledger.Posting, 0, n)}
}

func (l *lines) add(account, currency string, amountMinor int64) {
	if amountMinor != 0 {
		l.postings = append(l.postings, ledger.Posting{Account: account, Currency: currency, AmountMinor: amountMinor, Layer: l.layer})
	}
}

// hold reserves in the pending layer what the posting will move.
func hold(account string, rec *payment.Record) ledger.Journal {
	l := newLines(ledger.LayerPending, 3)
	if rec.Kind == payment.KindPayIn {
		currency, credited := credit(rec)
		l.add(account, currency, credited)
		l.add(ledger.SysSuspense, currency, -credited)
	} else {
		amountMinor := leftOf(rec)
		l.add(account, rec.Currency, -amountMinor)
		l.add(account, rec.Currency, -rec.FeeMinor)
		l.add(ledger.SysSuspense, rec.Currency, amountMinor+rec.FeeMinor)
	}
	return ledger.Journal{Kind: ledger.JournalHold, Postings: l.postings}
}

// credit is what a pay-in adds to the account.
func credit(rec *payment.Record) (currency string, amountMinor int64) {
	if rec.FX == nil {
		return rec.Currency, rec.AmountMinor - rec.FeeMinor
	}
	return rec.TargetCurrency, rec.TargetAmountMinor
}

// post is the table of docs/domain.md: what an approved payment moves.
func post(account string, rec *payment.Record) ledger.Journal {
	l := newLines(ledger.LayerPosted, 6)
	if rec.Kind == payment.KindPayIn {
		postPayIn(l, account, rec)
	} else {
		postOut(l, account, rec)
	}
	return ledger.Journal{Kind: ledger.JournalPost, Postings: l.postings}
}

func postPayIn(l *lines, account string, rec *payment.Record) {
	clearing := ledger.SysClearing(rec.Method)
	l.add(clearing, rec.Currency, -rec.AmountMinor)
	if rec.FX == nil {
		l.add(account, rec.Currency, rec.AmountMinor)
		l.add(account, rec.Currency, -rec.FeeMinor)
		l.add(ledger.SysFees, rec.Currency, rec.FeeMinor)
		return
	}
	l.add(ledger.SysFees, rec.Currency, rec.FeeMinor)
	l.add(ledger.SysFX, rec.Currency, rec.AmountMinor-rec.FeeMinor)
	l.add(ledger.SysFX, rec.TargetCurrency, -rec.TargetAmountMinor)
	l.add(account, rec.TargetCurrency, rec.TargetAmountMinor)
}

func postOut(l *lines, account string, rec *payment.Record) {
	other := ledger.SysTransit
	if rec.Kind != payment.KindTransfer {
		other = ledger.SysClearing(rec.Method)
	}
	l.add(account, rec.Currency, -rec.AmountMinor)
	l.add(account, rec.Currency, -rec.FeeMinor)
	l.add(ledger.SysFees, rec.Currency, rec.FeeMinor)
	if rec.FX == nil {
		l.add(other, rec.Currency, rec.AmountMinor)
		return
	}
	l.add(ledger.SysFX, rec.Currency, rec.AmountMinor)
	l.add(ledger.SysFX, rec.TargetCurrency, -rec.TargetAmountMinor)
	l.add(other, rec.TargetCurrency, rec.TargetAmountMinor)
}

// compensation returns a refused transfer, line by line. The lines of a closed account go to suspense.
func compensation(account string, status AccountStatus, rec *payment.Record) ledger.Journal {
	j := post(account, rec).Reverse(ledger.JournalCompensation)
	if status == AccountStatusClosed {
		return toSuspense(account, j)
	}
	return j
}

// toSuspense puts suspense in the place of an account.
func toSuspense(account string, j ledger.Journal) ledger.Journal {
	for i := range j.Postings {
		if j.Postings[i].Account == account {
			j.Postings[i].Account = ledger.SysSuspense
		}
	}
	return j
}
