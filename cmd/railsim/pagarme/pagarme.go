// Package pagarme plays Pagar.me's core API v5 (Stone group), for orders with one payment on credit by a kept card.
//
// Sources. Paths, methods, Basic with the secret key as user, the header idempotency-key and the members of requests and answers
// are from Pagar.me's own SDK (github.com/pagarme/pagarme-golang-sdk, commit 4be2973 of 2023-11-09); the webhook's envelope is from
// docs.pagar.me ("Exemplo de webhook"), the statuses of a charge from its page "Cancelamento Garantido" (pending: authorised and not
// captured), and that a key is good for 24 hours from its page on idempotency.
//
// Not checked: HTTP statuses of refusals (401, 404, 409, 412, 422) and their texts; which members are required; that a repeated
// key with another body is refused (409 here); how statuses of transactions change on partial operations; the codes of ABECS, which
// stand where Pagar.me says acquirer_return_code. Issuers' answers follow the last character of card_id, as in Cielo's sandbox:
// Pagar.me's simulator goes by whole card numbers. Keys do not expire here. It has no split, antifraud, Pix or boleto.
package pagarme

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/caudalpay/caudal/cmd/railsim/cards"
	"github.com/caudalpay/caudal/cmd/railsim/faults"
	"github.com/caudalpay/caudal/cmd/railsim/journal"
	"github.com/caudalpay/caudal/cmd/railsim/wire"
)

// Name of the connector, in paths and books.
const Name = "pagarme"

// Credentials are the user of Basic; its password is empty.
type Credentials struct {
	SecretKey string `yaml:"secret_key"`
	Webhook   string `yaml:"webhook"` // user:password of HTTP Basic
}

// Server is the acquirer.
type Server struct {
	credentials Credentials
	vault       *cards.Vault
	plan        *faults.Plan
}

// New is an acquirer over a vault, which the caller restores.
func New(credentials Credentials, vault *cards.Vault, plan *faults.Plan) *Server {
	return &Server{credentials, vault, plan}
}

// ID is a charge's.
func ID(digest string) string { return "ch_" + digest[:16] }

// Handler serves the API below its root.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /core/v5/orders", s.create)
	mux.HandleFunc("GET /core/v5/orders", s.search)
	mux.HandleFunc("GET /core/v5/charges/{id}", s.get)
	mux.HandleFunc("POST /core/v5/charges/{id}/capture", s.capture)
	mux.HandleFunc("DELETE /core/v5/charges/{id}", s.cancel)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, _, _ := r.BasicAuth()
		if subtle.ConstantTimeCompare([]byte(user), []byte(s.credentials.SecretKey)) != 1 {
			refuse(w, http.StatusUnauthorized, "Authorization has been denied for this request.")
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func refusal(status int, message string) faults.Answer {
	return faults.Answer{Status: status, Body: wire.Marshal(failure{Message: message})}
}

func refuse(w http.ResponseWriter, status int, message string) {
	faults.Write(w, refusal(status, message))
}

func invalid(w http.ResponseWriter, member, why string) {
	faults.Write(w, faults.Answer{Status: http.StatusUnprocessableEntity, Body: wire.Marshal(failure{
		Message: "The request is invalid.", Errors: map[string][]string{"order." + member: {why}},
	})})
}

// amountMax is far above any order, and low enough that sums of items stay in int64.
const amountMax = 1_000_000_000_000

// sum is the amount of an order, 0 where its items make none.
func sum(items []item) int64 {
	total := int64(0)
	for _, i := range items {
		if i.Amount <= 0 || i.Quantity <= 0 || i.Amount > amountMax || i.Quantity > 1_000 || total > amountMax {
			return 0
		}
		total += i.Amount * i.Quantity
	}
	return total
}

// wrong is the first thing wrong with a request, and where; empty: nothing.
func wrong(q request) (member, why string) {
	switch {
	case q.Code == "" || len(q.Code) > 52:
		return "code", "The code field has 1 to 52 characters."
	case sum(q.Items) == 0:
		return "items", "The items field needs amounts and quantities above zero."
	case (q.Customer == nil) == (q.CustomerID == ""):
		return "customer", "The customer or the customer_id field is required."
	case q.Currency != "" && q.Currency != "BRL":
		return "currency", "The currency field is BRL."
	case len(q.Payments) != 1:
		return "payments", "The payments field has one element here."
	}
	p := q.Payments[0]
	switch {
	case p.PaymentMethod != "credit_card":
		return "payments[0].payment_method", "The payment_method field is credit_card here."
	case p.Amount != nil && *p.Amount != sum(q.Items):
		return "payments[0].amount", "The amount field is not the sum of the items."
	case p.CreditCard == nil:
		return "payments[0].credit_card", "The credit_card field is required."
	case (p.CreditCard.CardID == "") == (p.CreditCard.CardToken == ""):
		return "payments[0].credit_card.card_id", "The card_id or the card_token field is required."
	case wire.LooksLikePAN(p.CreditCard.CardID + p.CreditCard.CardToken):
		return "payments[0].credit_card.card_id", "The card_id field is no card number."
	case p.CreditCard.Installments < 0 || p.CreditCard.Installments > 24:
		return "payments[0].credit_card.installments", "The installments field is 1 to 24."
	}
	switch p.CreditCard.OperationType {
	case "", "auth_and_capture", "auth_only":
		return "", ""
	default:
		return "payments[0].credit_card.operation_type", "The operation_type field is auth_and_capture or auth_only."
	}
}

func captures(c *creditCard) bool {
	if c.OperationType != "" {
		return c.OperationType == "auth_and_capture"
	}
	return c.Capture == nil || *c.Capture
}

// keyed is the origin of a call with an idempotency key; the key is good for one operation on one thing.
func keyed(r *http.Request, call *faults.Call, body []byte, answer func(cards.Charge) []byte) cards.Origin {
	from := cards.Origin{Operation: call.Operation, Call: call.Call}
	if key := r.Header.Get("Idempotency-Key"); key != "" {
		sum := sha256.Sum256(body)
		from.Key, from.Digest = r.Method+" "+r.URL.Path+" "+key, hex.EncodeToString(sum[:])
		from.Answer = func(c cards.Charge) (int, []byte) { return http.StatusOK, answer(c) }
	}
	return from
}

// repeated answers a key that was answered before.
func (s *Server) repeated(w http.ResponseWriter, r *http.Request, call *faults.Call, from cards.Origin) {
	again, _ := s.vault.Repeat(from.Key)
	if again.Digest != from.Digest {
		call.Answer(w, r, refusal(http.StatusConflict, "The idempotency key was used with another request."))
		return
	}
	call.Answer(w, r, faults.Answer{Status: again.Status, Body: again.Body})
}

func truth(amountMinor int64) int64 { return amountMinor }

func (s *Server) create(w http.ResponseWriter, r *http.Request) {
	var q request
	body, err := wire.Read(w, r, &q)
	if err != nil {
		refuse(w, http.StatusUnprocessableEntity, "The request is invalid: "+err.Error())
		return
	}
	if member, why := wrong(q); member != "" {
		invalid(w, member, why)
		return
	}
	call := s.plan.Begin(Name, q.Code, "authorize")
	if call.Before(w, r) {
		return
	}
	from := keyed(r, call, body, func(c cards.Charge) []byte { return wire.Marshal(showOrder(c, remember(c), truth)) })
	p := q.Payments[0].CreditCard
	c, err := s.vault.Authorize(cards.Request{
		Reference: q.Code, Order: r.Header.Get(wire.Header), Token: p.CardID + p.CardToken, Currency: "BRL", Installments: max(p.Installments, 1),
		AmountMinor: sum(q.Items), Capture: captures(p),
		Extra: wire.Marshal(extra{Items: q.Items, Metadata: q.Metadata, Closed: q.Closed == nil || *q.Closed}),
	}, from)
	switch {
	case errors.Is(err, cards.ErrRepeated):
		s.repeated(w, r, call, from)
	case err != nil:
		refuse(w, http.StatusInternalServerError, err.Error())
	default:
		call.Answer(w, r, faults.Answer{Status: http.StatusOK, Body: wire.Marshal(tellOrder(c, call)), Effect: true})
	}
}

// tellOrder and tellCharge are what this call is told.
func tellOrder(c cards.Charge, call *faults.Call) order {
	out := showOrder(c, remember(c), call.Amount)
	if call.Unfinished() {
		out.Status = processing
		unfinished(&out.Charges[0])
	}
	return out
}

func tellCharge(c cards.Charge, call *faults.Call) charge {
	out := showCharge(c, remember(c), call.Amount)
	if call.Unfinished() {
		unfinished(&out)
	}
	return out
}

const processing = "processing"

func unfinished(c *charge) {
	c.Status, c.PaidAmount, c.PaidAt, c.CanceledAmount, c.CanceledAt = processing, 0, "", 0, ""
	t := &c.LastTransaction
	t.Status, t.Success, t.AcquirerAuthCode, t.AcquirerMessage, t.AcquirerReturnCode = processing, false, "", "", ""
	if c.Order != nil {
		c.Order.Status = processing
	}
}

// remember is what was told of an order when it was made.
func remember(c cards.Charge) extra {
	var x extra
	if err := json.Unmarshal(c.Extra, &x); err != nil {
		x = extra{} // a charge of another version of this program
	}
	x.OrderID = "or_" + digest(c, "order")[:16]
	return x
}

func (s *Server) capture(w http.ResponseWriter, r *http.Request) {
	s.operate(w, r, "capture", s.vault.Capture, "This charge can not be captured.")
}

func (s *Server) cancel(w http.ResponseWriter, r *http.Request) {
	s.operate(w, r, "cancel", s.vault.Cancel, "This charge can not be canceled.")
}

func (s *Server) operate(w http.ResponseWriter, r *http.Request, name string,
	do func(id string, amountMinor int64, from cards.Origin) (cards.Charge, error), state string,
) {
	var q captureRequest
	var body []byte
	if r.ContentLength != 0 { // the body may be left out
		var err error
		if body, err = wire.Read(w, r, &q); err != nil {
			refuse(w, http.StatusUnprocessableEntity, "The request is invalid: "+err.Error())
			return
		}
	}
	amountMinor := int64(0)
	if q.Amount != nil {
		if amountMinor = *q.Amount; amountMinor <= 0 {
			refuse(w, http.StatusUnprocessableEntity, "The request is invalid: /amount: above zero")
			return
		}
	}
	c, ok := s.vault.Find(r.PathValue("id"))
	if !ok {
		refuse(w, http.StatusNotFound, "Charge not found.")
		return
	}
	call := s.plan.Begin(Name, c.Reference, name)
	if call.Before(w, r) {
		return
	}
	from := keyed(r, call, body, func(c cards.Charge) []byte { return wire.Marshal(showCharge(c, remember(c), truth)) })
	c, err := do(c.ID, amountMinor, from)
	switch {
	case errors.Is(err, cards.ErrRepeated):
		s.repeated(w, r, call, from)
	case errors.Is(err, cards.ErrState):
		call.Answer(w, r, refusal(http.StatusPreconditionFailed, state))
	case errors.Is(err, cards.ErrAmount):
		call.Answer(w, r, refusal(http.StatusPreconditionFailed, "The amount is not available."))
	case err != nil:
		refuse(w, http.StatusInternalServerError, err.Error())
	default:
		call.Answer(w, r, faults.Answer{Status: http.StatusOK, Body: wire.Marshal(tellCharge(c, call)), Effect: true})
	}
}

func (s *Server) get(w http.ResponseWriter, r *http.Request) {
	c, ok := s.vault.Find(r.PathValue("id"))
	if !ok {
		refuse(w, http.StatusNotFound, "Charge not found.")
		return
	}
	call := s.plan.Begin(Name, c.Reference, "query")
	if call.Before(w, r) {
		return
	}
	if c, ok = s.vault.Find(c.ID); !ok { // it may have waited
		refuse(w, http.StatusNotFound, "Charge not found.")
		return
	}
	call.Answer(w, r, faults.Answer{Status: http.StatusOK, Body: wire.Marshal(tellCharge(c, call))})
}

func (s *Server) search(w http.ResponseWriter, r *http.Request) {
	code := r.URL.Query().Get("code")
	if code == "" {
		invalid(w, "code", "The code field is required here.")
		return
	}
	call := s.plan.Begin(Name, code, "search")
	if call.Before(w, r) {
		return
	}
	out := listed{Data: []order{}}
	for _, c := range s.vault.ByReference(code) {
		out.Data = append([]order{showOrder(c, remember(c), call.Amount)}, out.Data...) // newest first
	}
	out.Paging.Total = len(out.Data)
	call.Answer(w, r, faults.Answer{Status: http.StatusOK, Body: wire.Marshal(out)})
}

func eventType(c cards.Charge, kind journal.Kind) string {
	if kind == journal.Disputed {
		return "charge.chargedback"
	}
	switch c.Status() {
	case cards.StatusDenied:
		return "charge.payment_failed"
	case cards.StatusAuthorized:
		return "charge.pending"
	case cards.StatusCaptured:
		if len(c.Cancels) > 0 {
			return "charge.partial_canceled"
		}
		return "charge.paid"
	default:
		return "charge.refunded"
	}
}

// Webhook is the event of an entry.
func (s *Server) Webhook(e journal.Entry, lie faults.Kind, wrong func(int64) int64) (body []byte, ok bool) {
	var c cards.Charge
	if json.Unmarshal(e.State, &c) != nil {
		return nil, false // not ours
	}
	if e.Kind == journal.Disputed && lie == faults.HookLieState { // a charge has one such stage
		return nil, false
	}
	amount := truth
	switch lie {
	case faults.HookLieUnknown:
		c.ID = ID(cards.Digest(0, Name, c.ID, 0, "unknown"))
	case faults.HookLieAmount:
		amount = wrong
	case faults.HookLieState:
		switch e.Kind {
		case journal.Captured: // as if it were only authorised
			c.CapturedMinor, c.AutoCapture, c.LastOperation = 0, false, "authorize"
		case journal.Voided, journal.Refunded: // as if nothing were given back
			c.VoidedMinor, c.RefundedMinor, c.Cancels, c.LastOperation = 0, 0, nil, "authorize"
		default:
			return nil, false // nothing was before it
		}
	default:
	}
	data := showCharge(c, remember(c), amount)
	id := "hook_" + cards.Digest(0, Name, e.Reference, e.Event, string(lie))[:16]
	return wire.Marshal(event{
		ID: id, Account: account{"acc_simulator", "simulator"}, Type: eventType(c, e.Kind), CreatedAt: date(e.At), Data: data,
	}), true
}
