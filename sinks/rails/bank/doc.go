// Package bank speaks to a bank that pays out by transfers: POST /transfers under an id of ours, which makes a repeat harmless,
// and GET /transfers/{id} for what became of it. No Brazilian bank's own API is public enough to follow; this is what they have
// in common, and what cmd/railsim/bank plays. A bank of another shape is another package beside this one.
//
// An answer 2xx says that the bank has the transfer, not that it was paid: a TED is pending, sent, paid or failed by the
// bank's hours, what was paid can come back, and what failed can turn out to be paid.
package bank
