// Package cards executes the orders of payments by card at acquirers, and of payouts at banks, and answers them:
// rails.orders.v1 in, RAIL_ANSWER commands out. A Runner is for one of the two; what differs is behind the ports Acquirer and
// Bank.
//
// It charges, or pays, at most once per order. Before any call that moves money the intent stands in rails.attempts, written
// under the partition's transactional id: who owned the partition before is fenced and can neither intend nor answer any more.
// An order with an intent and no outcome is asked for until the other side knows, and sent again only where that deduplicates
// for ever. The outcome and its answer are one transaction, so a restart gives the same answers again.
//
// Refused means surely not done; a capture or refund that was not found for long, and is done all the same, is told once it shows, and
// nothing is sent in its place. A timeout, a cut connection, a 5xx and an answer that cannot be read are UNKNOWN. A call
// that never left this process is neither: it is tried again, here or at the next acquirer or bank.
//
// A bank's answer is no end. What it has taken is followed until it is paid, failed or returned, and what is paid or failed is
// watched for Watch.For, since banks take both back.
//
// What processors notify makes an order be asked for at once. A dispute that they notify is told to its account, behind the port
// Disputes, until the account has decided.
//
// It refuses to hold card numbers: an order brings the token of a vaulted card, and nothing else of it. The destination of a
// payout is opened for the call alone.
package cards
