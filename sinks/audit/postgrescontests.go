package audit

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/schemas/topics"
)

// trackEvidence follows the files that a decision names, by their place.
func (m *pgMirror) trackEvidence(r *kgo.Record, d *paymentsv1.Decision) {
	for i, f := range d.GetEvidence() {
		m.evidence[fmt.Sprintf("%s at %d/%d", d.GetPaymentId(), r.Offset, i)] = fmt.Sprintf("%d %s %x %s",
			d.GetAcceptedAtUs(), pgText(f.GetReference()), f.GetSha256(), pgText(f.GetKind()))
	}
}

const evidenceRows = `SELECT dispute_id || ' at ' || log_offset || '/' || line,
	concat_ws(' ', (extract(epoch FROM told_at) * 1000000)::bigint, reference, sha256, kind) FROM payments.evidence WHERE log_partition = $1`

// trackCard follows a card's row. A refusal tells the card to whoever asked, and changes none.
func (m *pgMirror) trackCard(d *paymentsv1.Decision) {
	c := d.GetCardState()
	if c == nil || d.GetOutcome() != paymentsv1.Outcome_OUTCOME_APPLIED {
		return
	}
	m.cards[d.GetAccount()] = fmt.Sprintf("%s %s %s seq %d issued %d status %d expiry %d %s %s", c.GetAccount(), pgText(d.GetTenant()), pgText(d.GetMerchant()),
		d.GetAccountSeq(), c.GetIssuedAtUs(), c.GetStatus(), c.GetExpiry(), pgText(c.GetFirst6()), pgText(c.GetLast4()))
}

const cardRows = `SELECT card, concat_ws(' ', account, tenant, merchant, 'seq', card_seq, 'issued', (extract(epoch FROM issued_at) * 1000000)::bigint,
	'status', status, 'expiry', expiry, first6, last4) FROM accounts.cards`

// pgTable is one that is small enough to be compared as texts, by name.
type pgTable struct {
	check, name, rows string
	partition         int32 // of the log; 0 where rows of all are in it
	args              []any
	want              map[string]string
}

func (s *postgresStore) compareTable(ctx context.Context, tx pgx.Tx, t pgTable) error {
	rows, err := tx.Query(ctx, t.rows, t.args...)
	if err != nil {
		return fmt.Errorf("querying %s: %w", t.name, err)
	}
	differ := func(name, detail string) {
		s.findings.differ(Difference{Check: t.check, Topic: topics.Decisions, Partition: t.partition, Detail: fmt.Sprintf("table %s, %s: %s", t.name, name, detail)})
	}
	var name, got string
	seen := map[string]bool{}
	_, err = pgx.ForEachRow(rows, []any{&name, &got}, func() error {
		s.findings.count(t.check, 1)
		seen[name] = true
		if want, ok := t.want[name]; !ok {
			differ(name, "is not in the log")
		} else if got != want {
			differ(name, fmt.Sprintf("want %s, got %s", want, got))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading %s: %w", t.name, err)
	}
	for name := range t.want {
		if !seen[name] {
			differ(name, "no row")
		}
	}
	return nil
}
