// Package pagarme speaks API v5 of Pagar.me, through which Stone acquires.
//
// Shapes: the official SDK (github.com/pagarme/pagarme-golang-sdk: doc/controllers/orders.md and charges.md, doc/models of
// orders, charges, credit card payments and transactions) for paths, fields and the header idempotency-key; docs.pagar.me
// "Cobrança" for the states of a transaction and "Idempotência" for what a repeated key does within 24 hours. The codes in
// acquirer_return_code are ABECS's since 2026-08-28 ("Códigos de retorno padrão ABECS").
//
// Not checked against the live API: whether a second capture of one charge is taken (it is refused here), whether
// an order that fails with 412 (valid, and failed all the same) may hold a charge (unknown here), whether
// canceled_amount counts a cancellation that is still under way (pending_cancellation is unknown here), what a repeated
// idempotency key is told while the first call is under way (a conflict is unknown here), and how long a code may be.
// One customer owns all cards: the SDK wants a customer in each order, and an order of ours knows none.
//
// It refuses increments, a second capture, a void after a capture, and a void without the charge's id.
package pagarme
