// Package intake is the first stage: it checks the form of an instruction against the account, pins fee and conversion, and
// computes the amount in the limit currency. It also holds the state machine of a payment.
// It refuses to look at balances, limits or history: it proposes, later stages decide.
package intake

import "github.com/caudalpay/caudal/processors/payment"

// CanMove is the state machine: the allowed transitions of a payment's status. StatusNone is a payment that is not there yet.
func CanMove(from, to payment.Status) bool {
	switch from {
	case payment.StatusNone:
		return to == payment.StatusInReview || to == payment.StatusProcessing || to == payment.StatusSucceeded || to == payment.StatusFailed
	case payment.StatusInReview:
		return to == payment.StatusProcessing || to == payment.StatusSucceeded || to == payment.StatusFailed || to == payment.StatusExpired
	case payment.StatusProcessing:
		return to == payment.StatusSucceeded || to == payment.StatusFailed
	case payment.StatusSucceeded, payment.StatusPartiallyRefunded:
		return to == payment.StatusPartiallyRefunded || to == payment.StatusRefunded
	case payment.StatusFailed, payment.StatusRefunded, payment.StatusExpired:
		return false
	default:
		return false
	}
}
