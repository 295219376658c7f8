package codec

import (
	"slices"

	"github.com/caudalpay/caudal/processors/payment"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

// Envelope is what travels with a command and is none of the stages' business.
type Envelope struct {
	Sealed *paymentsv1.Sealed
	Reply  *ReplyAddress // nil: nobody waits
}

// ReplyAddress is where a caller waits.
type ReplyAddress struct {
	Partition int32
	ID        uint64
}

// DecodeCommand reads a record of payments.commands.v1.
func DecodeCommand(b []byte) (payment.Command, Envelope, error) {
	var m paymentsv1.Command
	if err := unmarshal(b, &m); err != nil {
		return payment.Command{}, Envelope{}, err
	}
	return CommandFromProto(&m)
}

// EncodeCommand writes a record of payments.commands.v1.
func EncodeCommand(c *payment.Command, e Envelope) ([]byte, error) {
	return marshal(CommandToProto(c, e))
}

// CommandFromProto checks the message and converts it.
func CommandFromProto(m *paymentsv1.Command) (payment.Command, Envelope, error) {
	c := payment.Command{
		Tenant: m.GetTenant(), Merchant: m.GetMerchant(), Customer: m.GetCustomer(),
		CommandID: m.GetCommandId(), AcceptedAtUS: m.GetAcceptedAtUs(),
	}
	e := Envelope{Sealed: m.GetSealed()}
	if m.ReplyPartition != nil {
		e.Reply = &ReplyAddress{Partition: m.GetReplyPartition(), ID: m.GetReplyId()}
	}
	err := checkVersion("command", m.GetVersion())
	if err == nil {
		c.Kind, err = enum[payment.Kind](m.GetKind(), paymentsv1.CommandKind_name)
	}
	if err == nil {
		err = commandHead(m, &c)
	}
	if err == nil {
		err = commandBody(m, &c)
	}
	if err != nil {
		return payment.Command{}, Envelope{}, err
	}
	return c, e, nil
}

// requested tells the kinds that somebody outside asked for.
func requested(k payment.Kind) bool {
	switch k {
	case payment.KindExpire, payment.KindTick, payment.KindCounterLeg, payment.KindLegResult, payment.KindRailAnswer,
		payment.KindReleaseClaim, payment.KindDispute:
		return false
	default:
		return true
	}
}

// namesPayment tells the kinds that are about a payment.
func namesPayment(k payment.Kind) bool {
	switch k {
	case payment.KindOpenAccount, payment.KindSetKYCLevel, payment.KindReleaseClaim, payment.KindRailAnswer, payment.KindTick,
		payment.KindIssueCard, payment.KindSetCardStatus, payment.KindClearing:
		return false
	default:
		return true
	}
}

func commandHead(m *paymentsv1.Command, c *payment.Command) (err error) {
	tick := c.Kind == payment.KindTick
	if c.AcceptedAtUS <= 0 || c.AcceptedAtUS > TimeMaxUS {
		return refuse("accepted_at %d", c.AcceptedAtUS)
	}
	if len(c.Tenant) > textMax || len(c.Merchant) > textMax || len(c.Customer) > textMax || len(c.CommandID) > textMax {
		return refuse("owner or command id too long")
	}
	if requested(c.Kind) && (c.Tenant == "" || c.Merchant == "") {
		return refuse("%s without an owner", c.Kind)
	}
	if !tick && c.CommandID == "" {
		return refuse("%s without a command id", c.Kind)
	}
	// The customer's key knows which account is meant, where the level of a customer is set, and the card's where its status is.
	known := c.Kind == payment.KindSetKYCLevel || c.Kind == payment.KindSetCardStatus
	if c.Account, err = accountID(m.GetAccount(), !tick && !known); err != nil {
		return err
	}
	if c.PaymentID, err = paymentID(m.GetPaymentId(), namesPayment(c.Kind)); err != nil {
		return err
	}
	if prefix := c.Kind.Prefix(); prefix != "" {
		id, err := paymentID(c.CommandID, true)
		if err != nil {
			return err
		}
		if id.Kind() != c.Kind || (!c.Kind.Operation() && c.Kind != payment.KindDispute && id != c.PaymentID) {
			return refuse("command %s of payment %s", c.CommandID, c.PaymentID)
		}
	}
	if err := cardIDs(c); err != nil {
		return err
	}
	if c.BodyHash, err = hash("body hash", m.GetBodyHash(), requested(c.Kind)); err != nil {
		return err
	}
	c.Pins, err = pinsFrom(m.GetPins())
	return err
}

func commandBody(m *paymentsv1.Command, c *payment.Command) (err error) {
	fits := false
	switch b := m.GetBody().(type) {
	case *paymentsv1.Command_OpenAccount:
		fits = c.Kind == payment.KindOpenAccount
		c.Open, err = openFrom(b.OpenAccount)
	case *paymentsv1.Command_SetKycLevel:
		fits = c.Kind == payment.KindSetKYCLevel
		c.KYCLevel, err = kycLevelFrom(b.SetKycLevel)
	case *paymentsv1.Command_Instruction:
		fits = c.Kind == payment.KindPayIn || c.Kind == payment.KindPayOut || c.Kind == payment.KindTransfer
		c.Instruction, err = instructionFrom(c.Kind, b.Instruction)
	case *paymentsv1.Command_Refund:
		fits = c.Kind == payment.KindRefund
		c.Refund, err = refundFrom(b.Refund)
	case *paymentsv1.Command_Verdict:
		fits = c.Kind == payment.KindApprove || c.Kind == payment.KindDecline
		c.Verdict, err = &payment.Verdict{Actor: b.Verdict.GetActor()}, known(b.Verdict)
	case *paymentsv1.Command_Expire:
		fits = c.Kind == payment.KindExpire
		c.Expire, err = expireFrom(b.Expire)
	case *paymentsv1.Command_Tick:
		fits = c.Kind == payment.KindTick
		c.Tick, err = tickFrom(b.Tick)
	case *paymentsv1.Command_CounterLeg:
		fits = c.Kind == payment.KindCounterLeg
		c.CounterLeg, err = counterLegFrom(b.CounterLeg)
	case *paymentsv1.Command_LegResult:
		fits = c.Kind == payment.KindLegResult
		c.LegResult, err = legResultFrom(b.LegResult)
	case *paymentsv1.Command_RailAnswer:
		fits = c.Kind == payment.KindRailAnswer
		c.RailAnswer, err = railAnswerFrom(b.RailAnswer)
	case *paymentsv1.Command_ReleaseClaim:
		fits = c.Kind == payment.KindReleaseClaim
		c.Release, err = releaseFrom(b.ReleaseClaim)
	case *paymentsv1.Command_Capture:
		fits = c.Kind == payment.KindCapture
		c.Capture, err = captureFrom(b.Capture)
	case *paymentsv1.Command_Void:
		fits = c.Kind == payment.KindVoid
		c.Void, err = &payment.VoidInstruction{}, known(b.Void)
	case *paymentsv1.Command_Increment:
		fits = c.Kind == payment.KindIncrement
		c.Increment, err = incrementFrom(b.Increment)
	default:
		fits, err = commandBodyApart(m, c)
	}
	if err == nil && !fits {
		return refuse("%s with the body %T", c.Kind, m.GetBody())
	}
	return err
}

// commandBodyApart reads what quotes, disputes and cards that pay from accounts have.
func commandBodyApart(m *paymentsv1.Command, c *payment.Command) (fits bool, err error) {
	switch b := m.GetBody().(type) {
	case *paymentsv1.Command_FxQuote:
		fits = c.Kind == payment.KindFXQuote
		c.FXQuote, err = quoteFrom(b.FxQuote)
	case *paymentsv1.Command_Dispute:
		fits = c.Kind == payment.KindDispute
		c.Dispute, err = disputeFrom(b.Dispute)
	case *paymentsv1.Command_DisputeEvidence:
		fits = c.Kind == payment.KindDisputeEvidence
		c.Evidence, err = evidenceFrom(b.DisputeEvidence)
	case *paymentsv1.Command_DisputeAccept:
		fits = c.Kind == payment.KindDisputeAccept
		c.Accept, err = &payment.DisputeAccept{}, known(b.DisputeAccept)
	default:
		fits, err = issuingFrom(m, c)
	}
	return fits, err
}

func openFrom(b *paymentsv1.OpenAccount) (*payment.OpenAccount, error) {
	kind, err := enum[payment.AccountKind](b.GetKind(), paymentsv1.AccountKind_name)
	if err != nil {
		return nil, err
	}
	level, err := small("KYC level", b.GetKycLevel(), 3)
	if err != nil {
		return nil, err
	}
	if err := currenciesFit(b.GetCurrencies()); err != nil {
		return nil, err
	}
	if b.GetOverdraftLimitMinor() < 0 || b.GetExternalId() == "" || len(b.GetExternalId()) > textMax || len(b.GetPolicy()) > textMax {
		return nil, refuse("account to open: overdraft %d, external id or policy", b.GetOverdraftLimitMinor())
	}
	return &payment.OpenAccount{
		ExternalID: b.GetExternalId(), Kind: kind, Currencies: b.GetCurrencies(), KYCLevel: level,
		OverdraftLimitMinor: b.GetOverdraftLimitMinor(), Policy: b.GetPolicy(),
	}, known(b)
}

// currenciesFit holds an account to at most 16 different currencies, so that its cell stays small.
func currenciesFit(list []string) error {
	if len(list) == 0 || len(list) > 16 {
		return refuse("%d currencies", len(list))
	}
	for i, c := range list {
		if !currencyFits(c) {
			return refuse("currency %q", c)
		}
		if slices.Contains(list[:i], c) {
			return refuse("currency %q twice", c)
		}
	}
	return nil
}

func currencyFits(c string) bool {
	return len(c) == 3 && c[0] >= 'A' && c[0] <= 'Z' && c[1] >= 'A' && c[1] <= 'Z' && c[2] >= 'A' && c[2] <= 'Z'
}

// timeFits tells a time that a command may carry; 0: none.
func timeFits(us int64) bool { return us >= 0 && us <= TimeMaxUS }

func kycLevelFrom(b *paymentsv1.SetKycLevel) (*payment.SetKYCLevel, error) {
	level, err := small("KYC level", b.GetKycLevel(), 3)
	if err != nil {
		return nil, err
	}
	return &payment.SetKYCLevel{KYCLevel: level}, known(b)
}

func instructionFrom(kind payment.Kind, b *paymentsv1.Instruction) (*payment.Instruction, error) {
	to, err := accountID(b.GetToAccount(), kind == payment.KindTransfer)
	if err != nil {
		return nil, err
	}
	if b.GetAmountMinor() <= 0 {
		return nil, refuse("amount %d", b.GetAmountMinor())
	}
	if !currencyFits(b.GetCurrency()) || (b.GetTargetCurrency() != "" && !currencyFits(b.GetTargetCurrency())) {
		return nil, refuse("currency %q, target %q", b.GetCurrency(), b.GetTargetCurrency())
	}
	if len(b.GetMethod()) > textMax || len(b.GetInstrument()) > textMax {
		return nil, refuse("method or instrument too long")
	}
	in := &payment.Instruction{
		AmountMinor: b.GetAmountMinor(), Currency: b.GetCurrency(), TargetCurrency: b.GetTargetCurrency(), Method: b.GetMethod(),
		ToAccount: to, Instrument: b.GetInstrument(), EffectiveDate: b.GetEffectiveDate(),
	}
	if in.Counterparty, err = counterpartyFrom(b.GetCounterparty()); err != nil {
		return nil, err
	}
	if in.Card, err = cardFrom(b.GetCard()); err != nil {
		return nil, err
	}
	if in.Quote, err = paymentID(b.GetQuote(), false); err != nil {
		return nil, err
	}
	return in, known(b)
}

func counterpartyFrom(p *paymentsv1.Counterparty) (payment.Counterparty, error) {
	if p == nil {
		return payment.Counterparty{}, nil
	}
	for _, d := range [...][]byte{p.GetDigest(), p.GetNameDigest(), p.GetDocumentDigest(), p.GetAccountDigest()} {
		if len(d) > digestMax {
			return payment.Counterparty{}, refuse("digest of %d bytes", len(d))
		}
	}
	if len(p.GetCountry()) > textMax {
		return payment.Counterparty{}, refuse("country too long")
	}
	return payment.Counterparty{
		Country: p.GetCountry(), Digest: p.GetDigest(), NameDigest: p.GetNameDigest(),
		DocumentDigest: p.GetDocumentDigest(), AccountDigest: p.GetAccountDigest(),
	}, known(p)
}

func cardFrom(b *paymentsv1.Card) (payment.Card, error) {
	if b == nil {
		return payment.Card{}, nil
	}
	capture, err := enum[payment.CaptureMethod](b.GetCapture(), paymentsv1.CaptureMethod_name)
	if err != nil {
		return payment.Card{}, err
	}
	installments, err := small("installments", b.GetInstallments(), installmentsMax)
	if err != nil {
		return payment.Card{}, err
	}
	if len(b.GetBrand()) > textMax {
		return payment.Card{}, refuse("brand too long")
	}
	return payment.Card{Capture: capture, Brand: b.GetBrand(), Installments: installments}, known(b)
}

func captureFrom(b *paymentsv1.CaptureInstruction) (*payment.CaptureInstruction, error) {
	if b.GetAmountMinor() < 0 {
		return nil, refuse("amount %d", b.GetAmountMinor())
	}
	return &payment.CaptureInstruction{AmountMinor: b.GetAmountMinor(), Final: b.GetFinal()}, known(b)
}

func incrementFrom(b *paymentsv1.IncrementInstruction) (*payment.IncrementInstruction, error) {
	if b.GetAmountMinor() <= 0 {
		return nil, refuse("amount %d", b.GetAmountMinor())
	}
	return &payment.IncrementInstruction{AmountMinor: b.GetAmountMinor()}, known(b)
}

func refundFrom(b *paymentsv1.RefundInstruction) (*payment.RefundInstruction, error) {
	if b.GetAmountMinor() < 0 {
		return nil, refuse("amount %d", b.GetAmountMinor())
	}
	return &payment.RefundInstruction{AmountMinor: b.GetAmountMinor()}, known(b)
}

func expireFrom(b *paymentsv1.Expire) (*payment.Expire, error) {
	purpose, err := enum[payment.ExpirePurpose](b.GetPurpose(), paymentsv1.ExpirePurpose_name)
	if err != nil || purpose == payment.ExpireUnknown {
		return nil, refuse("purpose %d", b.GetPurpose())
	}
	return &payment.Expire{Purpose: purpose, DueAtUS: b.GetDueAtUs()}, known(b)
}

func tickFrom(b *paymentsv1.Tick) (*payment.Tick, error) {
	if b.GetMinute() < 0 || b.GetMinute() > TimeMaxUS/60_000_000 {
		return nil, refuse("minute %d", b.GetMinute())
	}
	return &payment.Tick{Minute: b.GetMinute()}, known(b)
}

func counterLegFrom(b *paymentsv1.CounterLeg) (*payment.CounterLeg, error) {
	id, err := paymentID(b.GetTransferId(), true)
	if err != nil {
		return nil, err
	}
	payer, err := accountID(b.GetPayerAccount(), true)
	if err != nil {
		return nil, err
	}
	if b.GetAmountMinor() <= 0 || !currencyFits(b.GetCurrency()) {
		return nil, refuse("counter-leg of %d %q", b.GetAmountMinor(), b.GetCurrency())
	}
	return &payment.CounterLeg{
		TransferID: id, PayerAccount: payer, AmountMinor: b.GetAmountMinor(), Currency: b.GetCurrency(), EffectiveDate: b.GetEffectiveDate(),
		PayerSeq: b.GetPayerSeq(),
	}, known(b)
}

func legResultFrom(b *paymentsv1.LegResult) (*payment.LegResult, error) {
	id, err := paymentID(b.GetTransferId(), true)
	if err != nil {
		return nil, err
	}
	payee, err := accountID(b.GetPayeeAccount(), true)
	if err != nil {
		return nil, err
	}
	reason, err := enum[payment.Reason](b.GetReason(), paymentsv1.Reason_name)
	if err != nil {
		return nil, err
	}
	if b.GetAccepted() != (reason == payment.ReasonNone) {
		return nil, refuse("leg accepted %v, reason %d", b.GetAccepted(), reason)
	}
	return &payment.LegResult{TransferID: id, PayeeAccount: payee, Accepted: b.GetAccepted(), Reason: reason}, known(b)
}

func releaseFrom(b *paymentsv1.ReleaseClaim) (*payment.ReleaseClaim, error) {
	if id := b.GetRefusedCommandId(); id == "" || len(id) > textMax {
		return nil, refuse("release after command %q", id)
	}
	return &payment.ReleaseClaim{RefusedCommandID: b.GetRefusedCommandId()}, known(b)
}

func railAnswerFrom(b *paymentsv1.RailAnswer) (*payment.RailAnswer, error) {
	result, err := enum[payment.RailResult](b.GetResult(), paymentsv1.RailResult_name)
	if err != nil {
		return nil, err
	}
	if b.GetOrderId() == "" || result == payment.RailUnspecified {
		return nil, refuse("answer %d to order %q", result, b.GetOrderId())
	}
	if len(b.GetOrderId()) > textMax || len(b.GetCode()) > textMax || len(b.GetConnector()) > textMax ||
		len(b.GetReference()) > textMax || len(b.GetTid()) > textMax {
		return nil, refuse("answer with an order id, code, connector, reference or tid too long")
	}
	if b.GetAmountMinor() < 0 || !timeFits(b.GetReportedAtUs()) {
		return nil, refuse("answer of %d at %d", b.GetAmountMinor(), b.GetReportedAtUs())
	}
	return &payment.RailAnswer{
		OrderID: b.GetOrderId(), Result: result, Code: b.GetCode(), Connector: b.GetConnector(), Reference: b.GetReference(), TID: b.GetTid(),
		AmountMinor: b.GetAmountMinor(), ReportedAtUS: b.GetReportedAtUs(), Closed: b.GetClosed(),
	}, known(b)
}

// CommandToProto converts a command; the message shares the command's bytes.
func CommandToProto(c *payment.Command, e Envelope) *paymentsv1.Command {
	m := &paymentsv1.Command{
		Version: Version, Kind: paymentsv1.CommandKind(c.Kind), Tenant: c.Tenant, Merchant: c.Merchant, Customer: c.Customer,
		Account: string(c.Account), CommandId: c.CommandID, PaymentId: string(c.PaymentID), AcceptedAtUs: c.AcceptedAtUS,
		BodyHash: hashBytes(&c.BodyHash), Pins: pinsInto(&paymentsv1.Pins{}, &c.Pins), Sealed: e.Sealed,
	}
	if e.Reply != nil {
		m.ReplyPartition, m.ReplyId = &e.Reply.Partition, e.Reply.ID
	}
	switch {
	case c.Open != nil:
		m.Body = &paymentsv1.Command_OpenAccount{OpenAccount: &paymentsv1.OpenAccount{
			ExternalId: c.Open.ExternalID, Kind: paymentsv1.AccountKind(c.Open.Kind), Currencies: c.Open.Currencies,
			KycLevel: uint32(c.Open.KYCLevel), OverdraftLimitMinor: c.Open.OverdraftLimitMinor, Policy: c.Open.Policy,
		}}
	case c.KYCLevel != nil:
		m.Body = &paymentsv1.Command_SetKycLevel{SetKycLevel: &paymentsv1.SetKycLevel{KycLevel: uint32(c.KYCLevel.KYCLevel)}}
	case c.Instruction != nil:
		m.Body = &paymentsv1.Command_Instruction{Instruction: instructionTo(c.Instruction)}
	case c.Refund != nil:
		m.Body = &paymentsv1.Command_Refund{Refund: &paymentsv1.RefundInstruction{AmountMinor: c.Refund.AmountMinor}}
	case c.Verdict != nil:
		m.Body = &paymentsv1.Command_Verdict{Verdict: &paymentsv1.Verdict{Actor: c.Verdict.Actor}}
	case c.Expire != nil:
		m.Body = &paymentsv1.Command_Expire{Expire: &paymentsv1.Expire{
			Purpose: paymentsv1.ExpirePurpose(c.Expire.Purpose), DueAtUs: c.Expire.DueAtUS,
		}}
	case c.Tick != nil:
		m.Body = &paymentsv1.Command_Tick{Tick: &paymentsv1.Tick{Minute: c.Tick.Minute}}
	case c.CounterLeg != nil:
		m.Body = &paymentsv1.Command_CounterLeg{CounterLeg: &paymentsv1.CounterLeg{
			TransferId: string(c.CounterLeg.TransferID), PayerAccount: string(c.CounterLeg.PayerAccount),
			AmountMinor: c.CounterLeg.AmountMinor, Currency: c.CounterLeg.Currency, EffectiveDate: c.CounterLeg.EffectiveDate,
			PayerSeq: c.CounterLeg.PayerSeq,
		}}
	case c.LegResult != nil:
		m.Body = &paymentsv1.Command_LegResult{LegResult: &paymentsv1.LegResult{
			TransferId: string(c.LegResult.TransferID), PayeeAccount: string(c.LegResult.PayeeAccount),
			Accepted: c.LegResult.Accepted, Reason: paymentsv1.Reason(c.LegResult.Reason),
		}}
	case c.Release != nil:
		m.Body = &paymentsv1.Command_ReleaseClaim{ReleaseClaim: &paymentsv1.ReleaseClaim{RefusedCommandId: c.Release.RefusedCommandID}}
	case c.Capture != nil:
		m.Body = &paymentsv1.Command_Capture{Capture: &paymentsv1.CaptureInstruction{AmountMinor: c.Capture.AmountMinor, Final: c.Capture.Final}}
	case c.Void != nil:
		m.Body = &paymentsv1.Command_Void{Void: &paymentsv1.VoidInstruction{}}
	case c.Increment != nil:
		m.Body = &paymentsv1.Command_Increment{Increment: &paymentsv1.IncrementInstruction{AmountMinor: c.Increment.AmountMinor}}
	case c.IssueCard != nil, c.CardStatus != nil, c.CardTransaction != nil, c.Reversal != nil, c.Clearing != nil:
		issuingBody(m, c)
	case c.RailAnswer != nil:
		m.Body = &paymentsv1.Command_RailAnswer{RailAnswer: &paymentsv1.RailAnswer{
			OrderId: c.RailAnswer.OrderID, Result: paymentsv1.RailResult(c.RailAnswer.Result), Code: c.RailAnswer.Code,
			Connector: c.RailAnswer.Connector, Reference: c.RailAnswer.Reference, Tid: c.RailAnswer.TID,
			AmountMinor: c.RailAnswer.AmountMinor, ReportedAtUs: c.RailAnswer.ReportedAtUS, Closed: c.RailAnswer.Closed,
		}}
	case c.FXQuote != nil:
		m.Body = &paymentsv1.Command_FxQuote{FxQuote: &paymentsv1.FxQuote{
			AmountMinor: c.FXQuote.AmountMinor, Currency: c.FXQuote.Currency, TargetCurrency: c.FXQuote.TargetCurrency,
		}}
	default:
		disputeTo(m, c)
	}
	return m
}

func instructionTo(in *payment.Instruction) *paymentsv1.Instruction {
	m := &paymentsv1.Instruction{
		AmountMinor: in.AmountMinor, Currency: in.Currency, TargetCurrency: in.TargetCurrency, Method: in.Method,
		ToAccount: string(in.ToAccount), Instrument: in.Instrument, EffectiveDate: in.EffectiveDate, Quote: string(in.Quote),
	}
	if in.Card != (payment.Card{}) {
		m.Card = &paymentsv1.Card{
			Capture: paymentsv1.CaptureMethod(in.Card.Capture), Brand: in.Card.Brand, Installments: uint32(in.Card.Installments),
		}
	}
	m.Counterparty = counterpartyTo(&in.Counterparty)
	return m
}

func counterpartyTo(p *payment.Counterparty) *paymentsv1.Counterparty {
	if p.Country == "" && len(p.Digest)+len(p.NameDigest)+len(p.DocumentDigest)+len(p.AccountDigest) == 0 {
		return nil
	}
	return &paymentsv1.Counterparty{
		Country: p.Country, Digest: p.Digest, NameDigest: p.NameDigest, DocumentDigest: p.DocumentDigest, AccountDigest: p.AccountDigest,
	}
}
