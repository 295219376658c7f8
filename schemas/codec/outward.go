package codec

import (
	"github.com/caudalpay/caudal/processors/accounts"
	"github.com/caudalpay/caudal/processors/payment"
	directoryv1 "github.com/caudalpay/caudal/schemas/directory/v1"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	railsv1 "github.com/caudalpay/caudal/schemas/rails/v1"
)

// EncodeDirectoryEntry writes a row of accounts.directory; its key is the account.
func EncodeDirectoryEntry(e *accounts.DirectoryEntry) ([]byte, error) {
	return marshal(&directoryv1.AccountEntry{
		Version: Version, Tenant: e.Tenant, Merchant: e.Merchant, Customer: e.Customer,
		State: accountStateTo(&e.State), AccountSeq: e.AccountSeq,
	})
}

// DecodeDirectoryEntry reads a row of accounts.directory.
func DecodeDirectoryEntry(key string, b []byte) (accounts.DirectoryEntry, error) {
	var m directoryv1.AccountEntry
	if err := unmarshal(b, &m); err != nil {
		return accounts.DirectoryEntry{}, err
	}
	if err := checkVersion("directory entry", m.GetVersion()); err != nil {
		return accounts.DirectoryEntry{}, err
	}
	id, err := accountID(key, true)
	if err != nil {
		return accounts.DirectoryEntry{}, err
	}
	state, err := accountStateFrom(m.GetState())
	if err != nil {
		return accounts.DirectoryEntry{}, err
	}
	if state == nil {
		return accounts.DirectoryEntry{}, refuse("directory entry without a state")
	}
	return accounts.DirectoryEntry{
		Account: id, Tenant: m.GetTenant(), Merchant: m.GetMerchant(), Customer: m.GetCustomer(), State: *state, AccountSeq: m.GetAccountSeq(),
	}, nil
}

// EncodeOrder writes a record of rails.orders.v1.
func EncodeOrder(o *accounts.Order, sealed *paymentsv1.Sealed) ([]byte, error) {
	return marshal(&railsv1.Order{
		Version: Version, OrderId: o.OrderID, Kind: railsv1.OrderKind(o.Kind), Method: o.Method, Tenant: o.Tenant, Merchant: o.Merchant,
		Account: string(o.Account), PaymentId: string(o.PaymentID), AmountMinor: o.AmountMinor, Currency: o.Currency,
		Instrument: o.Instrument, Sealed: sealed, DeadlineUs: o.DeadlineUS, Connector: o.Connector, Reference: o.Reference,
		Brand: o.Brand, Installments: uint32(o.Installments), Final: o.Final, OrderedAtUs: o.OrderedAtUS, LateAtUs: o.LateAtUS,
	})
}

// DecodeOrder reads a record of rails.orders.v1.
func DecodeOrder(b []byte) (accounts.Order, *paymentsv1.Sealed, error) {
	var m railsv1.Order
	if err := unmarshal(b, &m); err != nil {
		return accounts.Order{}, nil, err
	}
	o := accounts.Order{
		OrderID: m.GetOrderId(), Method: m.GetMethod(), Tenant: m.GetTenant(), Merchant: m.GetMerchant(),
		AmountMinor: m.GetAmountMinor(), Currency: m.GetCurrency(), Instrument: m.GetInstrument(), DeadlineUS: m.GetDeadlineUs(),
		Connector: m.GetConnector(), Reference: m.GetReference(), Brand: m.GetBrand(), Final: m.GetFinal(), OrderedAtUS: m.GetOrderedAtUs(), LateAtUS: m.GetLateAtUs(),
	}
	err := checkVersion("order", m.GetVersion())
	if err == nil {
		o.Kind, err = enum[accounts.OrderKind](m.GetKind(), railsv1.OrderKind_name)
	}
	if err == nil {
		o.Installments, err = small("installments", m.GetInstallments(), installmentsMax)
	}
	if err == nil {
		o.Account, err = accountID(m.GetAccount(), true)
	}
	if err == nil {
		var id payment.ID
		id, err = paymentID(m.GetPaymentId(), true)
		o.PaymentID = id
	}
	if err == nil && (o.OrderID == "" || o.Kind == accounts.OrderKindUnknown || o.AmountMinor <= 0) {
		err = refuse("order %q of kind %d over %d", o.OrderID, o.Kind, o.AmountMinor)
	}
	if err != nil {
		return accounts.Order{}, nil, err
	}
	return o, m.GetSealed(), nil
}
