package audittest

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/caudalpay/caudal/processors/payment"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

// under is an id under an account, of a kind that has no name here.
func under(prefix, account, key string) string {
	return prefix + string(payment.IDFrom(payment.KindPayIn, payment.AccountID(account), merchant, key))[len(prefix):]
}

// disputeStep is a quote, or what is said of a dispute: in any order, again, and of what is none.
func (h *House) disputeStep(a *railAccount) {
	cmd := &paymentsv1.Command{Tenant: tenant, Merchant: merchant, Account: a.id, BodyHash: h.hash("said", h.serial), Pins: h.pinned(a)}
	switch roll := h.rng.IntN(10); {
	case roll < 2 || len(a.payments) == 0:
		h.quote(a, cmd)
	case roll < 4 || len(a.disputes) == 0:
		h.newDispute(a, cmd)
	case roll < 6 && len(a.messages) > 0:
		h.tellAgain(a)
	case roll < 8:
		of := a.disputes[max(0, len(a.disputes)-1-h.rng.IntN(8))]
		for range 1 + h.rng.IntN(6) { // its story, in any order
			h.serial++
			cmd = proto.CloneOf(of)
			cmd.AcceptedAtUs, cmd.BodyHash = 0, h.hash("told", h.serial)
			h.tell(a, cmd)
		}
	case roll < 9 && len(a.said) > 0 && h.rng.IntN(3) == 0: // the same again, or nearly
		cmd = proto.CloneOf(a.said[h.rng.IntN(len(a.said))])
		cmd.AcceptedAtUs = 0
		if h.rng.IntN(3) == 0 {
			cmd.BodyHash = h.hash("another word")
		}
		h.ask(a.id, cmd)
	default:
		h.contest(a, cmd)
	}
}

// newDispute tells of one that was not told of: of any part of what was charged, of the whole or of either half, so that two
// of a pay-in take just what was captured, one minor unit more, or all of it again; or of what was told under another name.
func (h *House) newDispute(a *railAccount, cmd *paymentsv1.Command) {
	cmd.Kind, cmd.CommandId = paymentsv1.CommandKind_COMMAND_KIND_DISPUTE, under("dp_", a.id, fmt.Sprint("dispute-", h.serial))
	told := &paymentsv1.Dispute{AmountMinor: 1 + h.rng.Int64N(2_000), Connector: "sim", Reference: fmt.Sprint("case-", h.serial)}
	cmd.PaymentId = a.payments[max(0, len(a.payments)-1-h.rng.IntN(12))]
	switch roll := h.rng.IntN(6); {
	case roll < 1 && len(a.disputes) > 0:
		first := a.disputes[max(0, len(a.disputes)-1-h.rng.IntN(4))]
		cmd.PaymentId, told.AmountMinor = first.GetPaymentId(), first.GetDispute().GetAmountMinor()
	case roll < 5 && len(a.charged) > 0:
		o := a.charged[max(0, len(a.charged)-1-h.rng.IntN(4))]
		cmd.PaymentId = o.GetPaymentId()
		whole := o.GetAmountMinor()
		told.AmountMinor = max(1, []int64{told.GetAmountMinor(), whole, whole / 2, whole - whole/2}[h.rng.IntN(4)])
	}
	cmd.Body = &paymentsv1.Command_Dispute{Dispute: told}
	a.disputes = append(a.disputes, cmd)
	h.tell(a, cmd)
}

// quote asks for a rate, and sometimes for the same again.
func (h *House) quote(a *railAccount, cmd *paymentsv1.Command) {
	q := &paymentsv1.FxQuote{AmountMinor: 1 + h.rng.Int64N(8_000), Currency: "BRL", TargetCurrency: "USD"}
	switch h.rng.IntN(12) {
	case 0:
		q.TargetCurrency = []string{"BRL", "EUR"}[h.rng.IntN(2)]
	case 1, 2, 3:
		q.Currency, q.TargetCurrency = "USD", "BRL"
	case 4:
		q.AmountMinor = 1 + h.rng.Int64N(3)
	case 5, 6:
		q.AmountMinor += 70_000
	}
	cmd.Kind, cmd.CommandId = paymentsv1.CommandKind_COMMAND_KIND_FX_QUOTE, under("fq_", a.id, fmt.Sprint("quote-", h.serial))
	cmd.PaymentId = cmd.GetCommandId()
	cmd.Body = &paymentsv1.Command_FxQuote{FxQuote: q}
	a.quotes = append(a.quotes, &paymentsv1.Instruction{
		AmountMinor: q.GetAmountMinor(), Currency: q.GetCurrency(), TargetCurrency: q.GetTargetCurrency(), Quote: cmd.GetCommandId(),
	})
	h.ask(a.id, cmd)
	if h.rng.IntN(5) == 0 {
		cmd = proto.CloneOf(cmd)
		cmd.AcceptedAtUs = 0
		if h.rng.IntN(2) == 0 {
			cmd.BodyHash = h.hash("another quote")
		}
		h.ask(a.id, cmd)
	}
}

// atQuote lets a payment use a quote: mostly of just its amount and currencies, mostly for the first time.
func (h *House) atQuote(a *railAccount, in *paymentsv1.Instruction) {
	if len(a.quotes) == 0 || h.rng.IntN(3) == 0 {
		return
	}
	i := max(0, len(a.quotes)-1-h.rng.IntN(2)*h.rng.IntN(4))
	q := a.quotes[i]
	in.Quote = q.GetQuote()
	if h.rng.IntN(8) > 0 {
		in.AmountMinor, in.Currency, in.TargetCurrency = q.GetAmountMinor(), q.GetCurrency(), q.GetTargetCurrency()
	}
	if in.GetAmountMinor() > 60_000 {
		in.Counterparty = &paymentsv1.Counterparty{Country: "BR", Digest: h.hash("party of", in.GetQuote())}
	}
	switch h.rng.IntN(20) {
	case 0:
		in.Quote = under("fq_", a.id, "never made")
	case 1, 2, 3, 4, 5, 6:
	default:
		a.quotes = append(a.quotes[:i:i], a.quotes[i+1:]...)
	}
}

// latestUS is the last microsecond since 1970 that a command may tell.
const latestUS = int64(1) << 53

// tell says something of a dispute.
func (h *House) tell(a *railAccount, cmd *paymentsv1.Command) {
	told := cmd.GetDispute()
	told.Stage = paymentsv1.DisputeStage(1 + h.rng.IntN(5)) //nolint:gosec // small
	told.ReasonCode, told.DeadlineUs = "", 0
	if h.rng.IntN(2) == 0 {
		told.ReasonCode = fmt.Sprint("10.", h.rng.IntN(5))
	}
	if h.rng.IntN(2) == 0 {
		told.DeadlineUs = h.now.UnixMicro() + h.rng.Int64N(7_200_000_000)
		if h.rng.IntN(10) == 0 {
			told.DeadlineUs = latestUS
		}
	}
	told.MessageId, told.OccurredAtUs = "", 0
	switch h.rng.IntN(6) {
	case 0: // not told
	case 1:
		told.OccurredAtUs = h.now.UnixMicro()
		if h.rng.IntN(10) == 0 {
			told.OccurredAtUs = latestUS
		}
	case 2: // by a clock that is days ahead
		told.OccurredAtUs = h.now.UnixMicro() + h.rng.Int64N(400_000_000_000)
	default:
		told.OccurredAtUs = h.now.UnixMicro() - h.rng.Int64N(7_200_000_000)
	}
	if h.rng.IntN(3) > 0 {
		told.MessageId = payment.CommandIDFrom(a.id, merchant, fmt.Sprint("told-", h.serial))
		if len(a.said) > 0 && h.rng.IntN(30) == 0 {
			said := a.said[h.rng.IntN(len(a.said))]
			told.MessageId = said.GetCommandId()
			if h.rng.IntN(2) == 0 {
				cmd.BodyHash = said.GetBodyHash()
			}
		}
		a.messages = append(a.messages, cmd)
	}
	cmd.Pins = a.pins()
	switch h.rng.IntN(6) {
	case 0:
		cmd.Pins = nil
	case 1:
		cmd.Pins = &paymentsv1.Pins{Policy: "loose@1"}
	}
	switch h.rng.IntN(30) {
	case 0:
		told.AmountMinor++
	case 1:
		cmd.PaymentId = a.payments[h.rng.IntN(len(a.payments))]
	case 2:
		cmd.Merchant = "somebody else"
	case 3:
		cmd.CommandId = "dp_" + a.payments[h.rng.IntN(len(a.payments))][3:]
	}
	h.ask(a.id, cmd)
}

// tellAgain repeats a message, or nearly: another body, another dispute or another pay-in under its id.
func (h *House) tellAgain(a *railAccount) {
	back := 6
	if h.rng.IntN(6) == 0 { // what it is about may have left
		back = len(a.messages)
	}
	cmd := proto.CloneOf(a.messages[max(0, len(a.messages)-1-h.rng.IntN(back))])
	cmd.AcceptedAtUs = 0
	switch h.rng.IntN(12) {
	case 0, 1, 2:
		cmd.BodyHash = h.hash("another word", h.serial)
	case 3:
		cmd.PaymentId = a.payments[h.rng.IntN(len(a.payments))]
	case 4:
		cmd.CommandId = a.disputes[h.rng.IntN(len(a.disputes))].GetCommandId()
	case 5:
		cmd.GetDispute().Connector, cmd.GetDispute().ReasonCode = "other", "99"
	}
	h.ask(a.id, cmd)
}

// contest is what the merchant says.
func (h *House) contest(a *railAccount, cmd *paymentsv1.Command) {
	cmd.CommandId = payment.CommandIDFrom(a.id, merchant, fmt.Sprint("said-", h.serial))
	cmd.PaymentId = a.disputes[max(0, len(a.disputes)-1-h.rng.IntN(6))].GetCommandId()
	if h.rng.IntN(15) == 0 {
		cmd.PaymentId = "pi_" + cmd.GetPaymentId()[3:]
	}
	if h.rng.IntN(2) == 0 {
		cmd.Pins = nil
	}
	cmd.Kind = paymentsv1.CommandKind_COMMAND_KIND_DISPUTE_ACCEPT
	cmd.Body = &paymentsv1.Command_DisputeAccept{DisputeAccept: &paymentsv1.DisputeAccept{}}
	if h.rng.IntN(3) > 0 {
		cmd.Kind = paymentsv1.CommandKind_COMMAND_KIND_DISPUTE_EVIDENCE
		body := &paymentsv1.DisputeEvidence{}
		for i := range 1 + h.rng.IntN(3) {
			body.Files = append(body.Files, &paymentsv1.EvidenceFile{Reference: fmt.Sprint("file-", i), Sha256: h.hash("file", i), Kind: "receipt"})
		}
		cmd.Body = &paymentsv1.Command_DisputeEvidence{DisputeEvidence: body}
	}
	if len(a.messages) > 0 && h.rng.IntN(30) == 0 { // under an id that something was told under
		told := a.messages[h.rng.IntN(len(a.messages))]
		cmd.CommandId = told.GetDispute().GetMessageId()
		if h.rng.IntN(2) == 0 {
			cmd.BodyHash = told.GetBodyHash()
		}
	}
	a.said = append(a.said, cmd)
	h.ask(a.id, cmd)
}
