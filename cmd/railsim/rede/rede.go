// Package rede plays Rede's API e.Rede, version 1, for sales on credit by network token.
//
// Sources. Paths, methods, Basic PV:token, and the members of requests and answers are from Rede's own SDK
// (github.com/DevelopersRede/erede-php, commit f9e6aa0 of 2023-03-19). The codes and texts of declines (101 to 121) and 172 are
// from the list of Rede's codes at ajuda.zoop.com.br ("Captura online - erros transacionais"); 359 and 355 from VTEX's list of known
// issues (github.com/vtexdocs/known-issues, "ERedeRest and E-Rede V2 only allows cancelation when the returnCode is 359").
//
// Not checked, since Rede's manual was not to be had: that a network token's number and month stand where the
// card's would (the SDK has tokenCryptogram beside them), though here the token is a name and never a number; HTTP statuses (200 for approved and declined, 400 for refusals, 401, 404); the codes 21
// to 42, 78 and 360, and on which day a cancel becomes a refund; the 16 characters of a reference and that a declined one is taken too; the members of the webhook, and whether
// there is one for cards at all (the SDK knows a callback URL). Issuers' answers follow the token's last character, as in Cielo's
// sandbox: Rede has no such rule. The version 2 with other authentication is not played.
package rede

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"time"

	"github.com/caudalpay/caudal/cmd/railsim/cards"
	"github.com/caudalpay/caudal/cmd/railsim/faults"
	"github.com/caudalpay/caudal/cmd/railsim/journal"
	"github.com/caudalpay/caudal/cmd/railsim/wire"
)

// Name of the connector, in paths and books.
const Name = "rede"

// Credentials are user and password of Basic.
type Credentials struct {
	PV    string `yaml:"pv"`
	Token string `yaml:"token"`
}

// Server is the acquirer.
type Server struct {
	credentials Credentials
	vault       *cards.Vault
	plan        *faults.Plan
	reference   *regexp.Regexp
}

// New is an acquirer over a vault with unique references, which the caller restores.
func New(credentials Credentials, vault *cards.Vault, plan *faults.Plan) *Server {
	return &Server{credentials, vault, plan, regexp.MustCompile(`^[A-Za-z0-9]{1,16}$`)}
}

// ID is a tid.
func ID(digest string) string { return cards.Digits(digest, 20) }

// Handler serves the API below its root.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/transactions", s.create)
	mux.HandleFunc("GET /v1/transactions", s.search)
	mux.HandleFunc("GET /v1/transactions/{tid}", s.get)
	mux.HandleFunc("PUT /v1/transactions/{tid}", s.capture)
	mux.HandleFunc("POST /v1/transactions/{tid}/refunds", s.refund)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if user != s.credentials.PV || subtle.ConstantTimeCompare([]byte(password), []byte(s.credentials.Token)) != 1 {
			refuse(w, http.StatusUnauthorized, "26", "Unauthorized. Invalid PV or token.")
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func refusal(status int, code, message string) faults.Answer {
	return faults.Answer{Status: status, Body: wire.Marshal(transaction{ReturnCode: code, ReturnMessage: message})}
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	faults.Write(w, refusal(status, code, message))
}

// wrong is the first thing wrong with a request, code "" nothing.
func (s *Server) wrong(q request) (code, message string) {
	switch {
	case q.Reference == "":
		return "41", "reference: Required parameter missing"
	case len(q.Reference) > 16:
		return "39", "reference: Invalid parameter size"
	case !s.reference.MatchString(q.Reference):
		return "40", "reference: Invalid parameter format"
	case q.Amount <= 0:
		return "21", "amount: Invalid parameter format"
	case q.Kind != "" && q.Kind != "credit":
		return "31", "kind: Invalid parameter format"
	case q.Installments < 0 || q.Installments > 12:
		return "30", "installments: Invalid parameter format"
	case q.CardNumber == "":
		return "37", "cardNumber: Required parameter missing"
	case wire.LooksLikePAN(q.CardNumber):
		return "36", "cardNumber: Invalid parameter format" // no card's number enters a simulator
	case q.ExpirationMonth == "" || q.ExpirationYear == "":
		return "33", "expirationMonth or expirationYear: Required parameter missing"
	default:
		return "", ""
	}
}

func (s *Server) create(w http.ResponseWriter, r *http.Request) {
	var q request
	if _, err := wire.Read(w, r, &q); err != nil {
		refuse(w, http.StatusBadRequest, "1", err.Error())
		return
	}
	if code, message := s.wrong(q); code != "" {
		refuse(w, http.StatusBadRequest, code, message)
		return
	}
	call := s.plan.Begin(Name, q.Reference, "authorize")
	if call.Before(w, r) {
		return
	}
	c, err := s.vault.Authorize(cards.Request{
		Reference: q.Reference, Order: r.Header.Get(wire.Header), Token: q.CardNumber, Currency: "BRL", Installments: max(q.Installments, 1),
		AmountMinor: q.Amount, Capture: q.Capture == nil || *q.Capture,
	}, cards.Origin{Operation: call.Operation, Call: call.Call})
	switch {
	case errors.Is(err, cards.ErrTaken):
		call.Answer(w, r, refusal(http.StatusBadRequest, "42", "Reference: Order number already exists."))
		return
	case err != nil:
		refuse(w, http.StatusInternalServerError, "0", err.Error())
		return
	}
	code, message := returned(c.Issuer)
	b := brandOf(c)
	call.Answer(w, r, faults.Answer{Status: http.StatusOK, Effect: true, Body: wire.Marshal(transaction{
		Reference: c.Reference, Tid: c.ID, Nsu: nsu(c), AuthorizationCode: authorizationCode(c), Brand: &b, DateTime: date(c.CreatedAt),
		Amount: call.Amount(c.AskedMinor), Installments: c.Installments, Kind: "credit", ReturnCode: code, ReturnMessage: message,
	})})
}

func (s *Server) capture(w http.ResponseWriter, r *http.Request) {
	s.operate(w, r, "capture", s.vault.Capture, func(c cards.Charge, call *faults.Call) transaction {
		return transaction{
			Reference: c.Reference, Tid: c.ID, Nsu: nsu(c), AuthorizationCode: authorizationCode(c), DateTime: date(c.CapturedAt),
			Amount: call.Amount(c.CapturedMinor), ReturnCode: "00", ReturnMessage: "Success.",
		}
	})
}

func (s *Server) refund(w http.ResponseWriter, r *http.Request) {
	s.operate(w, r, "refund", s.vault.Cancel, func(c cards.Charge, call *faults.Call) transaction {
		last := c.Cancels[len(c.Cancels)-1]
		out := transaction{
			RefundID: refundID(last), Tid: c.ID, Nsu: nsu(c), RefundDateTime: date(last.At), CancelID: refundID(last),
			Amount: call.Amount(last.AmountMinor), ReturnCode: "359", ReturnMessage: "Refund successful.",
		}
		if last.Refund {
			out.ReturnCode, out.ReturnMessage = "360", "Refund request has been successful."
		}
		return out
	})
}

func (s *Server) operate(w http.ResponseWriter, r *http.Request, name string,
	do func(id string, amountMinor int64, from cards.Origin) (cards.Charge, error), show func(cards.Charge, *faults.Call) transaction,
) {
	var q amountOnly
	if _, err := wire.Read(w, r, &q); err != nil {
		refuse(w, http.StatusBadRequest, "1", err.Error())
		return
	}
	if q.Amount == nil || *q.Amount <= 0 {
		refuse(w, http.StatusBadRequest, "21", "amount: Invalid parameter format")
		return
	}
	c, ok := s.vault.Find(r.PathValue("tid"))
	if !ok {
		refuse(w, http.StatusNotFound, "78", "Transaction does not exist.")
		return
	}
	call := s.plan.Begin(Name, c.Reference, name)
	if call.Before(w, r) {
		return
	}
	captured := c.CapturedMinor > 0
	c, err := do(c.ID, *q.Amount, cards.Origin{Operation: call.Operation, Call: call.Call})
	switch {
	case errors.Is(err, cards.ErrState) && name == "capture" && captured:
		call.Answer(w, r, refusal(http.StatusBadRequest, "172", "Transaction already captured."))
	case errors.Is(err, cards.ErrState):
		call.Answer(w, r, refusal(http.StatusBadRequest, "355", "Transaction already cancelled."))
	case errors.Is(err, cards.ErrAmount):
		call.Answer(w, r, refusal(http.StatusBadRequest, "21", "amount: Invalid value"))
	case err != nil:
		refuse(w, http.StatusInternalServerError, "0", err.Error())
	default:
		call.Answer(w, r, faults.Answer{Status: http.StatusOK, Body: wire.Marshal(show(c, call)), Effect: true})
	}
}

func (s *Server) get(w http.ResponseWriter, r *http.Request) {
	c, ok := s.vault.Find(r.PathValue("tid"))
	if !ok {
		refuse(w, http.StatusNotFound, "78", "Transaction does not exist.")
		return
	}
	s.query(w, r, c.Reference)
}

func (s *Server) search(w http.ResponseWriter, r *http.Request) {
	reference := r.URL.Query().Get("reference")
	if reference == "" {
		refuse(w, http.StatusBadRequest, "41", "reference: Required parameter missing")
		return
	}
	s.query(w, r, reference)
}

// query tells of a reference, of which there is one charge at most.
func (s *Server) query(w http.ResponseWriter, r *http.Request, reference string) {
	call := s.plan.Begin(Name, reference, "query")
	if call.Before(w, r) {
		return
	}
	all := s.vault.ByReference(reference)
	if len(all) == 0 {
		call.Answer(w, r, refusal(http.StatusNotFound, "78", "Transaction does not exist."))
		return
	}
	call.Answer(w, r, faults.Answer{Status: http.StatusOK, Body: wire.Marshal(show(all[0], s.credentials.PV, time.Now(), call.Amount))})
}

// Webhook is the notification of an entry.
func (s *Server) Webhook(e journal.Entry, lie faults.Kind, wrong func(int64) int64) (body []byte, ok bool) {
	var c cards.Charge
	if json.Unmarshal(e.State, &c) != nil {
		return nil, false // not ours
	}
	if e.Kind == journal.Disputed {
		return s.contested(c, lie, wrong)
	}
	n := notification{
		CompanyNumber: s.credentials.PV, Events: []string{"PV.UPDATE_TRANSACTION"},
		Data: note(c),
	}
	switch lie {
	case faults.HookLieUnknown:
		n.Data.ID, n.Data.Reference = ID(cards.Digest(0, Name, c.ID, 0, "unknown")), "unknown"
	case faults.HookLieAmount:
		n.Data.Amount = wrong(n.Data.Amount)
	case faults.HookLieState:
		switch e.Kind {
		case journal.Captured:
			n.Data.Status, n.Data.Amount, n.Data.Refunded = statusPending, c.AskedMinor, 0
		case journal.Voided, journal.Refunded:
			if c.CapturedMinor == 0 {
				n.Data.Status, n.Data.Amount = statusPending, c.AskedMinor
				break
			}
			n.Data.Status, n.Data.Amount, n.Data.Refunded = statusApproved, c.CapturedMinor, 0
		default:
			return nil, false // nothing was before it
		}
	default:
	}
	return wire.Marshal(n), true
}
