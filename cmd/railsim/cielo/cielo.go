// Package cielo plays Cielo's API E-commerce 3.0, for sales on credit by card token.
//
// Sources. Paths, headers, members, statuses, error list and the sandbox's outcomes by the card's last digit are from Cielo's
// own manual (github.com/DeveloperCielo/developercielo.github.io, commit a5c3ddc of 2025-02-26, section "Cielo E-commerce") and
// docs.cielo.com.br. A token's last character stands for the card's last digit; a letter is approved.
//
// 200, 201, 400, 401 and 404 are from its pages "HTTP Codes"; that a captured sale is Voided until 23:59 of the day of its
// authorisation, not of its capture, and Refunded afterwards, is from its table of statuses.
//
// Not checked: the body of a 401 (one page says that it has none, another that MerchantKey has a code), which members are echoed
// beside the token, and the order of checks. That an unknown member is refused is the simulator's strictness, with the error code
// 0; Cielo ignores it. Not played: the five seconds between two cancels of one sale; that a capture may be cancelled from the next
// day on only, as another page has it; the 28 days until an authorisation lapses. Cielo signs its notifications with nothing, and
// repeats them three times at intervals of half an hour.
//
// It has no recurrence, no debit, no wallets. Of the statuses it tells 1, 2, 3, 10 and 11, and by the fault "unfinished" 0 and 12.
package cielo

import (
	"crypto/subtle"
	"errors"
	"net/http"
	"regexp"

	"github.com/caudalpay/caudal/cmd/railsim/cards"
	"github.com/caudalpay/caudal/cmd/railsim/faults"
	"github.com/caudalpay/caudal/cmd/railsim/journal"
	"github.com/caudalpay/caudal/cmd/railsim/wire"
)

// Name of the connector, in paths and books.
const Name = "cielo"

// Credentials are the two headers.
type Credentials struct {
	MerchantID  string `yaml:"merchant_id"`
	MerchantKey string `yaml:"merchant_key"`
	// WebhookHeader has WebhookValue in each notification.
	WebhookHeader string `yaml:"webhook_header"`
	WebhookValue  string `yaml:"webhook_value"`
}

// Server is the acquirer.
type Server struct {
	credentials Credentials
	vault       *cards.Vault
	plan        *faults.Plan
	reference   *regexp.Regexp
}

// New is an acquirer over a vault, which the caller restores.
func New(credentials Credentials, vault *cards.Vault, plan *faults.Plan) *Server {
	return &Server{credentials, vault, plan, regexp.MustCompile(`^[A-Za-z0-9]{1,50}$`)}
}

// ID is a PaymentId.
func ID(digest string) string { return cards.UUID(digest) }

// Handler serves the API below its root. A trailing slash of /1/sales/, as the manual writes it, is served too.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /1/sales", s.create)
	mux.HandleFunc("POST /1/sales/{$}", s.create)
	mux.HandleFunc("GET /1/sales", s.search)
	mux.HandleFunc("GET /1/sales/{id}", s.get)
	mux.HandleFunc("PUT /1/sales/{id}/capture", s.capture)
	mux.HandleFunc("PUT /1/sales/{id}/void", s.void)
	mux.HandleFunc("PUT /1/sales/OrderId/{reference}/void", s.voidByReference)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("MerchantId") != s.credentials.MerchantID:
			refuse(w, http.StatusUnauthorized, 115, "The provided MerchantId was not found")
		case subtle.ConstantTimeCompare([]byte(r.Header.Get("MerchantKey")), []byte(s.credentials.MerchantKey)) != 1:
			refuse(w, http.StatusUnauthorized, 132, "MerchantKey is invalid")
		default:
			mux.ServeHTTP(w, r)
		}
	})
}

func refuse(w http.ResponseWriter, status, code int, message string) {
	faults.Write(w, faults.Answer{Status: status, Body: wire.Marshal([]fault{{code, message}})})
}

// wrong is the first thing wrong with a request, code 0 nothing.
func (s *Server) wrong(q request) (code int, message string) {
	p := q.Payment
	switch {
	case q.MerchantOrderID == "":
		return 122, "MerchantOrderId is required"
	case !s.reference.MatchString(q.MerchantOrderID):
		return 107, "OrderId is invalid or does not exists"
	case p == nil:
		return 119, "At least one Payment is required"
	case p.Type == "":
		return 102, "Payment Type is required"
	case p.Type != "CreditCard":
		return 133, "Provider is not supported for this Payment Type"
	case p.Amount <= 0:
		return 108, "Amount must be greater or equal to zero"
	case p.Currency != "" && p.Currency != "BRL":
		return 110, "Invalid Payment Currency"
	case p.Country != "" && p.Country != "BRA":
		return 112, "Invalid Payment Country"
	case p.Installments < 1:
		return 123, "Installments must be greater or equal to one"
	case p.CreditCard == nil:
		return 124, "Credit Card is Required"
	case p.CreditCard.CardToken == "" || wire.LooksLikePAN(p.CreditCard.CardToken):
		return 130, "Could not get Credit Card"
	default:
		return 0, ""
	}
}

func (s *Server) create(w http.ResponseWriter, r *http.Request) {
	var q request
	if _, err := wire.Read(w, r, &q); err != nil {
		refuse(w, http.StatusBadRequest, 0, err.Error())
		return
	}
	if code, message := s.wrong(q); code != 0 {
		refuse(w, http.StatusBadRequest, code, message)
		return
	}
	call := s.plan.Begin(Name, q.MerchantOrderID, "authorize")
	if call.Before(w, r) {
		return
	}
	c, err := s.vault.Authorize(cards.Request{
		Reference: q.MerchantOrderID, Order: r.Header.Get(wire.Header), Token: q.Payment.CreditCard.CardToken, Brand: q.Payment.CreditCard.Brand,
		Currency: "BRL", Installments: q.Payment.Installments, AmountMinor: q.Payment.Amount, Capture: q.Payment.Capture,
	}, cards.Origin{Operation: call.Operation, Call: call.Call})
	if err != nil {
		failed(w, err)
		return
	}
	// A decline is created too: the status says so, not HTTP.
	call.Answer(w, r, faults.Answer{Status: http.StatusCreated, Body: wire.Marshal(tell(c, call)), Effect: true})
}

// failed answers an error that is none of the client's.
func failed(w http.ResponseWriter, err error) {
	refuse(w, http.StatusInternalServerError, 999, err.Error())
}

func (s *Server) capture(w http.ResponseWriter, r *http.Request) {
	s.operate(w, r, operation{
		name: "capture", do: s.vault.Capture, code: "6",
		state: fault{308, "Transaction not available to capture"}, amount: fault{308, "Transaction not available to capture"},
	})
}

func (s *Server) void(w http.ResponseWriter, r *http.Request) {
	s.operate(w, r, operation{
		name: "void", do: s.vault.Cancel, code: "9",
		state: fault{309, "Transaction not available to void"}, amount: fault{312, "Transaction not available to refund"},
	})
}

type operation struct {
	name, code    string
	do            func(id string, amountMinor int64, from cards.Origin) (cards.Charge, error)
	state, amount fault
}

func (s *Server) operate(w http.ResponseWriter, r *http.Request, o operation) {
	if err := wire.ReadNone(w, r); err != nil {
		refuse(w, http.StatusBadRequest, 0, err.Error())
		return
	}
	amountMinor, ok := parseAmount(r.URL.Query().Get("amount"))
	if !ok {
		refuse(w, http.StatusBadRequest, 108, "Amount must be greater or equal to zero")
		return
	}
	c, ok := s.vault.Find(r.PathValue("id"))
	if !ok {
		refuse(w, http.StatusNotFound, 307, "Transaction not found")
		return
	}
	call := s.plan.Begin(Name, c.Reference, o.name)
	if call.Before(w, r) {
		return
	}
	c, err := o.do(c.ID, amountMinor, cards.Origin{Operation: call.Operation, Call: call.Call})
	switch {
	case errors.Is(err, cards.ErrState):
		call.Answer(w, r, faults.Answer{Status: http.StatusBadRequest, Body: wire.Marshal([]fault{o.state})})
	case errors.Is(err, cards.ErrAmount):
		call.Answer(w, r, faults.Answer{Status: http.StatusBadRequest, Body: wire.Marshal([]fault{o.amount})})
	case err != nil:
		failed(w, err)
	default:
		code := o.code
		if o.name == "void" && c.CapturedMinor > 0 {
			code = "0" // as the manual shows it for what was captured
		}
		call.Answer(w, r, faults.Answer{Status: http.StatusOK, Effect: true, Body: wire.Marshal(operated{
			Status: status(c), Tid: tid(c), ProofOfSale: proof(c), AuthorizationCode: authorization(c), ReasonMessage: "Successful",
			ProviderReturnCode: code, ProviderReturnMessage: "Operation Successful", ReturnCode: code, ReturnMessage: "Operation Successful", Links: links(c),
		})})
	}
}

// voidByReference cancels the newest sale of the client's own reference.
func (s *Server) voidByReference(w http.ResponseWriter, r *http.Request) {
	all := s.vault.ByReference(r.PathValue("reference"))
	if len(all) == 0 {
		refuse(w, http.StatusNotFound, 307, "Transaction not found")
		return
	}
	r.SetPathValue("id", all[len(all)-1].ID)
	s.void(w, r)
}

func (s *Server) get(w http.ResponseWriter, r *http.Request) {
	c, ok := s.vault.Find(r.PathValue("id"))
	if !ok {
		refuse(w, http.StatusNotFound, 307, "Transaction not found")
		return
	}
	call := s.plan.Begin(Name, c.Reference, "query")
	if call.Before(w, r) {
		return
	}
	if c, ok = s.vault.Find(c.ID); !ok { // it may have waited
		refuse(w, http.StatusNotFound, 307, "Transaction not found")
		return
	}
	call.Answer(w, r, faults.Answer{Status: http.StatusOK, Body: wire.Marshal(tell(c, call))})
}

// tell is the sale as this call is told it.
func tell(c cards.Charge, call *faults.Call) sale {
	out := show(c, call.Amount)
	if call.Unfinished() {
		p := &out.Payment
		p.Status = call.Either(StatusNotFinished, StatusPending)
		p.ReturnCode, p.ReturnMessage, p.AuthorizationCode, p.CapturedAmount, p.CapturedDate, p.Links = "", "", "", 0, "", p.Links[:1]
	}
	return out
}

func (s *Server) search(w http.ResponseWriter, r *http.Request) {
	reference := r.URL.Query().Get("merchantOrderId")
	if reference == "" {
		refuse(w, http.StatusBadRequest, 122, "MerchantOrderId is required")
		return
	}
	call := s.plan.Begin(Name, reference, "search")
	if call.Before(w, r) {
		return
	}
	out := found{Payment: []foundPayment{}}
	for _, c := range s.vault.ByReference(reference) {
		out.Payment = append([]foundPayment{{c.ID, date(c.CreatedAt)}}, out.Payment...) // newest first
	}
	if len(out.Payment) == 0 {
		call.Answer(w, r, faults.Answer{Status: http.StatusNotFound, Body: wire.Marshal([]fault{{318, "No transaction found"}})})
		return
	}
	call.Answer(w, r, faults.Answer{Status: http.StatusOK, Body: wire.Marshal(out)})
}

// Webhook is the notification of an entry. It tells neither amount nor status, so that a lie of the state before is that a
// cancel was denied (ChangeType 5), and there is no lie of an amount.
func (s *Server) Webhook(e journal.Entry, lie faults.Kind, wrong func(int64) int64) (body []byte, ok bool) {
	if e.Kind == journal.Disputed {
		return contested(e, lie, wrong)
	}
	n := notification{PaymentID: e.Charge, ChangeType: 1}
	switch lie {
	case faults.HookLieAmount:
		return nil, false
	case faults.HookLieUnknown:
		n.PaymentID = ID(cards.Digest(0, Name, e.Charge, 0, "unknown"))
	case faults.HookLieState:
		n.ChangeType = 5
	default:
	}
	return wire.Marshal(n), true
}
