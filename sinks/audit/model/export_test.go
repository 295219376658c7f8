package model

import paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"

// Fate is what the model does with a rail's event in a status, in the words of docs/lifecycle.md; where it moves, "moves".
func Fate(kind paymentsv1.CommandKind, status paymentsv1.PaymentStatus, e string) string {
	p := &pay{kind: kind, status: status}
	return map[fate]string{
		fateRefused: "refused", fateIgnored: "ignored", fateContradiction: "contradiction", fateLate: "**late**", fateMoves: "moves",
	}[p.fateOf(event(e))]
}

// Close ends an account, as no command can yet.
func (p *Partition) Close(key string) {
	p.account(key).state.Status = paymentsv1.AccountStatus_ACCOUNT_STATUS_CLOSED
}

// Allowed tells whether an operation may be asked for in a status of its pay-in.
func Allowed(kind paymentsv1.CommandKind, status paymentsv1.PaymentStatus) bool {
	return allowedIn(kind).or(status, fateMoves, fateRefused) == fateMoves
}
