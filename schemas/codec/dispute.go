package codec

import (
	"github.com/caudalpay/caudal/processors/payment"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

func quoteFrom(b *paymentsv1.FxQuote) (*payment.FXQuote, error) {
	if b.GetAmountMinor() <= 0 || !currencyFits(b.GetCurrency()) || !currencyFits(b.GetTargetCurrency()) {
		return nil, refuse("quote of %d %q in %q", b.GetAmountMinor(), b.GetCurrency(), b.GetTargetCurrency())
	}
	return &payment.FXQuote{AmountMinor: b.GetAmountMinor(), Currency: b.GetCurrency(), TargetCurrency: b.GetTargetCurrency()}, known(b)
}

func disputeFrom(b *paymentsv1.Dispute) (*payment.Dispute, error) {
	stage, err := enum[payment.DisputeStage](b.GetStage(), paymentsv1.DisputeStage_name)
	if err != nil || stage == payment.DisputeStageUnspecified {
		return nil, refuse("dispute in stage %d", b.GetStage())
	}
	if b.GetAmountMinor() <= 0 || !timeFits(b.GetDeadlineUs()) || !timeFits(b.GetOccurredAtUs()) {
		return nil, refuse("dispute of %d since %d until %d", b.GetAmountMinor(), b.GetOccurredAtUs(), b.GetDeadlineUs())
	}
	if id := b.GetMessageId(); id != "" && !payment.IsCommandID(id) {
		return nil, refuse("dispute with message id %q", id)
	}
	if len(b.GetReasonCode()) > textMax || len(b.GetConnector()) > textMax || len(b.GetReference()) > textMax {
		return nil, refuse("dispute with a reason code, connector or reference too long")
	}
	return &payment.Dispute{
		Stage: stage, AmountMinor: b.GetAmountMinor(), ReasonCode: b.GetReasonCode(), Connector: b.GetConnector(),
		Reference: b.GetReference(), DeadlineUS: b.GetDeadlineUs(), MessageID: b.GetMessageId(), OccurredAtUS: b.GetOccurredAtUs(),
	}, known(b)
}

func evidenceFrom(b *paymentsv1.DisputeEvidence) ([]payment.EvidenceFile, error) {
	if n := len(b.GetFiles()); n == 0 || n > payment.EvidenceFilesMax {
		return nil, refuse("evidence of %d files", n)
	}
	files, err := filesFrom(b.GetFiles())
	if err != nil {
		return nil, err
	}
	return files, known(b)
}

func filesFrom(in []*paymentsv1.EvidenceFile) ([]payment.EvidenceFile, error) {
	if len(in) == 0 {
		return nil, nil
	}
	out := make([]payment.EvidenceFile, len(in))
	for i, f := range in {
		sum, err := hash("evidence", f.GetSha256(), true)
		if err != nil {
			return nil, err
		}
		if f.GetReference() == "" || len(f.GetReference()) > textMax || len(f.GetKind()) > textMax {
			return nil, refuse("evidence file %d without a reference, or with one too long", i)
		}
		if err := known(f); err != nil {
			return nil, err
		}
		out[i] = payment.EvidenceFile{Reference: f.GetReference(), SHA256: sum, Kind: f.GetKind()}
	}
	return out, nil
}

func filesTo(in []payment.EvidenceFile) []*paymentsv1.EvidenceFile {
	if len(in) == 0 {
		return nil
	}
	out := make([]*paymentsv1.EvidenceFile, len(in))
	for i := range in {
		f := &in[i]
		out[i] = &paymentsv1.EvidenceFile{Reference: f.Reference, Sha256: f.SHA256[:], Kind: f.Kind}
	}
	return out
}

// disputeTo gives a command about a dispute its body.
func disputeTo(m *paymentsv1.Command, c *payment.Command) {
	switch {
	case c.Dispute != nil:
		q := c.Dispute
		m.Body = &paymentsv1.Command_Dispute{Dispute: &paymentsv1.Dispute{
			Stage: paymentsv1.DisputeStage(q.Stage), AmountMinor: q.AmountMinor, ReasonCode: q.ReasonCode, Connector: q.Connector,
			Reference: q.Reference, DeadlineUs: q.DeadlineUS, MessageId: q.MessageID, OccurredAtUs: q.OccurredAtUS,
		}}
	case c.Evidence != nil:
		m.Body = &paymentsv1.Command_DisputeEvidence{DisputeEvidence: &paymentsv1.DisputeEvidence{Files: filesTo(c.Evidence)}}
	case c.Accept != nil:
		m.Body = &paymentsv1.Command_DisputeAccept{DisputeAccept: &paymentsv1.DisputeAccept{}}
	}
}
