package payment

// Kind says what a command asks for. The numbers are those of the wire format and never reused.
type Kind uint8

// The kinds of commands.
const (
	KindUnknown       Kind = 0
	KindOpenAccount   Kind = 1
	KindSetKYCLevel   Kind = 2
	KindIssueCard     Kind = 3
	KindSetCardStatus Kind = 4
	KindPayIn         Kind = 10
	KindPayOut        Kind = 11
	KindTransfer      Kind = 12
	KindRefund        Kind = 13
	KindCapture       Kind = 14
	KindVoid          Kind = 15
	KindIncrement     Kind = 16
	KindFXQuote       Kind = 17
	KindApprove       Kind = 20
	KindDecline       Kind = 21
	KindExpire        Kind = 30
	KindTick          Kind = 31
	KindCounterLeg    Kind = 40
	KindLegResult     Kind = 41
	KindReleaseClaim  Kind = 42
	KindRailAnswer    Kind = 50

	KindAuthorization       Kind = 60
	KindAuthorizationAdvice Kind = 61
	KindReversal            Kind = 62
	KindClearing            Kind = 63

	KindDispute         Kind = 70
	KindDisputeEvidence Kind = 71
	KindDisputeAccept   Kind = 72
)

// Prefix is the three characters before a payment id's digests, empty for kinds that make no payment.
func (k Kind) Prefix() string {
	switch k {
	case KindPayIn:
		return "pi_"
	case KindPayOut:
		return "po_"
	case KindTransfer:
		return "tr_"
	case KindRefund:
		return "re_"
	case KindCapture:
		return "ca_"
	case KindVoid:
		return "vo_"
	case KindIncrement:
		return "ic_"
	case KindFXQuote:
		return "fq_"
	case KindDispute:
		return "dp_"
	case KindAuthorization:
		return authorizationPrefix
	case KindClearing:
		return "cl_"
	default:
		return ""
	}
}

// Operation tells the kinds that are a record of their own about another payment. A clearing may be about none.
func (k Kind) Operation() bool {
	switch k {
	case KindRefund, KindCapture, KindVoid, KindIncrement, KindClearing:
		return true
	default:
		return false
	}
}

func kindByPrefix(p string) Kind {
	for _, k := range [...]Kind{
		KindPayIn, KindPayOut, KindTransfer, KindRefund, KindCapture, KindVoid, KindIncrement, KindFXQuote, KindDispute,
		KindAuthorization, KindClearing,
	} {
		if p == k.Prefix() {
			return k
		}
	}
	return KindUnknown
}

// OfCard tells the kinds that lie under a card's key.
func (k Kind) OfCard() bool { return k == KindIssueCard || k == KindSetCardStatus }

// String is the word used in the API, in tables and in files.
func (k Kind) String() string {
	switch k {
	case KindOpenAccount:
		return "open_account"
	case KindSetKYCLevel:
		return "set_kyc_level"
	case KindIssueCard:
		return "issue_card"
	case KindSetCardStatus:
		return "set_card_status"
	case KindPayIn:
		return "payin"
	case KindPayOut:
		return "payout"
	case KindTransfer:
		return "transfer"
	case KindRefund:
		return "refund"
	case KindCapture:
		return "capture"
	case KindVoid:
		return "void"
	case KindIncrement:
		return "increment"
	case KindFXQuote:
		return "fx_quote"
	case KindApprove:
		return "approve"
	case KindDecline:
		return "decline"
	case KindExpire:
		return "expire"
	case KindTick:
		return "tick"
	case KindCounterLeg:
		return "counter_leg"
	case KindLegResult:
		return "leg_result"
	case KindReleaseClaim:
		return "release_claim"
	case KindRailAnswer:
		return "rail_answer"
	case KindDispute:
		return "dispute"
	case KindDisputeEvidence:
		return "dispute_evidence"
	case KindDisputeAccept:
		return "dispute_accept"
	case KindAuthorization:
		return "authorization"
	case KindAuthorizationAdvice:
		return "authorization_advice"
	case KindReversal:
		return "reversal"
	case KindClearing:
		return "clearing"
	default:
		return "unknown"
	}
}
