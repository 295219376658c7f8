package codec

import (
	"github.com/caudalpay/caudal/processors/accounts"
	"github.com/caudalpay/caudal/processors/fraud"
	"github.com/caudalpay/caudal/processors/ledger"
	"github.com/caudalpay/caudal/processors/payment"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

// Seal is what the log adds to a decision: its place in the hash chain and the sealed data of its command.
type Seal struct {
	PreviousHash []byte // SHA-256 of the stored bytes of the decision before in this partition; empty for the first
	Sealed       *paymentsv1.Sealed
}

// EncodeDecision writes a record of payments.decisions.v1.
func EncodeDecision(d *accounts.Decision, s Seal) ([]byte, error) {
	return marshal(DecisionToProto(d, s))
}

// DecodeDecision reads a record of payments.decisions.v1.
func DecodeDecision(b []byte) (accounts.Decision, Seal, error) {
	var m paymentsv1.Decision
	if err := unmarshal(b, &m); err != nil {
		return accounts.Decision{}, Seal{}, err
	}
	return DecisionFromProto(&m)
}

// EncodeReply writes a record of ingress.replies.v1: the decision without journals and sealed data.
func EncodeReply(replyID uint64, d *accounts.Decision) ([]byte, error) {
	m := DecisionToProto(d, Seal{})
	m.Journals = nil
	return marshal(&paymentsv1.Reply{Version: Version, ReplyId: replyID, Decision: m})
}

// DecodeReply reads a record of ingress.replies.v1.
func DecodeReply(b []byte) (uint64, accounts.Decision, error) {
	var m paymentsv1.Reply
	if err := unmarshal(b, &m); err != nil {
		return 0, accounts.Decision{}, err
	}
	if err := checkVersion("reply", m.GetVersion()); err != nil {
		return 0, accounts.Decision{}, err
	}
	d, _, err := DecisionFromProto(m.GetDecision())
	return m.GetReplyId(), d, err
}

// decisionParts are a decision message and what nearly every decision has, in one allocation.
type decisionParts struct {
	d        paymentsv1.Decision
	pins     paymentsv1.Pins
	journals [2]paymentsv1.Journal
	postings [8]paymentsv1.Posting
	balances [2]paymentsv1.Balance

	journalList [2]*paymentsv1.Journal
	postingList [8]*paymentsv1.Posting
	balanceList [2]*paymentsv1.Balance
}

// DecisionToProto converts a decision; the message shares the decision's bytes.
func DecisionToProto(d *accounts.Decision, s Seal) *paymentsv1.Decision {
	p := &decisionParts{}
	m := &p.d
	m.Version, m.Kind, m.Outcome = Version, paymentsv1.CommandKind(d.Kind), paymentsv1.Outcome(d.Outcome)
	m.Reasons = reasonsTo(d.Reasons)
	m.Tenant, m.Merchant, m.Customer, m.Account = d.Tenant, d.Merchant, d.Customer, d.Account
	m.CommandId, m.PaymentId = d.CommandID, string(d.PaymentID)
	m.CommandTopic, m.CommandPartition, m.CommandOffset = d.CommandTopic, d.CommandPartition, d.CommandOffset
	m.AccountSeq, m.AcceptedAtUs, m.EffectiveDate = d.AccountSeq, d.AcceptedAtUS, d.EffectiveDate
	m.Status = paymentsv1.PaymentStatus(d.Status)
	m.AmountMinor, m.Currency = d.AmountMinor, d.Currency
	m.TargetAmountMinor, m.TargetCurrency = d.TargetAmountMinor, d.TargetCurrency
	m.FeeMinor, m.Fx = d.FeeMinor, fxTo(d.FX)
	m.LimitAmountMinor, m.LimitCurrency = d.LimitAmountMinor, d.LimitCurrency
	m.Method, m.ToAccount = d.Method, string(d.ToAccount)
	m.RelatedPaymentId, m.RelatedStatus, m.RefundedMinor = string(d.Related), paymentsv1.PaymentStatus(d.RelatedStatus), d.RefundedMinor
	m.FraudScore, m.RuleHits = d.FraudScore, ruleHitsTo(d.RuleHits)
	m.Pins = pinsInto(&p.pins, &d.Pins)
	m.Journals = p.journalsTo(d.Journals)
	m.Balances = balancesInto(p.balances[:], p.balanceList[:], d.Balances)
	m.PreviousHash, m.BodyHash, m.Sealed = s.PreviousHash, hashBytes(&d.BodyHash), s.Sealed
	m.CounterpartyCountry, m.CounterpartyDigest = d.CounterpartyCountry, d.CounterpartyDigest
	m.AccountState = accountStateTo(d.AccountState)
	m.CreatedAtUs, m.Instrument, m.DeadlineUs = d.CreatedAtUS, d.Instrument, d.DeadlineUS
	m.CapturedMinor, m.AuthorizedMinor = d.CapturedMinor, d.AuthorizedMinor
	m.OrderId, m.RailCode, m.Connector, m.RailReference, m.RailTid = d.OrderID, d.RailCode, d.Connector, d.RailReference, d.RailTID
	m.Evidence, m.ReasonCode, m.Quote = filesTo(d.Evidence), d.ReasonCode, string(d.Quote)
	m.Card, m.Mcc, m.Acquirer, m.CardAcceptor, m.Rrn = string(d.Card), d.MCC, d.Acquirer, d.CardAcceptor, d.RRN
	m.CardState = cardStateTo(d.CardState)
	m.RailResult, m.RailAmountMinor, m.GivenOrderId = paymentsv1.RailResult(d.RailResult), d.RailAmountMinor, d.GivenOrderID
	return m
}

// journalsTo fills the prepared parts, or makes new ones where they do not suffice.
func (p *decisionParts) journalsTo(in []ledger.Journal) []*paymentsv1.Journal {
	if len(in) == 0 {
		return nil
	}
	journals, journalList, postings, postingList := p.journals[:], p.journalList[:], p.postings[:], p.postingList[:]
	if len(in) > len(journals) {
		journals, journalList = make([]paymentsv1.Journal, len(in)), make([]*paymentsv1.Journal, len(in))
	}
	lines := 0
	for i := range in {
		lines += len(in[i].Postings)
	}
	if lines > len(postings) {
		postings, postingList = make([]paymentsv1.Posting, lines), make([]*paymentsv1.Posting, lines)
	}
	for i := range in {
		n := len(in[i].Postings)
		for k := range in[i].Postings {
			from, to := &in[i].Postings[k], &postings[k]
			to.Account, to.Currency, to.AmountMinor, to.Layer = from.Account, from.Currency, from.AmountMinor, paymentsv1.Layer(from.Layer)
			postingList[k] = to
		}
		journals[i].Kind, journals[i].Postings = paymentsv1.JournalKind(in[i].Kind), postingList[:n:n]
		journalList[i] = &journals[i]
		postings, postingList = postings[n:], postingList[n:]
	}
	return journalList[:len(in)]
}

func balancesInto(parts []paymentsv1.Balance, list []*paymentsv1.Balance, in []ledger.Balance) []*paymentsv1.Balance {
	if len(in) == 0 {
		return nil
	}
	if len(in) > len(parts) {
		parts, list = make([]paymentsv1.Balance, len(in)), make([]*paymentsv1.Balance, len(in))
	}
	for i := range in {
		to := &parts[i]
		to.Currency, to.PostedMinor, to.HeldMinor, to.IncomingMinor = in[i].Currency, in[i].PostedMinor, in[i].HeldMinor, in[i].IncomingMinor
		list[i] = to
	}
	return list[:len(in)]
}

func ruleHitsTo(in []fraud.Hit) []*paymentsv1.RuleHit {
	if len(in) == 0 {
		return nil
	}
	out := make([]*paymentsv1.RuleHit, len(in))
	for i, h := range in {
		out[i] = &paymentsv1.RuleHit{Rule: h.Rule, Weight: h.Weight, Reason: h.Reason}
	}
	return out
}

// DecisionFromProto checks the message and converts it.
func DecisionFromProto(m *paymentsv1.Decision) (accounts.Decision, Seal, error) {
	d := accounts.Decision{
		Tenant: m.GetTenant(), Merchant: m.GetMerchant(), Customer: m.GetCustomer(), Account: m.GetAccount(), CommandID: m.GetCommandId(),
		CommandTopic: m.GetCommandTopic(), CommandPartition: m.GetCommandPartition(), CommandOffset: m.GetCommandOffset(),
		AccountSeq: m.GetAccountSeq(), AcceptedAtUS: m.GetAcceptedAtUs(), EffectiveDate: m.GetEffectiveDate(),
		AmountMinor: m.GetAmountMinor(), Currency: m.GetCurrency(),
		TargetAmountMinor: m.GetTargetAmountMinor(), TargetCurrency: m.GetTargetCurrency(), FeeMinor: m.GetFeeMinor(),
		LimitAmountMinor: m.GetLimitAmountMinor(), LimitCurrency: m.GetLimitCurrency(), Method: m.GetMethod(),
		RefundedMinor: m.GetRefundedMinor(), FraudScore: m.GetFraudScore(),
		CounterpartyCountry: m.GetCounterpartyCountry(), CounterpartyDigest: m.GetCounterpartyDigest(),
		CreatedAtUS: m.GetCreatedAtUs(), Instrument: m.GetInstrument(), DeadlineUS: m.GetDeadlineUs(),
		CapturedMinor: m.GetCapturedMinor(), AuthorizedMinor: m.GetAuthorizedMinor(),
		OrderID: m.GetOrderId(), RailCode: m.GetRailCode(), Connector: m.GetConnector(), RailReference: m.GetRailReference(), RailTID: m.GetRailTid(),
		MCC: m.GetMcc(), Acquirer: m.GetAcquirer(), CardAcceptor: m.GetCardAcceptor(), RRN: m.GetRrn(), ReasonCode: m.GetReasonCode(),
		RailAmountMinor: m.GetRailAmountMinor(), GivenOrderID: m.GetGivenOrderId(),
	}
	err := checkVersion("decision", m.GetVersion())
	if err == nil {
		err = decisionWords(m, &d)
	}
	if err == nil {
		err = decisionIDs(m, &d)
	}
	if err == nil {
		err = decisionParties(m, &d)
	}
	if err == nil {
		err = decisionBooks(m, &d)
	}
	if _, e := hash("previous hash", m.GetPreviousHash(), false); err == nil && e != nil {
		err = e
	}
	if err != nil {
		return accounts.Decision{}, Seal{}, err
	}
	return d, Seal{PreviousHash: m.GetPreviousHash(), Sealed: m.GetSealed()}, nil
}

func decisionWords(m *paymentsv1.Decision, d *accounts.Decision) (err error) {
	if d.Kind, err = enum[payment.Kind](m.GetKind(), paymentsv1.CommandKind_name); err != nil {
		return err
	}
	if d.Outcome, err = enum[payment.Outcome](m.GetOutcome(), paymentsv1.Outcome_name); err != nil {
		return err
	}
	if d.Kind == payment.KindUnknown || d.Outcome == payment.OutcomeNone {
		return refuse("decision of kind %d, outcome %d", d.Kind, d.Outcome)
	}
	if d.Status, err = enum[payment.Status](m.GetStatus(), paymentsv1.PaymentStatus_name); err != nil {
		return err
	}
	if d.RelatedStatus, err = enum[payment.Status](m.GetRelatedStatus(), paymentsv1.PaymentStatus_name); err != nil {
		return err
	}
	if d.RailResult, err = enum[payment.RailResult](m.GetRailResult(), paymentsv1.RailResult_name); err != nil {
		return err
	}
	d.Reasons, err = reasonsFrom(m.GetReasons())
	return err
}

func decisionIDs(m *paymentsv1.Decision, d *accounts.Decision) (err error) {
	if d.PaymentID, err = paymentID(m.GetPaymentId(), false); err != nil {
		return err
	}
	if d.Related, err = paymentID(m.GetRelatedPaymentId(), false); err != nil {
		return err
	}
	if d.ToAccount, err = accountID(m.GetToAccount(), false); err != nil {
		return err
	}
	if d.Quote, err = paymentID(m.GetQuote(), false); err != nil {
		return err
	}
	if d.Evidence, err = filesFrom(m.GetEvidence()); err != nil {
		return err
	}
	if d.Card, err = cardKey(m.GetCard(), false); err != nil {
		return err
	}
	if d.CardState, err = cardStateFrom(m.GetCardState()); err != nil {
		return err
	}
	d.BodyHash, err = hash("body hash", m.GetBodyHash(), false)
	return err
}

func decisionParties(m *paymentsv1.Decision, d *accounts.Decision) (err error) {
	if d.Pins, err = pinsFrom(m.GetPins()); err != nil {
		return err
	}
	if d.FX, err = fxFrom(m.GetFx()); err != nil {
		return err
	}
	for _, h := range m.GetRuleHits() {
		d.RuleHits = append(d.RuleHits, fraud.Hit{Rule: h.GetRule(), Weight: h.GetWeight(), Reason: h.GetReason()})
	}
	d.AccountState, err = accountStateFrom(m.GetAccountState())
	return err
}

func decisionBooks(m *paymentsv1.Decision, d *accounts.Decision) error {
	for _, j := range m.GetJournals() {
		kind, err := enum[ledger.JournalKind](j.GetKind(), paymentsv1.JournalKind_name)
		if err != nil || kind == 0 {
			return refuse("journal kind %d", j.GetKind())
		}
		journal := ledger.Journal{Kind: kind, Postings: make([]ledger.Posting, len(j.GetPostings()))}
		for i, p := range j.GetPostings() {
			layer, err := enum[ledger.Layer](p.GetLayer(), paymentsv1.Layer_name)
			if err != nil {
				return err
			}
			journal.Postings[i] = ledger.Posting{
				Account: p.GetAccount(), Currency: p.GetCurrency(), AmountMinor: p.GetAmountMinor(), Layer: layer,
			}
		}
		if err := journal.Check(); err != nil {
			return refuse("journal: %v", err)
		}
		d.Journals = append(d.Journals, journal)
	}
	d.Balances = balancesFrom(m.GetBalances())
	return nil
}

func balancesFrom(in []*paymentsv1.Balance) []ledger.Balance {
	if len(in) == 0 {
		return nil
	}
	out := make([]ledger.Balance, len(in))
	for i, b := range in {
		out[i] = ledger.Balance{
			Currency: b.GetCurrency(), PostedMinor: b.GetPostedMinor(), HeldMinor: b.GetHeldMinor(), IncomingMinor: b.GetIncomingMinor(),
		}
	}
	return out
}
