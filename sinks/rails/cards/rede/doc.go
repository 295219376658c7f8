// Package rede speaks e.Rede of Rede (Itaú).
//
// Shapes: the official SDK (github.com/DevelopersRede/erede-php: Service/*, Transaction, Authorization, Capture, Refund,
// Brand, Environment) for paths, fields, Basic PV:token, and the header Transaction-Response: brand-return-opened, with
// which a decline brings the brand's own code. A reference is at most 16 characters and never taken twice. Public
// integrations say that Basic ended on 2026-01-05 in favour of OAuth client credentials on version 2; both work here.
//
// Not checked, since the developer portal is not public: the words of authorization.status (Approved, Denied, Canceled,
// Pending, from integrations), the return codes 42 (reference taken), 78 (no such transaction), 351 to 360
// (refunds), and whether the query of a sale with capture always has its capture. What is not understood is unknown.
// So are the failures of which the published list of return codes does not say that nothing was done: 74 (communication failure),
// 121 (error processing), 122 (sent before), 150 (timeout), 370 and 899 (contact Rede).
// e.Rede has no field for a token of its own vault: it takes a network token with a cryptogram, which a Vault brings.
//
// It refuses increments, a second capture and a void after a capture.
package rede
