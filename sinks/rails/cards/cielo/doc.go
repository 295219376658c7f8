// Package cielo speaks Cielo's API E-commerce 3.0.
//
// Shapes: the public manual (github.com/DeveloperCielo/developercielo.github.io, cielo-ecommerce.md: "Creating a sale with
// Tokenized Card", "Queries, Capture and Cancellation", "Transactional status", "Cancellation Return Codes", "HTTP Status
// Code"; frozen 2024-09, its successor is docs.cielo.com.br/ecommerce-cielo). A declined sale is 201 with Status 3; a
// malformed one is 400 with a list of {Code, Message}.
//
// Not checked against the live API: whether VoidedAmount of a query counts a cancellation that is still under way; whether
// a sale by token takes a MerchantOrderId of 32 characters at all brands (the manual says 36, older text 50); which return
// codes of a cancellation come with 200 and which with 400; whether a 404 has a body. Where that matters the answer is unknown,
// and asked for.
//
// It refuses increments, a second capture, and a void after a capture (it would give the captured part back).
package cielo
