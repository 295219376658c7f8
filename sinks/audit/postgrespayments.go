package audit

import (
	"cmp"
	"fmt"
	"math/big"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/schemas/topics"
)

// pgPaymentKey: an id may be used anew once its record has left, so the month of creation belongs to it.
type pgPaymentKey struct {
	id    string
	month int64
}

// pgPayment is the row of a payment, or of an operation on one: what the decision that made it says, and the latest state.
type pgPayment struct {
	made     *paymentsv1.Decision
	place    [4]string // created_offset, created_written_at, command_offset, command_partition
	status   paymentsv1.PaymentStatus
	reasons  []paymentsv1.Reason
	refunded int64
	captured int64
	granted  int64 // what the rail has authorised
	fee      int64
	target   int64
	rail     railName
	related  string
	code     string // reason_code
	seq      uint64
	offset   int64
	decided  int64
	deadline int64
}

// railName is who executed an order, and the rail's own id of it.
type railName struct{ connector, reference string }

// trackPayment follows the payments that a decision is about. What is declined, repeated or in conflict is about none but the
// one it makes.
func (m *pgMirror) trackPayment(r *kgo.Record, d *paymentsv1.Decision) {
	kind, outcome := d.GetKind(), d.GetOutcome()
	operation := pgOperation(kind)
	switch {
	case operation || pgInstruction(kind):
		if outcome == paymentsv1.Outcome_OUTCOME_REPEATED || outcome == paymentsv1.Outcome_OUTCOME_CONFLICT {
			return
		}
		m.trackMade(r, d)
		m.trackQuote(r, d)
		if operation && outcome == paymentsv1.Outcome_OUTCOME_APPROVED {
			m.trackSubject(r, d)
		}
	case kind == paymentsv1.CommandKind_COMMAND_KIND_AUTHORIZATION:
		if outcome != paymentsv1.Outcome_OUTCOME_REPEATED && outcome != paymentsv1.Outcome_OUTCOME_CONFLICT {
			m.trackMade(r, d)
		}
	case outcome != paymentsv1.Outcome_OUTCOME_APPROVED && outcome != paymentsv1.Outcome_OUTCOME_APPLIED:
	case pgFact(kind):
		m.trackFact(r, d)
		if kind == paymentsv1.CommandKind_COMMAND_KIND_CLEARING || kind == paymentsv1.CommandKind_COMMAND_KIND_DISPUTE {
			m.trackSubject(r, d)
		}
	case kind == paymentsv1.CommandKind_COMMAND_KIND_RAIL_ANSWER:
		m.trackAnswer(r, d)
		m.trackSubject(r, d)
	case kind == paymentsv1.CommandKind_COMMAND_KIND_APPROVE, kind == paymentsv1.CommandKind_COMMAND_KIND_DECLINE,
		kind == paymentsv1.CommandKind_COMMAND_KIND_EXPIRE, kind == paymentsv1.CommandKind_COMMAND_KIND_LEG_RESULT:
		m.trackChange(r, d)
	case kind == paymentsv1.CommandKind_COMMAND_KIND_DISPUTE_EVIDENCE, kind == paymentsv1.CommandKind_COMMAND_KIND_DISPUTE_ACCEPT:
		m.trackDispute(r, d)
		m.trackEvidence(r, d)
	default: // a counter-leg is the payee's side and no state of the payer's payment
	}
}

// pgInstruction tells the kinds that make a payment.
func pgInstruction(k paymentsv1.CommandKind) bool {
	return k == paymentsv1.CommandKind_COMMAND_KIND_PAY_IN || k == paymentsv1.CommandKind_COMMAND_KIND_PAY_OUT ||
		k == paymentsv1.CommandKind_COMMAND_KIND_TRANSFER || k == paymentsv1.CommandKind_COMMAND_KIND_FX_QUOTE
}

// pgFact tells the kinds that tell a fact, and make a record of it where it is the first word.
func pgFact(k paymentsv1.CommandKind) bool {
	return pgCard(k) || k == paymentsv1.CommandKind_COMMAND_KIND_CLEARING || k == paymentsv1.CommandKind_COMMAND_KIND_DISPUTE
}

// pgCard tells the facts about an authorization.
func pgCard(k paymentsv1.CommandKind) bool {
	return k == paymentsv1.CommandKind_COMMAND_KIND_AUTHORIZATION_ADVICE || k == paymentsv1.CommandKind_COMMAND_KIND_REVERSAL
}

// trackFact follows a fact: the first word about a record makes it, and later ones change it.
func (m *pgMirror) trackFact(r *kgo.Record, d *paymentsv1.Decision) {
	p := m.payments[m.newest[d.GetPaymentId()]]
	switch {
	case d.GetStatus() == paymentsv1.PaymentStatus_PAYMENT_STATUS_UNSPECIFIED:
	case p == nil || createdAt(p.made) != createdAt(d):
		m.trackMade(r, d)
	case d.GetKind() == paymentsv1.CommandKind_COMMAND_KIND_DISPUTE:
		m.trackDispute(r, d)
	default:
		m.trackChange(r, d)
		p.captured, p.granted = d.GetCapturedMinor(), d.GetAuthorizedMinor()
		p.code = cmp.Or(d.GetReasonCode(), p.code)
	}
}

// trackDispute follows what is told of a dispute whole: its fee may come and go.
func (m *pgMirror) trackDispute(r *kgo.Record, d *paymentsv1.Decision) {
	if p := m.trackChange(r, d); p != nil {
		p.fee, p.code = d.GetFeeMinor(), cmp.Or(d.GetReasonCode(), p.code)
	}
}

// trackQuote follows the quote that a payment has used.
func (m *pgMirror) trackQuote(r *kgo.Record, d *paymentsv1.Decision) {
	p := m.payments[m.newest[d.GetQuote()]]
	if p == nil || d.GetOutcome() != paymentsv1.Outcome_OUTCOME_APPROVED && d.GetOutcome() != paymentsv1.Outcome_OUTCOME_REVIEW {
		return
	}
	p.decide(r, d, paymentsv1.PaymentStatus_PAYMENT_STATUS_SUCCEEDED)
	p.related, p.deadline = d.GetPaymentId(), 0
}

// pgOperation tells the kinds that make a record about a payment.
func pgOperation(k paymentsv1.CommandKind) bool {
	return k == paymentsv1.CommandKind_COMMAND_KIND_REFUND || k == paymentsv1.CommandKind_COMMAND_KIND_CAPTURE ||
		k == paymentsv1.CommandKind_COMMAND_KIND_VOID || k == paymentsv1.CommandKind_COMMAND_KIND_INCREMENT
}

func (m *pgMirror) trackMade(r *kgo.Record, d *paymentsv1.Decision) {
	key := pgPaymentKey{d.GetPaymentId(), monthOf(dayOf(createdAt(d)))}
	m.payments[key] = &pgPayment{
		made: d, place: m.madeAt(r, d), status: d.GetStatus(), reasons: d.GetReasons(), seq: d.GetAccountSeq(), offset: r.Offset, fee: d.GetFeeMinor(),
		target: d.GetTargetAmountMinor(), decided: d.GetAcceptedAtUs(), deadline: d.GetDeadlineUs(), related: d.GetRelatedPaymentId(), code: d.GetReasonCode(),
	}
	switch p := m.payments[key]; {
	case d.GetKind() == paymentsv1.CommandKind_COMMAND_KIND_DISPUTE:
		p.rail = railName{d.GetConnector(), d.GetRailReference()}
	case d.GetKind() == paymentsv1.CommandKind_COMMAND_KIND_AUTHORIZATION, pgCard(d.GetKind()):
		p.captured, p.granted = d.GetCapturedMinor(), d.GetAuthorizedMinor()
	}
	m.newest[key.id] = key
}

// madeAt is where the decision that makes a payment stands; of those before there were events, nobody wrote it down.
func (m *pgMirror) madeAt(r *kgo.Record, d *paymentsv1.Decision) [4]string {
	if r.Offset < m.from[m.partition] {
		return [4]string{pgNull, pgNull, pgNull, pgNull}
	}
	return [4]string{fmt.Sprint(r.Offset), fmt.Sprint(r.Timestamp.UnixMicro()), fmt.Sprint(d.GetCommandOffset()), fmt.Sprint(d.GetCommandPartition())}
}

// trackChange follows a decision on a payment itself; nil: it is about none. Only an authorisation and its expiry tell what a
// rail has granted, and then it is more than nothing.
func (m *pgMirror) trackChange(r *kgo.Record, d *paymentsv1.Decision) *pgPayment {
	p := m.payments[m.newest[d.GetPaymentId()]]
	if p == nil || d.GetStatus() == paymentsv1.PaymentStatus_PAYMENT_STATUS_UNSPECIFIED {
		return nil
	}
	p.decide(r, d, d.GetStatus())
	p.deadline = d.GetDeadlineUs()
	if len(d.GetReasons()) > 0 {
		p.reasons = d.GetReasons()
	}
	if d.GetRelatedPaymentId() == "" {
		p.rails(d)
	}
	return p
}

// trackAnswer follows what a rail says of the record that waited. A confirmed capture learns its fee and its credit. The
// answer to a void that nobody asked for does not name the payment.
func (m *pgMirror) trackAnswer(r *kgo.Record, d *paymentsv1.Decision) {
	p := m.trackChange(r, d)
	if p == nil {
		return
	}
	if p.made.GetKind() == paymentsv1.CommandKind_COMMAND_KIND_CAPTURE && (d.GetFeeMinor() != 0 || d.GetTargetAmountMinor() != 0) {
		p.fee, p.target = d.GetFeeMinor(), d.GetTargetAmountMinor()
	}
	_, step, _ := strings.Cut(d.GetOrderId(), ".")
	name := railName{d.GetConnector(), d.GetRailReference()}
	if p.rail.reference == "" && name != (railName{}) && step != "expire" {
		p.rail = name
	}
}

// trackSubject follows the payment that an operation is about. It keeps its deadline as long as something may be captured.
func (m *pgMirror) trackSubject(r *kgo.Record, d *paymentsv1.Decision) {
	p := m.payments[m.newest[d.GetRelatedPaymentId()]]
	if p == nil || d.GetRelatedStatus() == paymentsv1.PaymentStatus_PAYMENT_STATUS_UNSPECIFIED {
		return
	}
	p.decide(r, d, d.GetRelatedStatus())
	p.refunded = d.GetRefundedMinor()
	p.rails(d)
	switch p.status {
	case paymentsv1.PaymentStatus_PAYMENT_STATUS_REQUIRES_CAPTURE, paymentsv1.PaymentStatus_PAYMENT_STATUS_PARTIALLY_CAPTURED:
	default:
		p.deadline = 0
	}
}

func (p *pgPayment) decide(r *kgo.Record, d *paymentsv1.Decision, status paymentsv1.PaymentStatus) {
	p.status, p.seq, p.offset, p.decided = status, d.GetAccountSeq(), r.Offset, d.GetAcceptedAtUs()
}

// rails takes over the amounts of a card payment. Both only grow, and where nothing is granted nothing is told.
func (p *pgPayment) rails(d *paymentsv1.Decision) {
	if d.GetAuthorizedMinor() != 0 {
		p.captured, p.granted = d.GetCapturedMinor(), d.GetAuthorizedMinor()
	}
}

func createdAt(d *paymentsv1.Decision) int64 {
	if at := d.GetCreatedAtUs(); at != 0 {
		return at
	}
	return d.GetAcceptedAtUs()
}

func dayOf(us int64) int32 {
	d := us / 86_400_000_000
	if us%86_400_000_000 < 0 {
		d--
	}
	return int32(min(max(d, -719_162), 2_932_896))
}

// pgPaymentColumns are read as text: every type compares alike.
func pgPaymentColumns() []string {
	return []string{
		"effective_date", "created_at", "decided_at", "deadline_at", "created_seq", "account_seq", "log_offset", "amount_minor",
		"target_amount_minor", "fee_minor", "limit_amount_minor", "refunded_minor", "captured_minor", "authorized_minor", "connector",
		"rail_reference", "fx_spread_bp", "kind", "outcome", "status",
		"fraud_score", "currency", "target_currency", "limit_currency", "method", "tenant", "merchant", "customer", "account",
		"to_account", "related_payment_id", "instrument", "counterparty_country", "sealed_key_id", "sealed", "fx_rate", "fx_mid", "reasons",
		"quote", "card", "mcc", "acquirer", "card_acceptor", "rrn", "reason_code",
		"created_offset", "created_written_at", "command_offset", "command_partition",
	}
}

// pgNull is how a column without a value reads.
const pgNull = "null"

// pgSelect writes a column as text.
func pgSelect(column string) string {
	switch column {
	case "effective_date":
		return "(effective_date - DATE '1970-01-01')::text"
	case "created_at", "decided_at", "deadline_at":
		return "coalesce((extract(epoch FROM " + column + ") * 1000000)::bigint, 0)::text"
	case "sealed":
		return "encode(sealed, 'hex')"
	case "created_written_at":
		return "coalesce((extract(epoch FROM created_written_at) * 1000000)::bigint::text, '" + pgNull + "')"
	case "fx_spread_bp", "fx_rate", "fx_mid", "created_offset", "command_offset", "command_partition":
		return "coalesce(" + column + "::text, '" + pgNull + "')"
	default:
		return column + "::text"
	}
}

func (p *pgPayment) row() []string {
	d := p.made
	spread, rate, mid := pgNull, pgNull, pgNull
	if fx := d.GetFx(); fx != nil {
		spread, rate, mid = fmt.Sprint(fx.GetSpreadBp()), decimalText(fx.GetRateUnscaled(), fx.GetRateScale()), decimalText(fx.GetMidUnscaled(), fx.GetMidScale())
	}
	reasons := make([]string, len(p.reasons))
	for i, r := range p.reasons {
		reasons[i] = fmt.Sprint(int32(r))
	}
	return append([]string{
		fmt.Sprint(d.GetEffectiveDate()), fmt.Sprint(createdAt(d)), fmt.Sprint(p.decided), fmt.Sprint(p.deadline), fmt.Sprint(d.GetAccountSeq()),
		fmt.Sprint(p.seq), fmt.Sprint(p.offset), fmt.Sprint(d.GetAmountMinor()), fmt.Sprint(p.target), fmt.Sprint(p.fee),
		fmt.Sprint(d.GetLimitAmountMinor()), fmt.Sprint(p.refunded), fmt.Sprint(p.captured), fmt.Sprint(p.granted), pgText(p.rail.connector),
		pgText(p.rail.reference), spread, fmt.Sprint(p.kind()), fmt.Sprint(int32(d.GetOutcome())),
		fmt.Sprint(int32(p.status)), fmt.Sprint(d.GetFraudScore()), pgText(d.GetCurrency()), pgText(d.GetTargetCurrency()), pgText(d.GetLimitCurrency()),
		pgText(d.GetMethod()), pgText(d.GetTenant()), pgText(d.GetMerchant()), pgText(d.GetCustomer()), pgText(d.GetAccount()), pgText(d.GetToAccount()),
		pgText(p.related), pgText(d.GetInstrument()), pgText(d.GetCounterpartyCountry()), pgText(d.GetSealed().GetKeyId()),
		fmt.Sprintf("%x", d.GetSealed().GetCiphertext()), rate, mid, "{" + strings.Join(reasons, ",") + "}",
		pgText(d.GetQuote()), pgText(d.GetCard()), pgText(d.GetMcc()), pgText(d.GetAcquirer()), pgText(d.GetCardAcceptor()), pgText(d.GetRrn()), pgText(p.code),
	}, p.place[:]...)
}

// kind is the record's: whoever tells of an authorization first has made one.
func (p *pgPayment) kind() int32 {
	if pgCard(p.made.GetKind()) {
		return int32(paymentsv1.CommandKind_COMMAND_KIND_AUTHORIZATION)
	}
	return int32(p.made.GetKind())
}

// decimalText is unscaled / 10^scale with all its digits.
func decimalText(unscaled int64, scale uint32) string {
	power := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil)
	return new(big.Rat).SetFrac(big.NewInt(unscaled), power).FloatString(int(scale))
}

// comparePayments looks every row of the partition up, in no order.
func (m *pgMirror) comparePayments() error {
	columns := pgPaymentColumns()
	selected := make([]string, len(columns))
	for i, c := range columns {
		selected[i] = pgSelect(c)
	}
	tx, err := m.look(m.ctx)
	if err != nil {
		return err
	}
	m.txs = append(m.txs, tx)
	rows, err := tx.Query(m.ctx, "SELECT payment_id, (created_month - DATE '1970-01-01')::bigint, "+strings.Join(selected, ", ")+
		" FROM payments.payments WHERE log_partition = $1", m.partition)
	if err != nil {
		return fmt.Errorf("querying payments.payments: %w", err)
	}
	var key pgPaymentKey
	got := make([]string, len(columns))
	into := []any{&key.id, &key.month}
	for i := range got {
		into = append(into, &got[i])
	}
	seen := make(map[pgPaymentKey]bool, len(m.payments))
	_, err = pgx.ForEachRow(rows, into, func() error {
		m.findings.count(CheckPGPayments, 1)
		seen[key] = true
		p := m.payments[key]
		if p == nil {
			m.payment(nil, key, "is not in the log")
			return nil
		}
		for i, want := range p.row() {
			if got[i] != want {
				m.payment(p, key, fmt.Sprintf("column %s: want %s, got %s", columns[i], want, got[i]))
				return nil
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading payments.payments: %w", err)
	}
	for key, p := range m.payments {
		if !seen[key] {
			m.payment(p, key, "no row")
		}
	}
	return m.compareTable(m.ctx, tx, pgTable{CheckPGPayments, "payments.evidence", evidenceRows, m.partition, []any{m.partition}, m.evidence})
}

func (m *pgMirror) payment(p *pgPayment, key pgPaymentKey, detail string) {
	d := Difference{
		Check: CheckPGPayments, Topic: topics.Decisions, Partition: m.partition, Offset: -1,
		Detail: fmt.Sprintf("table payments.payments, %s: %s", key.id, detail),
	}
	if p != nil {
		d.Account, d.Offset = p.made.GetAccount(), p.offset
	}
	m.findings.differ(d)
}
