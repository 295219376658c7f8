package cards

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/caudalpay/caudal/processors/payment"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	railsv1 "github.com/caudalpay/caudal/schemas/rails/v1"
)

// ErrUndecodable: a record is not an order, or an attempt, that this program knows. Waiting does not mend it, and
// skipping it would leave a payment without an answer.
var ErrUndecodable = errors.New("undecodable")

const (
	formatVersion = 1
	methodCard    = "card"
	methodBank    = "bank"
)

// order is what is to be done.
type order struct {
	ID           string
	Operation    Operation
	Method       string
	Tenant       string
	Merchant     string
	Account      string
	PaymentID    string
	AmountMinor  int64
	Currency     string
	Instrument   string
	Brand        string
	Installments uint32
	Connector    string
	Reference    string
	DeadlineUS   int64
	OrderedAtUS  int64
	LateAtUS     int64 // when the latest came late of what its account knew to have come late of the payment, by connectors' time; 0: nothing
	// Sealed names the destination of a payout, until somebody has it.
	Sealed *paymentsv1.Sealed
}

// decodeOrder reads a record of rails.orders.v1. False: it is of another method.
func decodeOrder(b []byte, method string, written time.Time) (order, bool, error) {
	m := new(railsv1.Order)
	if err := proto.Unmarshal(b, m); err != nil {
		return order{}, false, fmt.Errorf("%w order: %w", ErrUndecodable, err)
	}
	if m.GetVersion() != formatVersion {
		return order{}, false, fmt.Errorf("%w order %q: version %d", ErrUndecodable, m.GetOrderId(), m.GetVersion())
	}
	if m.GetMethod() != method {
		return order{}, false, nil
	}
	o := orderFrom(m)
	_, err := payment.ParseAccountID(o.Account)
	if err != nil || o.ID == "" || o.PaymentID == "" || o.AmountMinor <= 0 || len(m.ProtoReflect().GetUnknown()) > 0 {
		return order{}, false, fmt.Errorf("%w order %q", ErrUndecodable, m.GetOrderId())
	}
	if o.OrderedAtUS == 0 {
		o.OrderedAtUS = written.UnixMicro()
	}
	return o, true, nil
}

func orderFrom(m *railsv1.Order) order {
	return order{
		ID: m.GetOrderId(), Operation: operationOf(m.GetKind()), Method: m.GetMethod(), Tenant: m.GetTenant(), Merchant: m.GetMerchant(),
		Account: m.GetAccount(), PaymentID: m.GetPaymentId(), AmountMinor: m.GetAmountMinor(), Currency: m.GetCurrency(),
		Instrument: m.GetInstrument(), Brand: m.GetBrand(), Installments: max(1, m.GetInstallments()),
		Connector: m.GetConnector(), Reference: m.GetReference(), DeadlineUS: m.GetDeadlineUs(), OrderedAtUS: m.GetOrderedAtUs(), LateAtUS: m.GetLateAtUs(),
		Sealed: m.GetSealed(),
	}
}

// orderTo is an order as an attempt keeps it.
func orderTo(o order) *railsv1.Order {
	return &railsv1.Order{
		Version: formatVersion, OrderId: o.ID, Kind: kindOf(o.Operation), Method: o.Method, Tenant: o.Tenant, Merchant: o.Merchant,
		Account: o.Account, PaymentId: o.PaymentID, AmountMinor: o.AmountMinor, Currency: o.Currency, Instrument: o.Instrument,
		Brand: o.Brand, Installments: o.Installments, Connector: o.Connector, Reference: o.Reference,
		DeadlineUs: o.DeadlineUS, OrderedAtUs: o.OrderedAtUS, LateAtUs: o.LateAtUS,
		Sealed: o.Sealed,
	}
}

// operationOf an order. What a method has no port for is refused as unsupported.
func operationOf(k railsv1.OrderKind) Operation {
	switch k {
	case railsv1.OrderKind_ORDER_KIND_AUTHORIZE:
		return OperationAuthorize
	case railsv1.OrderKind_ORDER_KIND_COLLECT:
		return OperationCollect
	case railsv1.OrderKind_ORDER_KIND_CAPTURE:
		return OperationCapture
	case railsv1.OrderKind_ORDER_KIND_VOID:
		return OperationVoid
	case railsv1.OrderKind_ORDER_KIND_RETURN:
		return OperationRefund
	case railsv1.OrderKind_ORDER_KIND_INCREMENT:
		return OperationIncrement
	case railsv1.OrderKind_ORDER_KIND_SEND:
		return OperationSend
	default:
		return OperationUnknown
	}
}

func kindOf(o Operation) railsv1.OrderKind {
	switch o {
	case OperationAuthorize:
		return railsv1.OrderKind_ORDER_KIND_AUTHORIZE
	case OperationCollect:
		return railsv1.OrderKind_ORDER_KIND_COLLECT
	case OperationCapture:
		return railsv1.OrderKind_ORDER_KIND_CAPTURE
	case OperationVoid:
		return railsv1.OrderKind_ORDER_KIND_VOID
	case OperationRefund:
		return railsv1.OrderKind_ORDER_KIND_RETURN
	case OperationIncrement:
		return railsv1.OrderKind_ORDER_KIND_INCREMENT
	case OperationSend:
		return railsv1.OrderKind_ORDER_KIND_SEND
	default:
		return railsv1.OrderKind_ORDER_KIND_UNSPECIFIED
	}
}
