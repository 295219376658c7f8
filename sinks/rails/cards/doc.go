// Package cards executes the orders of card payments at acquirers and answers them: rails.orders.v1 in, RAIL_ANSWER
// commands out.
//
// It charges at most once per order. Before any call that moves money the intent stands in rails.attempts, written under
// the partition's transactional id: who owned the partition before is fenced and can neither intend nor answer any more.
// An order with an intent and no outcome is never sent again; it is asked for until the acquirer knows. The outcome and
// its answer are one transaction, so a restart gives the same answers again.
//
// Refused means surely not done. A timeout, a cut connection, a 5xx and an answer that cannot be read are UNKNOWN. A call
// that never left this process is neither: it is tried again, here or at the next acquirer.
//
// It refuses to hold card numbers: an order brings the token of a vaulted card, and nothing else of it.
package cards
