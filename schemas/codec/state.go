package codec

import (
	"github.com/caudalpay/caudal/processors/accounts"
	"github.com/caudalpay/caudal/processors/fraud"
	"github.com/caudalpay/caudal/processors/limits"
	"github.com/caudalpay/caudal/processors/payment"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

// CellBytesMax bounds the O(1) state of an account.
const CellBytesMax = 2048

// EncodeCell writes a row of accounts-table. It refuses a cell above CellBytesMax.
func EncodeCell(c *accounts.Cell) ([]byte, error) {
	b, err := marshal(CellToProto(c))
	if err == nil && len(b) > CellBytesMax {
		return nil, refuse("cell of %d bytes", len(b))
	}
	return b, err
}

// DecodeCell reads a row of accounts-table.
func DecodeCell(b []byte) (accounts.Cell, error) {
	var m paymentsv1.AccountCell
	if err := unmarshal(b, &m); err != nil {
		return accounts.Cell{}, err
	}
	return CellFromProto(&m)
}

// cellParts are a cell message and its parts, in one allocation.
type cellParts struct {
	c           paymentsv1.AccountCell
	limits      paymentsv1.LimitWindows
	fraud       paymentsv1.FraudFeatures
	balances    [4]paymentsv1.Balance
	balanceList [4]*paymentsv1.Balance
}

// CellToProto converts a cell; the message shares the cell's bytes and counters.
func CellToProto(c *accounts.Cell) *paymentsv1.AccountCell {
	p := &cellParts{}
	m := &p.c
	m.Version, m.Tenant, m.Merchant, m.Customer = Version, c.Tenant, c.Merchant, c.Customer
	m.State, m.Balances = accountStateTo(c.State), balancesInto(p.balances[:], p.balanceList[:], c.Balances)
	m.AccountSeq, m.LastAcceptedAtUs = c.Seq, c.LastAcceptedAtUS
	m.OpenHash, m.CustomerAccount = hashBytes(&c.OpenHash), string(c.CustomerAccount)
	m.Card = cardStateTo(c.Card)
	if c.Limits != (limits.Windows{}) {
		l := &p.limits
		l.Day, l.DayUsedMinor, l.Month, l.MonthUsedMinor = c.Limits.Day, c.Limits.DayUsedMinor, c.Limits.Month, c.Limits.MonthUsedMinor
		m.Limits = l
	}
	if c.Fraud != (fraud.Features{}) {
		f := &p.fraud
		f.MinuteBucket, f.MinuteCounts = c.Fraud.MinuteBucket, c.Fraud.MinuteCounts[:]
		f.HourBucket, f.HourCounts = c.Fraud.HourBucket, c.Fraud.HourCounts[:]
		f.DayBucket, f.DayCounts = c.Fraud.DayBucket, c.Fraud.DayCounts[:]
		f.HistoryCount, f.HistorySumMinor, f.HistoryMaxMinor = c.Fraud.HistoryCount, c.Fraud.HistorySumMinor, c.Fraud.HistoryMaxMinor
		m.Fraud = f
	}
	return m
}

// CellFromProto checks the message and converts it.
func CellFromProto(m *paymentsv1.AccountCell) (c accounts.Cell, err error) {
	c = accounts.Cell{
		Tenant: m.GetTenant(), Merchant: m.GetMerchant(), Customer: m.GetCustomer(), Balances: balancesFrom(m.GetBalances()),
		Seq: m.GetAccountSeq(), LastAcceptedAtUS: m.GetLastAcceptedAtUs(),
		Limits: limits.Windows{
			Day: m.GetLimits().GetDay(), DayUsedMinor: m.GetLimits().GetDayUsedMinor(),
			Month: m.GetLimits().GetMonth(), MonthUsedMinor: m.GetLimits().GetMonthUsedMinor(),
		},
	}
	if err = checkVersion("cell", m.GetVersion()); err != nil {
		return accounts.Cell{}, err
	}
	if c.State, err = accountStateFrom(m.GetState()); err != nil {
		return accounts.Cell{}, err
	}
	if c.CustomerAccount, err = accountID(m.GetCustomerAccount(), false); err != nil {
		return accounts.Cell{}, err
	}
	if c.Card, err = cardStateFrom(m.GetCard()); err != nil {
		return accounts.Cell{}, err
	}
	if c.OpenHash, err = hash("open hash", m.GetOpenHash(), false); err != nil {
		return accounts.Cell{}, err
	}
	if c.State != nil && len(c.Balances) != len(c.State.Currencies) {
		return accounts.Cell{}, refuse("%d balances of %d currencies", len(c.Balances), len(c.State.Currencies))
	}
	if f := m.GetFraud(); f != nil {
		if c.Fraud, err = featuresFrom(f); err != nil {
			return accounts.Cell{}, err
		}
	}
	return c, nil
}

func featuresFrom(m *paymentsv1.FraudFeatures) (fraud.Features, error) {
	f := fraud.Features{
		MinuteBucket: m.GetMinuteBucket(), HourBucket: m.GetHourBucket(), DayBucket: m.GetDayBucket(),
		HistoryCount: m.GetHistoryCount(), HistorySumMinor: m.GetHistorySumMinor(), HistoryMaxMinor: m.GetHistoryMaxMinor(),
	}
	if len(m.GetMinuteCounts()) != len(f.MinuteCounts) || len(m.GetHourCounts()) != len(f.HourCounts) ||
		len(m.GetDayCounts()) != len(f.DayCounts) {
		return fraud.Features{}, refuse("rings of %d, %d, %d", len(m.GetMinuteCounts()), len(m.GetHourCounts()), len(m.GetDayCounts()))
	}
	copy(f.MinuteCounts[:], m.GetMinuteCounts())
	copy(f.HourCounts[:], m.GetHourCounts())
	copy(f.DayCounts[:], m.GetDayCounts())
	return f, nil
}

func accountStateTo(s *accounts.AccountState) *paymentsv1.AccountState {
	if s == nil {
		return nil
	}
	return &paymentsv1.AccountState{
		ExternalId: s.ExternalID, Kind: paymentsv1.AccountKind(s.Kind), Status: paymentsv1.AccountStatus(s.Status),
		Currencies: s.Currencies, KycLevel: uint32(s.KYCLevel), OverdraftLimitMinor: s.OverdraftLimitMinor,
		Policy: s.Policy, OpenedAtUs: s.OpenedAtUS,
	}
}

func accountStateFrom(m *paymentsv1.AccountState) (*accounts.AccountState, error) {
	if m == nil {
		return nil, nil //nolint:nilnil // a key without an account
	}
	kind, err := enum[payment.AccountKind](m.GetKind(), paymentsv1.AccountKind_name)
	if err != nil {
		return nil, err
	}
	status, err := enum[accounts.AccountStatus](m.GetStatus(), paymentsv1.AccountStatus_name)
	if err != nil {
		return nil, err
	}
	level, err := small("KYC level", m.GetKycLevel(), 3)
	if err != nil {
		return nil, err
	}
	if err := currenciesFit(m.GetCurrencies()); err != nil {
		return nil, err
	}
	return &accounts.AccountState{
		ExternalID: m.GetExternalId(), Kind: kind, Status: status, Currencies: m.GetCurrencies(), KYCLevel: level,
		OverdraftLimitMinor: m.GetOverdraftLimitMinor(), Policy: m.GetPolicy(), OpenedAtUS: m.GetOpenedAtUs(),
	}, known(m)
}

// EncodePaymentRecord writes a side record of kind "payment".
func EncodePaymentRecord(r *payment.Record) ([]byte, error) { return marshal(PaymentRecordToProto(r)) }

// EncodeSealedPaymentRecord writes a payment record with the sealed data of the request that made it. No stage sees it: it
// waits there for the order that an approval gives.
func EncodeSealedPaymentRecord(r *payment.Record, sealed *paymentsv1.Sealed) ([]byte, error) {
	m := PaymentRecordToProto(r)
	m.Sealed = sealed
	return marshal(m)
}

// SealedOfPaymentRecord is the sealed data that a payment record keeps; nil where it keeps none.
func SealedOfPaymentRecord(b []byte) (*paymentsv1.Sealed, error) {
	var m paymentsv1.PaymentRecord
	if err := unmarshal(b, &m); err != nil {
		return nil, err
	}
	return m.GetSealed(), nil
}

// DecodePaymentRecord reads a side record of kind "payment".
func DecodePaymentRecord(b []byte) (payment.Record, error) {
	var m paymentsv1.PaymentRecord
	if err := unmarshal(b, &m); err != nil {
		return payment.Record{}, err
	}
	return PaymentRecordFromProto(&m)
}

// PaymentRecordToProto converts a payment record.
func PaymentRecordToProto(r *payment.Record) *paymentsv1.PaymentRecord {
	return &paymentsv1.PaymentRecord{
		Version: Version, Kind: paymentsv1.CommandKind(r.Kind), Status: paymentsv1.PaymentStatus(r.Status), BodyHash: r.BodyHash[:],
		FirstOutcome: paymentsv1.Outcome(r.FirstOutcome), FirstStatus: paymentsv1.PaymentStatus(r.FirstStatus),
		FirstReasons: reasonsTo(r.FirstReasons), FirstSeq: r.FirstSeq, CreatedAtUs: r.CreatedAtUS, EffectiveDate: r.EffectiveDate,
		AmountMinor: r.AmountMinor, Currency: r.Currency, TargetAmountMinor: r.TargetAmountMinor, TargetCurrency: r.TargetCurrency,
		FeeMinor: r.FeeMinor, Fx: fxTo(r.FX), LimitAmountMinor: r.LimitAmountMinor, LimitCurrency: r.LimitCurrency,
		LimitDay: r.LimitDay, LimitMonth: r.LimitMonth, Method: r.Method, ToAccount: string(r.ToAccount),
		RelatedPaymentId: string(r.Related), FraudScore: r.FraudScore, RefundedMinor: r.RefundedMinor,
		RefundedTargetMinor: r.RefundedTargetMinor, DeadlineUs: r.DeadlineUS, CounterpartyCountry: r.CounterpartyCountry,
		CounterpartyDigest: r.CounterpartyDigest, Pins: pinsInto(&paymentsv1.Pins{}, &r.Pins), Instrument: r.Instrument,
		ExpiresAtUs: r.ExpiresAtUS, Rail: railTo(r.Rail), Quote: string(r.Quote), QuotedPayment: string(r.QuotedPayment),
		DisputeTaken: r.DisputeTaken, DisputeFeeMinor: r.DisputeFeeMinor, DisputeOccurredAtUs: r.DisputeOccurredAtUS,
		Card: string(r.Card), Financial: r.Financial, LeftMinor: r.LeftMinor, AskedAtUs: r.AskedAtUS,
	}
}

// PaymentRecordFromProto checks the message and converts it.
func PaymentRecordFromProto(m *paymentsv1.PaymentRecord) (payment.Record, error) {
	r := payment.Record{
		FirstSeq: m.GetFirstSeq(), CreatedAtUS: m.GetCreatedAtUs(), EffectiveDate: m.GetEffectiveDate(),
		AmountMinor: m.GetAmountMinor(), Currency: m.GetCurrency(), TargetAmountMinor: m.GetTargetAmountMinor(),
		TargetCurrency: m.GetTargetCurrency(), FeeMinor: m.GetFeeMinor(), LimitAmountMinor: m.GetLimitAmountMinor(),
		LimitCurrency: m.GetLimitCurrency(), LimitDay: m.GetLimitDay(), LimitMonth: m.GetLimitMonth(), Method: m.GetMethod(),
		FraudScore: m.GetFraudScore(), RefundedMinor: m.GetRefundedMinor(), RefundedTargetMinor: m.GetRefundedTargetMinor(),
		DeadlineUS: m.GetDeadlineUs(), CounterpartyCountry: m.GetCounterpartyCountry(), CounterpartyDigest: m.GetCounterpartyDigest(),
		Instrument: m.GetInstrument(), ExpiresAtUS: m.GetExpiresAtUs(), DisputeTaken: m.GetDisputeTaken(), DisputeFeeMinor: m.GetDisputeFeeMinor(),
		Financial: m.GetFinancial(), LeftMinor: m.GetLeftMinor(), AskedAtUS: m.GetAskedAtUs(), DisputeOccurredAtUS: m.GetDisputeOccurredAtUs(),
	}
	if err := checkVersion("payment record", m.GetVersion()); err != nil {
		return payment.Record{}, err
	}
	if err := recordWords(m, &r); err != nil {
		return payment.Record{}, err
	}
	var err error
	if r.BodyHash, err = hash("body hash", m.GetBodyHash(), true); err != nil {
		return payment.Record{}, err
	}
	if r.ToAccount, err = accountID(m.GetToAccount(), false); err != nil {
		return payment.Record{}, err
	}
	if r.Related, err = paymentID(m.GetRelatedPaymentId(), false); err != nil {
		return payment.Record{}, err
	}
	if r.Quote, err = paymentID(m.GetQuote(), false); err != nil {
		return payment.Record{}, err
	}
	if r.QuotedPayment, err = paymentID(m.GetQuotedPayment(), false); err != nil {
		return payment.Record{}, err
	}
	if r.Card, err = cardKey(m.GetCard(), false); err != nil {
		return payment.Record{}, err
	}
	if r.FX, err = fxFrom(m.GetFx()); err != nil {
		return payment.Record{}, err
	}
	if r.Pins, err = pinsFrom(m.GetPins()); err != nil {
		return payment.Record{}, err
	}
	r.Rail, err = railFrom(m.GetRail())
	return r, err
}

func railTo(r *payment.Rail) *paymentsv1.RailState {
	if r == nil {
		return nil
	}
	m := &paymentsv1.RailState{
		Capture: paymentsv1.CaptureMethod(r.Capture), Brand: r.Brand, Installments: uint32(r.Installments),
		Connector: r.Connector, Reference: r.Reference, AuthorizedMinor: r.AuthorizedMinor, CapturedMinor: r.CapturedMinor,
		CapturingMinor: r.CapturingMinor, RefundingMinor: r.RefundingMinor, HoldMinor: r.HoldMinor,
		FeeMinor: r.FeeMinor, FeeReturnedMinor: r.FeeReturnedMinor, Ordered: r.Ordered, Late: r.Late, LateReturned: r.LateReturned, ExpiresAtUs: r.ExpiresAtUS,
		OperationOpen: r.OperationOpen, Closing: r.Closing, Final: r.Final, DisputedMinor: r.DisputedMinor, ReasonCode: r.ReasonCode, LateAtUs: r.LateAtUS,
	}
	if t := r.Terms; t != (payment.RailTerms{}) {
		m.Terms = &paymentsv1.RailTerms{
			AuthorizationTtlUs: t.AuthorizationTTLUS, OverCaptureBp: t.OverCaptureBP, FeeReturned: t.FeeReturned, CurrentRate: t.CurrentRate,
			FeeRatePpm: t.Fee.RatePPM, FeeFixedMinor: t.Fee.FixedMinor, FeeMinMinor: t.Fee.MinMinor, FeeMaxMinor: t.Fee.MaxMinor,
		}
	}
	return m
}

func railFrom(m *paymentsv1.RailState) (*payment.Rail, error) {
	if m == nil {
		return nil, nil //nolint:nilnil // no rail executes it
	}
	capture, err := enum[payment.CaptureMethod](m.GetCapture(), paymentsv1.CaptureMethod_name)
	if err != nil {
		return nil, err
	}
	installments, err := small("installments", m.GetInstallments(), installmentsMax)
	if err != nil {
		return nil, err
	}
	t := m.GetTerms()
	if err := known(t); err != nil {
		return nil, err
	}
	return &payment.Rail{
		Capture: capture, Brand: m.GetBrand(), Installments: installments, Connector: m.GetConnector(), Reference: m.GetReference(),
		AuthorizedMinor: m.GetAuthorizedMinor(), CapturedMinor: m.GetCapturedMinor(), CapturingMinor: m.GetCapturingMinor(),
		RefundingMinor: m.GetRefundingMinor(), HoldMinor: m.GetHoldMinor(), FeeMinor: m.GetFeeMinor(), FeeReturnedMinor: m.GetFeeReturnedMinor(),
		Ordered: m.GetOrdered(), Late: m.GetLate(), LateReturned: m.GetLateReturned(), OperationOpen: m.GetOperationOpen(),
		Closing: m.GetClosing(), Final: m.GetFinal(), ExpiresAtUS: m.GetExpiresAtUs(),
		DisputedMinor: m.GetDisputedMinor(), ReasonCode: m.GetReasonCode(), LateAtUS: m.GetLateAtUs(),
		Terms: payment.RailTerms{
			AuthorizationTTLUS: t.GetAuthorizationTtlUs(), OverCaptureBP: t.GetOverCaptureBp(), FeeReturned: t.GetFeeReturned(),
			CurrentRate: t.GetCurrentRate(), Fee: payment.FeeTerms{
				RatePPM: t.GetFeeRatePpm(), FixedMinor: t.GetFeeFixedMinor(), MinMinor: t.GetFeeMinMinor(), MaxMinor: t.GetFeeMaxMinor(),
			},
		},
	}, known(m)
}

func recordWords(m *paymentsv1.PaymentRecord, r *payment.Record) (err error) {
	if r.Kind, err = enum[payment.Kind](m.GetKind(), paymentsv1.CommandKind_name); err != nil {
		return err
	}
	if r.Kind.Prefix() == "" {
		return refuse("payment record of kind %s", r.Kind)
	}
	if r.Status, err = enum[payment.Status](m.GetStatus(), paymentsv1.PaymentStatus_name); err != nil {
		return err
	}
	if r.FirstStatus, err = enum[payment.Status](m.GetFirstStatus(), paymentsv1.PaymentStatus_name); err != nil {
		return err
	}
	if r.Status == payment.StatusNone || r.FirstStatus == payment.StatusNone {
		return refuse("payment record without a status")
	}
	if r.FirstOutcome, err = enum[payment.Outcome](m.GetFirstOutcome(), paymentsv1.Outcome_name); err != nil {
		return err
	}
	r.FirstReasons, err = reasonsFrom(m.GetFirstReasons())
	return err
}

// EncodeCommandRecord writes a side record of kind "command".
func EncodeCommandRecord(r *accounts.CommandRecord) ([]byte, error) {
	return marshal(CommandRecordToProto(r))
}

// DecodeCommandRecord reads a side record of kind "command".
func DecodeCommandRecord(b []byte) (accounts.CommandRecord, error) {
	var m paymentsv1.CommandRecord
	if err := unmarshal(b, &m); err != nil {
		return accounts.CommandRecord{}, err
	}
	return CommandRecordFromProto(&m)
}

// EncodeLegRecord writes a side record of kind "leg".
func EncodeLegRecord(r *accounts.LegRecord) ([]byte, error) {
	return marshal(&paymentsv1.LegRecord{Version: Version, PayerSeq: r.PayerSeq, ExpiresAtUs: r.ExpiresAtUS})
}

// DecodeLegRecord reads a side record of kind "leg", also of the time when it was a mark.
func DecodeLegRecord(b []byte) (accounts.LegRecord, error) {
	if len(b) == 1 && b[0] == Version {
		return accounts.LegRecord{}, nil
	}
	var m paymentsv1.LegRecord
	if err := unmarshal(b, &m); err != nil {
		return accounts.LegRecord{}, err
	}
	if err := checkVersion("leg record", m.GetVersion()); err != nil {
		return accounts.LegRecord{}, err
	}
	if m.GetExpiresAtUs() < 0 {
		return accounts.LegRecord{}, refuse("leg record that expires at %d", m.GetExpiresAtUs())
	}
	return accounts.LegRecord{PayerSeq: m.GetPayerSeq(), ExpiresAtUS: m.GetExpiresAtUs()}, known(&m)
}

// CommandRecordToProto converts the memory of a request that is not a payment.
func CommandRecordToProto(r *accounts.CommandRecord) *paymentsv1.CommandRecord {
	return &paymentsv1.CommandRecord{
		Version: Version, BodyHash: r.BodyHash[:], FirstOutcome: paymentsv1.Outcome(r.FirstOutcome), FirstReasons: reasonsTo(r.FirstReasons),
		FirstSeq: r.FirstSeq, Status: paymentsv1.PaymentStatus(r.Status), PaymentId: string(r.PaymentID), AcceptedAtUs: r.AcceptedAtUS,
	}
}

// CommandRecordFromProto checks the message and converts it.
func CommandRecordFromProto(m *paymentsv1.CommandRecord) (r accounts.CommandRecord, err error) {
	r = accounts.CommandRecord{FirstSeq: m.GetFirstSeq(), AcceptedAtUS: m.GetAcceptedAtUs()}
	if err = checkVersion("command record", m.GetVersion()); err != nil {
		return accounts.CommandRecord{}, err
	}
	if r.BodyHash, err = hash("body hash", m.GetBodyHash(), true); err != nil {
		return accounts.CommandRecord{}, err
	}
	if r.FirstOutcome, err = enum[payment.Outcome](m.GetFirstOutcome(), paymentsv1.Outcome_name); err != nil {
		return accounts.CommandRecord{}, err
	}
	if r.Status, err = enum[payment.Status](m.GetStatus(), paymentsv1.PaymentStatus_name); err != nil {
		return accounts.CommandRecord{}, err
	}
	if r.FirstReasons, err = reasonsFrom(m.GetFirstReasons()); err != nil {
		return accounts.CommandRecord{}, err
	}
	r.PaymentID, err = paymentID(m.GetPaymentId(), false)
	return r, err
}
