package clickhouse

import (
	"github.com/ClickHouse/ch-go/proto"

	"github.com/caudalpay/caudal/processors/payment"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/sinks/decisionlog"
)

// facts is a block of payment_facts: decisions, flattened.
type facts struct {
	block
	acceptedAt, createdAt                               *proto.ColDateTime64
	logPartition, commandPartition, fxSpread            proto.ColInt32
	logOffset, commandOffset                            proto.ColInt64
	accountSeq                                          proto.ColUInt64
	tenant, merchant, kind, outcome, status             *word
	customer, account, commandID, paymentID             proto.ColStr
	toAccount, related                                  proto.ColStr
	reasons, ruleHits                                   *proto.ColArr[string]
	ruleWeights                                         *proto.ColArr[uint16]
	effectiveDate                                       proto.ColDate32
	amount, target, fee, limit, refunded, fxRate, fxMid proto.ColInt64
	currency, targetCurrency, limitCurrency             *word
	fxRateScale, fxMidScale                             proto.ColUInt8
	method, relatedStatus                               *word
	fraudScore, postings                                proto.ColUInt16
	policy, fees, rates, rules, blocklist, country      *word
	captured, authorized                                proto.ColInt64
	orderID, railReference                              proto.ColStr
	railCode, connector                                 *word
	card, rrn, quote                                    proto.ColStr
	mcc, acquirer, reasonCode                           *word
	cardAcceptor                                        proto.ColStr
	evidence                                            *proto.ColArr[string]

	words   []string
	weights []uint16
}

func newFacts() *facts {
	f := &facts{
		block: block{table: "payment_facts"}, acceptedAt: newMoment(), createdAt: newMoment(),
		tenant: newWord(), merchant: newWord(), kind: newWord(), outcome: newWord(), status: newWord(),
		reasons: proto.NewArray[string](newWord()), ruleHits: proto.NewArray[string](newWord()),
		ruleWeights: proto.NewArray[uint16](&proto.ColUInt16{}),
		currency:    newWord(), targetCurrency: newWord(), limitCurrency: newWord(), method: newWord(), relatedStatus: newWord(),
		policy: newWord(), fees: newWord(), rates: newWord(), rules: newWord(), blocklist: newWord(), country: newWord(),
		railCode: newWord(), connector: newWord(),
		mcc: newWord(), acquirer: newWord(), reasonCode: newWord(), evidence: proto.NewArray[string](newWord()),
	}
	for _, c := range f.inputs() {
		f.add(c.Name, c.Data)
	}
	return f
}

// inputs are the columns of the table. Their order is that of the appends.
func (f *facts) inputs() proto.Input {
	return proto.Input{
		{Name: "accepted_at", Data: f.acceptedAt},
		{Name: "created_at", Data: f.createdAt},
		{Name: "log_partition", Data: &f.logPartition},
		{Name: "log_offset", Data: &f.logOffset},
		{Name: "tenant", Data: f.tenant},
		{Name: "merchant", Data: f.merchant},
		{Name: "customer", Data: &f.customer},
		{Name: "account", Data: &f.account},
		{Name: "account_seq", Data: &f.accountSeq},
		{Name: "kind", Data: f.kind},
		{Name: "outcome", Data: f.outcome},
		{Name: "status", Data: f.status},
		{Name: "reasons", Data: f.reasons},
		{Name: "command_id", Data: &f.commandID},
		{Name: "payment_id", Data: &f.paymentID},
		{Name: "command_partition", Data: &f.commandPartition},
		{Name: "command_offset", Data: &f.commandOffset},
		{Name: "effective_date", Data: &f.effectiveDate},
		{Name: "amount_minor", Data: &f.amount},
		{Name: "currency", Data: f.currency},
		{Name: "target_amount_minor", Data: &f.target},
		{Name: "target_currency", Data: f.targetCurrency},
		{Name: "fee_minor", Data: &f.fee},
		{Name: "fx_rate_unscaled", Data: &f.fxRate},
		{Name: "fx_rate_scale", Data: &f.fxRateScale},
		{Name: "fx_mid_unscaled", Data: &f.fxMid},
		{Name: "fx_mid_scale", Data: &f.fxMidScale},
		{Name: "fx_spread_bp", Data: &f.fxSpread},
		{Name: "limit_amount_minor", Data: &f.limit},
		{Name: "limit_currency", Data: f.limitCurrency},
		{Name: "method", Data: f.method},
		{Name: "to_account", Data: &f.toAccount},
		{Name: "related_payment_id", Data: &f.related},
		{Name: "related_status", Data: f.relatedStatus},
		{Name: "refunded_minor", Data: &f.refunded},
		{Name: "fraud_score", Data: &f.fraudScore},
		{Name: "rule_hits", Data: f.ruleHits},
		{Name: "rule_weights", Data: f.ruleWeights},
		{Name: "policy", Data: f.policy},
		{Name: "fees", Data: f.fees},
		{Name: "rates", Data: f.rates},
		{Name: "rules", Data: f.rules},
		{Name: "blocklist", Data: f.blocklist},
		{Name: "counterparty_country", Data: f.country},
		{Name: "postings", Data: &f.postings},
		{Name: "captured_minor", Data: &f.captured},
		{Name: "authorized_minor", Data: &f.authorized},
		{Name: "order_id", Data: &f.orderID},
		{Name: "rail_code", Data: f.railCode},
		{Name: "connector", Data: f.connector},
		{Name: "rail_reference", Data: &f.railReference},
		{Name: "card", Data: &f.card},
		{Name: "mcc", Data: f.mcc},
		{Name: "acquirer", Data: f.acquirer},
		{Name: "card_acceptor", Data: &f.cardAcceptor},
		{Name: "rrn", Data: &f.rrn},
		{Name: "reason_code", Data: f.reasonCode},
		{Name: "quote", Data: &f.quote},
		{Name: "evidence", Data: f.evidence},
	}
}

func (f *facts) append(e decisionlog.Entry) {
	f.acceptedAt.AppendRaw(moment(e.GetAcceptedAtUs()))
	f.createdAt.AppendRaw(moment(e.GetCreatedAtUs()))
	f.logPartition.Append(e.Partition)
	f.logOffset.Append(e.Offset)
	f.tenant.Append(e.GetTenant())
	f.merchant.Append(e.GetMerchant())
	f.customer.Append(e.GetCustomer())
	f.account.Append(e.GetAccount())
	f.accountSeq.Append(e.GetAccountSeq())
	f.kind.Append(payment.Kind(e.GetKind()).String())          //nolint:gosec // the enum's numbers fit a byte
	f.outcome.Append(payment.Outcome(e.GetOutcome()).String()) //nolint:gosec // the enum's numbers fit a byte
	f.status.Append(statusWord(e.GetStatus()))
	f.commandID.Append(e.GetCommandId())
	f.paymentID.Append(e.GetPaymentId())
	f.commandPartition.Append(e.GetCommandPartition())
	f.commandOffset.Append(e.GetCommandOffset())
	f.effectiveDate = append(f.effectiveDate, day(e.GetEffectiveDate()))
	f.appendAmounts(e.Decision)
	f.appendReasons(e.Decision)
	f.method.Append(e.GetMethod())
	f.toAccount.Append(e.GetToAccount())
	f.related.Append(e.GetRelatedPaymentId())
	f.relatedStatus.Append(statusWord(e.GetRelatedStatus()))
	f.refunded.Append(e.GetRefundedMinor())
	f.fraudScore.Append(uint16(e.GetFraudScore())) //nolint:gosec // 0 to 1000
	pins := e.GetPins()
	f.policy.Append(pins.GetPolicy())
	f.fees.Append(pins.GetFees())
	f.rates.Append(pins.GetRates())
	f.rules.Append(pins.GetRules())
	f.blocklist.Append(pins.GetBlocklist())
	f.country.Append(e.GetCounterpartyCountry())
	lines := 0
	for _, j := range e.GetJournals() {
		lines += len(j.GetPostings())
	}
	f.postings.Append(uint16(lines))
	f.appendRail(e.Decision)
	f.appendCard(e.Decision)
}

func (f *facts) appendRail(d *paymentsv1.Decision) {
	f.captured.Append(d.GetCapturedMinor())
	f.authorized.Append(d.GetAuthorizedMinor())
	f.orderID.Append(d.GetOrderId())
	f.railCode.Append(d.GetRailCode())
	f.connector.Append(d.GetConnector())
	f.railReference.Append(d.GetRailReference())
}

func (f *facts) appendCard(d *paymentsv1.Decision) {
	f.card.Append(d.GetCard())
	f.mcc.Append(d.GetMcc())
	f.acquirer.Append(d.GetAcquirer())
	f.cardAcceptor.Append(d.GetCardAcceptor())
	f.rrn.Append(d.GetRrn())
	f.reasonCode.Append(d.GetReasonCode())
	f.quote.Append(d.GetQuote())
	f.words = f.words[:0]
	for _, file := range d.GetEvidence() {
		f.words = append(f.words, file.GetKind())
	}
	f.evidence.Append(f.words)
}

func (f *facts) appendAmounts(d *paymentsv1.Decision) {
	f.amount.Append(d.GetAmountMinor())
	f.currency.Append(d.GetCurrency())
	f.target.Append(d.GetTargetAmountMinor())
	f.targetCurrency.Append(d.GetTargetCurrency())
	f.fee.Append(d.GetFeeMinor())
	fx := d.GetFx()
	f.fxRate.Append(fx.GetRateUnscaled())
	f.fxRateScale.Append(uint8(fx.GetRateScale())) //nolint:gosec // at most 18
	f.fxMid.Append(fx.GetMidUnscaled())
	f.fxMidScale.Append(uint8(fx.GetMidScale())) //nolint:gosec // at most 18
	f.fxSpread.Append(fx.GetSpreadBp())
	f.limit.Append(d.GetLimitAmountMinor())
	f.limitCurrency.Append(d.GetLimitCurrency())
}

func (f *facts) appendReasons(d *paymentsv1.Decision) {
	f.words = f.words[:0]
	for _, r := range d.GetReasons() {
		f.words = append(f.words, payment.Reason(r).String()) //nolint:gosec // the enum's numbers fit a byte
	}
	f.reasons.Append(f.words)
	f.words, f.weights = f.words[:0], f.weights[:0]
	for _, hit := range d.GetRuleHits() {
		f.words = append(f.words, hit.GetRule())
		f.weights = append(f.weights, uint16(hit.GetWeight())) //nolint:gosec // 1 to 1000
	}
	f.ruleHits.Append(f.words)
	f.ruleWeights.Append(f.weights)
}

// statusWord is empty where no payment is concerned.
func statusWord(s paymentsv1.PaymentStatus) string {
	if s == paymentsv1.PaymentStatus_PAYMENT_STATUS_UNSPECIFIED {
		return ""
	}
	return payment.Status(s).String() //nolint:gosec // the enum's numbers fit a byte
}
