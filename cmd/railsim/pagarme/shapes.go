package pagarme

import (
	"time"

	"github.com/caudalpay/caudal/cmd/railsim/cards"
)

// request is POST /core/v5/orders with one payment by a kept card.
type request struct {
	Code             string            `json:"code"`
	Items            []item            `json:"items"`
	Customer         *customer         `json:"customer"`
	CustomerID       string            `json:"customer_id"`
	Payments         []requestPayment  `json:"payments"`
	Currency         string            `json:"currency"`
	Closed           *bool             `json:"closed"`
	AntifraudEnabled *bool             `json:"antifraud_enabled"`
	IP               string            `json:"ip"`
	SessionID        string            `json:"session_id"`
	Metadata         map[string]string `json:"metadata"`
}

type item struct {
	Amount      int64  `json:"amount"` // centavos, of one
	Description string `json:"description"`
	Quantity    int64  `json:"quantity"`
	Code        string `json:"code"`
	Category    string `json:"category"`
}

type customer struct {
	Name         string `json:"name"`
	Email        string `json:"email"`
	Document     string `json:"document"`
	DocumentType string `json:"document_type"`
	Type         string `json:"type"`
	Code         string `json:"code"`
}

type requestPayment struct {
	PaymentMethod string      `json:"payment_method"`
	Amount        *int64      `json:"amount"` // centavos; without it the sum of the items
	CreditCard    *creditCard `json:"credit_card"`
}

type creditCard struct {
	Installments        int    `json:"installments"`
	StatementDescriptor string `json:"statement_descriptor"`
	CardID              string `json:"card_id"`
	CardToken           string `json:"card_token"`
	Capture             *bool  `json:"capture"`
	OperationType       string `json:"operation_type"` // auth_and_capture, auth_only
	Recurrence          bool   `json:"recurrence"`
}

type captureRequest struct {
	Code               string `json:"code"`
	Amount             *int64 `json:"amount"`
	OperationReference string `json:"operation_reference"`
}

// failure is an error answer.
type failure struct {
	Message string              `json:"message"`
	Errors  map[string][]string `json:"errors,omitempty"`
}

type order struct {
	ID        string            `json:"id"`
	Code      string            `json:"code"`
	Amount    int64             `json:"amount"`
	Currency  string            `json:"currency"`
	Closed    bool              `json:"closed"`
	Status    string            `json:"status"`
	Items     []item            `json:"items"`
	Metadata  map[string]string `json:"metadata,omitempty"`
	CreatedAt string            `json:"created_at"`
	UpdatedAt string            `json:"updated_at"`
	Charges   []charge          `json:"charges"`
}

type charge struct {
	ID              string      `json:"id"`
	Code            string      `json:"code"`
	GatewayID       string      `json:"gateway_id"`
	Amount          int64       `json:"amount"`
	PaidAmount      int64       `json:"paid_amount,omitzero"`
	CanceledAmount  int64       `json:"canceled_amount,omitzero"`
	Status          string      `json:"status"`
	Currency        string      `json:"currency"`
	PaymentMethod   string      `json:"payment_method"`
	PaidAt          string      `json:"paid_at,omitempty"`
	CanceledAt      string      `json:"canceled_at,omitempty"`
	CreatedAt       string      `json:"created_at"`
	UpdatedAt       string      `json:"updated_at"`
	Order           *orderShort `json:"order,omitempty"`
	ReasonCode      string      `json:"reason_code,omitempty"` // why its holder contests it
	LastTransaction transaction `json:"last_transaction"`
}

type orderShort struct {
	ID     string `json:"id"`
	Code   string `json:"code"`
	Amount int64  `json:"amount"`
	Status string `json:"status"`
}

type card struct {
	ID string `json:"id"`
}

type transaction struct {
	ID                 string `json:"id"`
	TransactionType    string `json:"transaction_type"`
	GatewayID          string `json:"gateway_id"`
	Amount             int64  `json:"amount"`
	Status             string `json:"status"`
	Success            bool   `json:"success"`
	Installments       int    `json:"installments"`
	OperationType      string `json:"operation_type"`
	AcquirerName       string `json:"acquirer_name"`
	AcquirerTID        string `json:"acquirer_tid"`
	AcquirerNSU        string `json:"acquirer_nsu"`
	AcquirerAuthCode   string `json:"acquirer_auth_code,omitempty"`
	AcquirerMessage    string `json:"acquirer_message"`
	AcquirerReturnCode string `json:"acquirer_return_code"`
	Card               card   `json:"card"`
	CreatedAt          string `json:"created_at"`
	UpdatedAt          string `json:"updated_at"`
}

type listed struct {
	Data   []order `json:"data"`
	Paging paging  `json:"paging"`
}

type paging struct {
	Total int `json:"total"`
}

// event is the webhook.
type event struct {
	ID        string  `json:"id"`
	Account   account `json:"account"`
	Type      string  `json:"type"`
	CreatedAt string  `json:"created_at"`
	Data      charge  `json:"data"`
}

type account struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// extra is what is remembered of an order besides its charge.
type extra struct {
	OrderID  string
	Items    []item
	Metadata map[string]string
	Closed   bool
}

// returned is what the issuer says, for the digits of Cielo's sandbox, in codes of ABECS.
func returned(i cards.Issuer) (code, message string) {
	switch i {
	case cards.NotAuthorized:
		return "05", "Transacao nao autorizada"
	case cards.Expired:
		return "54", "Cartao vencido"
	case cards.Blocked:
		return "62", "Cartao restrito"
	case cards.TimedOut:
		return "91", "Emissor fora do ar"
	case cards.Canceled:
		return "14", "Cartao invalido"
	case cards.Problem:
		return "51", "Saldo insuficiente"
	default:
		return "00", "Transacao aprovada com sucesso"
	}
}

// chargeStatus is the charge's; an order has the same.
func chargeStatus(c cards.Charge) string {
	if c.Disputed() {
		return "chargedback"
	}
	switch c.Status() {
	case cards.StatusDenied:
		return "failed"
	case cards.StatusAuthorized:
		return "pending"
	case cards.StatusCaptured:
		return "paid"
	default:
		return "canceled"
	}
}

func reasonCode(c cards.Charge) string {
	if !c.Disputed() {
		return ""
	}
	return c.Dispute.Reason
}

func transactionStatus(c cards.Charge) string {
	switch c.LastOperation {
	case "capture":
		if c.CapturedMinor < c.AuthorizedMinor {
			return "partial_capture"
		}
		return "captured"
	case "cancel":
		last := c.Cancels[len(c.Cancels)-1]
		status := "voided"
		if last.Refund {
			status = "refunded"
		}
		if c.Status() == cards.StatusCaptured {
			return map[string]string{"voided": "partial_void", "refunded": "partial_refunded"}[status]
		}
		return status
	}
	switch {
	case !c.Issuer.Approves():
		return "not_authorized"
	case c.AutoCapture:
		return "captured"
	default:
		return "authorized_pending_capture"
	}
}

func operationType(c cards.Charge) string {
	switch {
	case c.LastOperation != "authorize":
		return c.LastOperation
	case c.AutoCapture:
		return "auth_and_capture"
	default:
		return "auth_only"
	}
}

func date(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05Z")
}

func digest(c cards.Charge, what string) string { return cards.Digest(0, Name, c.ID, c.Number, what) }

func changed(c cards.Charge) time.Time {
	switch {
	case !c.ClosedAt.IsZero():
		return c.ClosedAt
	case !c.CapturedAt.IsZero():
		return c.CapturedAt
	default:
		return c.CreatedAt
	}
}

// showCharge is the charge as it is told; amount says what is told of a sum.
func showCharge(c cards.Charge, x extra, amount func(int64) int64) charge {
	code, message := returned(c.Issuer)
	out := charge{
		ID: c.ID, Code: c.Reference, GatewayID: cards.UUID(digest(c, "gateway")), Amount: amount(c.AskedMinor), Status: chargeStatus(c), Currency: c.Currency,
		ReasonCode: reasonCode(c), CanceledAmount: c.VoidedMinor + c.RefundedMinor, PaymentMethod: "credit_card", PaidAt: date(c.CapturedAt), CanceledAt: date(c.ClosedAt),
		CreatedAt: date(c.CreatedAt), UpdatedAt: date(changed(c)),
		Order: &orderShort{ID: x.OrderID, Code: c.Reference, Amount: c.AskedMinor, Status: chargeStatus(c)},
		LastTransaction: transaction{
			ID: "tran_" + digest(c, "transaction "+c.LastOperation)[:16], TransactionType: "credit_card", GatewayID: cards.UUID(digest(c, "gateway")),
			Amount: amount(c.LastAmountMinor), Status: transactionStatus(c), Success: c.Issuer.Approves(), Installments: c.Installments,
			OperationType: operationType(c), AcquirerName: "simulator", AcquirerTID: cards.Digits(digest(c, "tid"), 15), AcquirerNSU: cards.Digits(digest(c, "nsu"), 9),
			AcquirerMessage: message, AcquirerReturnCode: code, Card: card{ID: c.Token}, CreatedAt: date(changed(c)), UpdatedAt: date(changed(c)),
		},
	}
	if c.CapturedMinor > 0 {
		out.PaidAmount = amount(c.CapturedMinor)
	}
	if c.Issuer.Approves() {
		out.LastTransaction.AcquirerAuthCode = cards.Digits(digest(c, "authorization"), 6)
	}
	return out
}

func showOrder(c cards.Charge, x extra, amount func(int64) int64) order {
	ch := showCharge(c, x, amount)
	ch.Order = nil // it would hold itself
	return order{
		ID: x.OrderID, Code: c.Reference, Amount: amount(c.AskedMinor), Currency: c.Currency, Closed: x.Closed, Status: chargeStatus(c), Items: x.Items,
		Metadata: x.Metadata, CreatedAt: date(c.CreatedAt), UpdatedAt: date(changed(c)), Charges: []charge{ch},
	}
}
