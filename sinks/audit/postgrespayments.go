package audit

import (
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

// pgPayment is the row of a payment: what the decision that made it says, and the latest state.
type pgPayment struct {
	made     *paymentsv1.Decision
	status   paymentsv1.PaymentStatus
	reasons  []paymentsv1.Reason
	refunded int64
	seq      uint64
	offset   int64
	decided  int64
	deadline int64
}

// trackPayment follows the payment a decision is about.
func (m *pgMirror) trackPayment(r *kgo.Record, d *paymentsv1.Decision) {
	granted := d.GetOutcome() == paymentsv1.Outcome_OUTCOME_APPROVED || d.GetOutcome() == paymentsv1.Outcome_OUTCOME_APPLIED
	switch d.GetKind() {
	case paymentsv1.CommandKind_COMMAND_KIND_PAY_IN, paymentsv1.CommandKind_COMMAND_KIND_PAY_OUT,
		paymentsv1.CommandKind_COMMAND_KIND_TRANSFER, paymentsv1.CommandKind_COMMAND_KIND_REFUND:
		if d.GetOutcome() == paymentsv1.Outcome_OUTCOME_REPEATED || d.GetOutcome() == paymentsv1.Outcome_OUTCOME_CONFLICT {
			return
		}
		key := pgPaymentKey{d.GetPaymentId(), monthOf(dayOf(createdAt(d)))}
		m.payments[key] = &pgPayment{
			made: d, status: d.GetStatus(), reasons: d.GetReasons(), seq: d.GetAccountSeq(), offset: r.Offset,
			decided: d.GetAcceptedAtUs(), deadline: d.GetDeadlineUs(),
		}
		m.newest[key.id] = key
		if refunded := m.payments[m.newest[d.GetRelatedPaymentId()]]; d.GetOutcome() == paymentsv1.Outcome_OUTCOME_APPROVED && refunded != nil &&
			d.GetKind() == paymentsv1.CommandKind_COMMAND_KIND_REFUND {
			refunded.status, refunded.refunded = d.GetRelatedStatus(), d.GetRefundedMinor()
			refunded.seq, refunded.offset, refunded.decided, refunded.deadline = d.GetAccountSeq(), r.Offset, d.GetAcceptedAtUs(), 0
		}
	case paymentsv1.CommandKind_COMMAND_KIND_APPROVE, paymentsv1.CommandKind_COMMAND_KIND_DECLINE, paymentsv1.CommandKind_COMMAND_KIND_EXPIRE,
		paymentsv1.CommandKind_COMMAND_KIND_LEG_RESULT, paymentsv1.CommandKind_COMMAND_KIND_RAIL_ANSWER:
		p := m.payments[m.newest[d.GetPaymentId()]]
		if !granted || p == nil || d.GetStatus() == paymentsv1.PaymentStatus_PAYMENT_STATUS_UNSPECIFIED {
			return
		}
		p.status, p.seq, p.offset, p.decided, p.deadline = d.GetStatus(), d.GetAccountSeq(), r.Offset, d.GetAcceptedAtUs(), d.GetDeadlineUs()
		if len(d.GetReasons()) > 0 {
			p.reasons = d.GetReasons()
		}
	default: // a counter-leg is the payee's side and no state of the payer's payment
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
		"target_amount_minor", "fee_minor", "limit_amount_minor", "refunded_minor", "fx_spread_bp", "kind", "outcome", "status",
		"fraud_score", "currency", "target_currency", "limit_currency", "method", "tenant", "merchant", "customer", "account",
		"to_account", "related_payment_id", "instrument", "counterparty_country", "sealed_key_id", "sealed", "fx_rate", "fx_mid", "reasons",
	}
}

// pgSelect writes a column as text.
func pgSelect(column string) string {
	switch column {
	case "effective_date":
		return "(effective_date - DATE '1970-01-01')::text"
	case "created_at", "decided_at", "deadline_at":
		return "coalesce((extract(epoch FROM " + column + ") * 1000000)::bigint, 0)::text"
	case "sealed":
		return "encode(sealed, 'hex')"
	case "fx_spread_bp", "fx_rate", "fx_mid":
		return "coalesce(" + column + "::text, 'null')"
	default:
		return column + "::text"
	}
}

func (p *pgPayment) row() []string {
	d := p.made
	spread, rate, mid := "null", "null", "null"
	if fx := d.GetFx(); fx != nil {
		spread, rate, mid = fmt.Sprint(fx.GetSpreadBp()), decimalText(fx.GetRateUnscaled(), fx.GetRateScale()), decimalText(fx.GetMidUnscaled(), fx.GetMidScale())
	}
	reasons := make([]string, len(p.reasons))
	for i, r := range p.reasons {
		reasons[i] = fmt.Sprint(int32(r))
	}
	return []string{
		fmt.Sprint(d.GetEffectiveDate()), fmt.Sprint(createdAt(d)), fmt.Sprint(p.decided), fmt.Sprint(p.deadline), fmt.Sprint(d.GetAccountSeq()),
		fmt.Sprint(p.seq), fmt.Sprint(p.offset), fmt.Sprint(d.GetAmountMinor()), fmt.Sprint(d.GetTargetAmountMinor()), fmt.Sprint(d.GetFeeMinor()),
		fmt.Sprint(d.GetLimitAmountMinor()), fmt.Sprint(p.refunded), spread, fmt.Sprint(int32(d.GetKind())), fmt.Sprint(int32(d.GetOutcome())),
		fmt.Sprint(int32(p.status)), fmt.Sprint(d.GetFraudScore()), pgText(d.GetCurrency()), pgText(d.GetTargetCurrency()), pgText(d.GetLimitCurrency()),
		pgText(d.GetMethod()), pgText(d.GetTenant()), pgText(d.GetMerchant()), pgText(d.GetCustomer()), pgText(d.GetAccount()), pgText(d.GetToAccount()),
		pgText(d.GetRelatedPaymentId()), pgText(d.GetInstrument()), pgText(d.GetCounterpartyCountry()), pgText(d.GetSealed().GetKeyId()),
		fmt.Sprintf("%x", d.GetSealed().GetCiphertext()), rate, mid, "{" + strings.Join(reasons, ",") + "}",
	}
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
	return nil
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
