package clickhouse

import (
	"github.com/ClickHouse/ch-go/proto"

	"github.com/caudalpay/caudal/processors/ledger"
	"github.com/caudalpay/caudal/processors/payment"
	"github.com/caudalpay/caudal/sinks/decisionlog"
)

// lines is a block of postings.
type lines struct {
	block
	acceptedAt                   *proto.ColDateTime64
	logPartition                 proto.ColInt32
	logOffset, amount            proto.ColInt64
	line                         proto.ColUInt16
	journalKind, layer, currency *word
	account, paymentID           proto.ColStr
	bookingDate                  proto.ColDate32
	kind, tenant, merchant       *word
}

func newLines() *lines {
	l := &lines{
		block: block{table: "postings"}, acceptedAt: newMoment(), journalKind: newWord(), layer: newWord(), currency: newWord(),
		kind: newWord(), tenant: newWord(), merchant: newWord(),
	}
	for _, c := range []proto.InputColumn{
		{Name: "accepted_at", Data: l.acceptedAt},
		{Name: "log_partition", Data: &l.logPartition},
		{Name: "log_offset", Data: &l.logOffset},
		{Name: "line", Data: &l.line},
		{Name: "journal_kind", Data: l.journalKind},
		{Name: "layer", Data: l.layer},
		{Name: "account", Data: &l.account},
		{Name: "currency", Data: l.currency},
		{Name: "amount_minor", Data: &l.amount},
		{Name: "booking_date", Data: &l.bookingDate},
		{Name: "kind", Data: l.kind},
		{Name: "tenant", Data: l.tenant},
		{Name: "merchant", Data: l.merchant},
		{Name: "payment_id", Data: &l.paymentID},
	} {
		l.add(c.Name, c.Data)
	}
	return l
}

func (l *lines) append(e decisionlog.Entry) {
	n := uint16(0)
	for _, j := range e.GetJournals() {
		for _, p := range j.GetPostings() {
			l.acceptedAt.AppendRaw(moment(e.GetAcceptedAtUs()))
			l.logPartition.Append(e.Partition)
			l.logOffset.Append(e.Offset)
			l.line.Append(n)
			l.journalKind.Append(ledger.JournalKind(j.GetKind()).String()) //nolint:gosec // the enum's numbers fit a byte
			l.layer.Append(ledger.Layer(p.GetLayer()).String())            //nolint:gosec // the enum's numbers fit a byte
			l.account.Append(p.GetAccount())
			l.currency.Append(p.GetCurrency())
			l.amount.Append(p.GetAmountMinor())
			l.bookingDate = append(l.bookingDate, day(e.GetEffectiveDate()))
			l.kind.Append(payment.Kind(e.GetKind()).String()) //nolint:gosec // the enum's numbers fit a byte
			l.tenant.Append(e.GetTenant())
			l.merchant.Append(e.GetMerchant())
			l.paymentID.Append(e.GetPaymentId())
			n++
		}
	}
}
