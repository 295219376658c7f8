package http

import (
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/valyala/fasthttp"
)

// ErrorID is the stable name of a refusal. It never changes its meaning; docs/errors.md has an entry for each.
type ErrorID string

// The error ids.
const (
	ErrorMalformedRequest    ErrorID = "malformed_request"
	ErrorMalformedJSON       ErrorID = "malformed_json"
	ErrorMissingKey          ErrorID = "missing_idempotency_key"
	ErrorInvalidKey          ErrorID = "invalid_idempotency_key"
	ErrorInvalidParameter    ErrorID = "invalid_parameter"
	ErrorUnauthorized        ErrorID = "unauthorized"
	ErrorNotificationRefused ErrorID = "notification_refused"
	ErrorInsufficientScope   ErrorID = "insufficient_scope"
	ErrorPaymentDeclined     ErrorID = "payment_declined"
	ErrorNotFound            ErrorID = "not_found"
	ErrorAccountUnknown      ErrorID = "account_unknown"
	ErrorPaymentUnknown      ErrorID = "payment_unknown"
	ErrorDisputeUnknown      ErrorID = "dispute_unknown"
	ErrorCardUnknown         ErrorID = "card_unknown"
	ErrorMethodNotAllowed    ErrorID = "method_not_allowed"
	ErrorTimeout             ErrorID = "request_timeout"
	ErrorInFlight            ErrorID = "idempotency_in_flight"
	ErrorRequestDeclined     ErrorID = "request_declined"
	ErrorTooLarge            ErrorID = "payload_too_large"
	ErrorMediaType           ErrorID = "unsupported_media_type"
	ErrorInvalidRequest      ErrorID = "invalid_request"
	ErrorMethodUnavailable   ErrorID = "method_unavailable"
	ErrorIdempotencyConflict ErrorID = "idempotency_conflict"
	ErrorRateLimited         ErrorID = "rate_limited"
	ErrorHeadersTooLarge     ErrorID = "headers_too_large"
	ErrorInternal            ErrorID = "internal_error"
	ErrorBusy                ErrorID = "busy"
	ErrorUnavailable         ErrorID = "unavailable"
	ErrorStoreBehind         ErrorID = "store_behind"
)

const (
	problemMediaType  = "application/problem+json"
	problemTypePrefix = "/errors/"
)

// errorEntry is what docs/errors.md and GET /errors/{id} say about an error id.
type errorEntry struct {
	id      ErrorID
	status  int
	title   string
	meaning string
}

// catalogue lists every error id in the order of its status.
func catalogue() []errorEntry {
	return []errorEntry{
		{ErrorMalformedRequest, fasthttp.StatusBadRequest, "The HTTP request is malformed", "The framing is ambiguous or wrong: Content-Length with Transfer-Encoding, a folded header, a bare line feed, an unknown HTTP version. The connection is closed."},
		{ErrorMalformedJSON, fasthttp.StatusBadRequest, "The body is not one JSON value", "Syntax error, trailing data, a name twice in one object, invalid UTF-8, a lone surrogate, or nesting without end. The violation points at the place."},
		{ErrorMissingKey, fasthttp.StatusBadRequest, "The Idempotency-Key header is missing", "Every write takes an Idempotency-Key of 1 to 255 visible ASCII characters."},
		{ErrorInvalidKey, fasthttp.StatusBadRequest, "The Idempotency-Key header is not usable", "The key is longer than 255 characters, holds something else than visible ASCII, or was sent twice."},
		{ErrorInvalidParameter, fasthttp.StatusBadRequest, "A parameter of the address is not usable", "A query parameter is unknown, malformed or out of range; a cursor that this API did not make."},
		{ErrorUnauthorized, fasthttp.StatusUnauthorized, "No valid key", "Authorization: Bearer with a known key is needed."},
		{ErrorNotificationRefused, fasthttp.StatusUnauthorized, "The notification is not accepted", "A processor's webhook was not shown to be its own. Nothing was recorded. Why is in the metrics of the house, and is not told."},
		{ErrorPaymentDeclined, fasthttp.StatusPaymentRequired, "The payment was declined", "The payment was decided and refused; `reasons` says why, the main reason first. Nothing moved. A repeat gets the same answer."},
		{ErrorInsufficientScope, fasthttp.StatusForbidden, "The key may not do this", "The key is known and lacks the scope that this call needs."},
		{ErrorNotFound, fasthttp.StatusNotFound, "Nothing is here", "No such address, or no such object of this merchant."},
		{ErrorAccountUnknown, fasthttp.StatusNotFound, "The account is unknown", "The account named does not exist, or belongs to somebody else."},
		{ErrorPaymentUnknown, fasthttp.StatusNotFound, "The payment is unknown", "The payment named does not exist, or belongs to somebody else. Of what is told of a dispute also: connector and reference name a dispute of another pay-in."},
		{ErrorDisputeUnknown, fasthttp.StatusNotFound, "The dispute is unknown", "The dispute named does not exist, or belongs to somebody else."},
		{ErrorCardUnknown, fasthttp.StatusNotFound, "The card is unknown", "The card named does not exist, or belongs to somebody else."},
		{ErrorMethodNotAllowed, fasthttp.StatusMethodNotAllowed, "The method is not allowed here", "The Allow header lists what is."},
		{ErrorTimeout, fasthttp.StatusRequestTimeout, "The request did not arrive in time", "Headers and body have to arrive within the read time-out. The connection is closed."},
		{ErrorInFlight, fasthttp.StatusConflict, "The same request is still in flight", "A write with this Idempotency-Key waits for its decision at this moment. Repeat it after the time in Retry-After."},
		{ErrorRequestDeclined, fasthttp.StatusConflict, "The request was declined", "A request that is not a payment was decided and refused; `reasons` says why."},
		{ErrorTooLarge, fasthttp.StatusRequestEntityTooLarge, "The body is too large", "A single write has at most 16 KiB, a batch at most 4 MiB and 1,000 items, a processor's notification at most 64 KiB."},
		{ErrorMediaType, fasthttp.StatusUnsupportedMediaType, "The media type is not supported", "Bodies are application/json; batches may be application/x-ndjson as well. No content coding is taken."},
		{ErrorInvalidRequest, fasthttp.StatusUnprocessableEntity, "The request breaks a rule", "`violations` lists what is wrong, each with the JSON pointer of its place. Nothing was recorded; the key may be used again."},
		{ErrorMethodUnavailable, fasthttp.StatusUnprocessableEntity, "The payment method is not available", "No rail exists for this method and kind. Methods `book` and `cash` settle at once; `card` takes pay-ins and `bank` payouts, where the account's policy has them."},
		{ErrorIdempotencyConflict, fasthttp.StatusUnprocessableEntity, "The key was used for another request", "The same Idempotency-Key of the same account came with another body. Nothing changed. Of a clearing also, under any key: the item is in the books already with other contents; `instance` names it."},
		{ErrorRateLimited, fasthttp.StatusTooManyRequests, "Too many requests", "More notifications of this processor came than are taken in a second. Nothing was recorded. Retry after the time in Retry-After."},
		{ErrorHeadersTooLarge, fasthttp.StatusRequestHeaderFieldsTooLarge, "The headers are too large", "Request line and headers have at most 8 KiB."},
		{ErrorInternal, fasthttp.StatusInternalServerError, "Something broke", "The house is at fault. A retry with the same Idempotency-Key is safe."},
		{ErrorBusy, fasthttp.StatusServiceUnavailable, "The house is busy", "The bounded buffer of commands is full. Nothing was recorded. Retry after the time in Retry-After."},
		{ErrorUnavailable, fasthttp.StatusServiceUnavailable, "The log or the store does not answer", "The command may or may not be recorded: retry with the same Idempotency-Key after the time in Retry-After."},
		{ErrorStoreBehind, fasthttp.StatusServiceUnavailable, "The store has not come that far", "`min_seq` was not reached in time. Retry after the time in Retry-After."},
	}
}

// Violation is one broken rule. Pointer is the JSON pointer into the body (RFC 6901), Parameter a name outside it.
type Violation struct {
	Pointer   *string `json:"pointer,omitzero"`
	Parameter string  `json:"parameter,omitzero"`
	Code      string  `json:"code"`
	Detail    string  `json:"detail"`
}

// Problem is RFC 9457.
type Problem struct {
	Type       string      `json:"type"`
	Title      string      `json:"title"`
	Status     int         `json:"status"`
	Detail     string      `json:"detail,omitzero"`
	Instance   string      `json:"instance,omitzero"`
	Code       ErrorID     `json:"code"`
	Violations []Violation `json:"violations,omitzero"`
	TraceID    string      `json:"trace_id,omitzero"`
}

// DeclinedProblem is a Problem about a decision. It has no trace id: a repeat answers it byte for byte.
type DeclinedProblem struct {
	Problem  `json:",inline"`
	Decision string         `json:"decision"` // declined
	Reasons  []string       `json:"reasons"`  // by precedence, the main one first
	Payment  *PaymentAnswer `json:"payment,omitzero"`
}

func (p *Problem) Error() string { return fmt.Sprintf("%s: %s", p.Code, p.Detail) }

// problems finds a catalogue entry by its id.
type problems map[ErrorID]errorEntry

func newProblems() problems {
	ps := problems{}
	for _, e := range catalogue() {
		ps[e.id] = e
	}
	return ps
}

func (ps problems) make(id ErrorID, detail string, violations ...Violation) *Problem {
	e := ps[id]
	return &Problem{Type: problemTypePrefix + string(id), Title: e.title, Status: e.status, Detail: detail, Code: id, Violations: violations}
}

func encode(v any) []byte {
	b, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		// Views hold nothing that cannot be encoded, apart from text that is not UTF-8, which no decoder lets in.
		return []byte(`{"type":"/errors/internal_error","title":"Something broke","status":500,"code":"internal_error"}`)
	}
	return b
}
