package model

import (
	"fmt"
	"slices"
	"strings"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	railsv1 "github.com/caudalpay/caudal/schemas/rails/v1"
)

// Differ names the first field in which a decision is not what it must be; empty: none.
//
// It looks at everything that the page fixes. Texts that a decision merely carries along (sealed data, customer,
// instrument) are not compared, nor is the order of postings in a journal.
func Differ(want, got *paymentsv1.Decision) string {
	type field struct {
		name      string
		want, got any
	}
	fields := []field{
		{"kind", want.GetKind(), got.GetKind()},
		{"account", want.GetAccount(), got.GetAccount()},
		{"account_seq", want.GetAccountSeq(), got.GetAccountSeq()},
		{"outcome", want.GetOutcome(), got.GetOutcome()},
		{"reasons", fmt.Sprint(want.GetReasons()), fmt.Sprint(got.GetReasons())},
		{"command_id", want.GetCommandId(), got.GetCommandId()},
		{"payment_id", want.GetPaymentId(), got.GetPaymentId()},
		{"accepted_at_us", want.GetAcceptedAtUs(), got.GetAcceptedAtUs()},
		{"effective_date", want.GetEffectiveDate(), got.GetEffectiveDate()},
		{"status", want.GetStatus(), got.GetStatus()},
		{"amount_minor", want.GetAmountMinor(), got.GetAmountMinor()},
		{"target_amount_minor", want.GetTargetAmountMinor(), got.GetTargetAmountMinor()},
		{"fee_minor", want.GetFeeMinor(), got.GetFeeMinor()},
		{"fx", fxText(want.GetFx()), fxText(got.GetFx())},
		{"fraud_score", want.GetFraudScore(), got.GetFraudScore()},
		{"rule_hits", hitsText(want.GetRuleHits()), hitsText(got.GetRuleHits())},
		{"related_payment_id", want.GetRelatedPaymentId(), got.GetRelatedPaymentId()},
		{"currencies", want.GetCurrency() + " " + want.GetTargetCurrency(), got.GetCurrency() + " " + got.GetTargetCurrency()},
		{"limit_amount_minor", want.GetLimitAmountMinor(), got.GetLimitAmountMinor()},
		{"refunded_minor", want.GetRefundedMinor(), got.GetRefundedMinor()},
		{"related_status", want.GetRelatedStatus(), got.GetRelatedStatus()},
		{"captured_minor", want.GetCapturedMinor(), got.GetCapturedMinor()},
		{"authorized_minor", want.GetAuthorizedMinor(), got.GetAuthorizedMinor()},
		{"rail", railText(want), railText(got)},
		{"rail says", saidText(want, got), saidText(got, got)},
		{"given_order_id", givenOrder(want, got), got.GetGivenOrderId()},
		{"card", cardText(want), cardText(got)},
		{"card_state", cardStateText(want.GetCardState()), cardStateText(got.GetCardState())},
		{"reason_code", want.GetReasonCode(), got.GetReasonCode()},
		{"evidence", evidenceText(want.GetEvidence()), evidenceText(got.GetEvidence())},
		{"quote", want.GetQuote(), got.GetQuote()},
		{"deadline_us", want.GetDeadlineUs(), got.GetDeadlineUs()},
		{"account_state", stateText(want.GetAccountState()), stateText(got.GetAccountState())},
		{"journals", Journals(want), Journals(got)},
		{"balances", Balances(want.GetBalances()), Balances(got.GetBalances())},
	}
	for _, f := range fields {
		if f.want != f.got {
			return fmt.Sprintf("%s: want %v, got %v", f.name, f.want, f.got)
		}
	}
	return ""
}

// railText is what a decision repeats of a rail's answer.
func railText(d *paymentsv1.Decision) string {
	return fmt.Sprintf("%q by %q: code %q, reference %q, tid %q", d.GetOrderId(), d.GetConnector(), d.GetRailCode(), d.GetRailReference(), d.GetRailTid())
}

// saidText is what a decision tells of the rail's result. Decisions of before results were told have none.
func saidText(d, got *paymentsv1.Decision) string {
	if got.GetRailResult() == paymentsv1.RailResult_RAIL_RESULT_UNSPECIFIED {
		return ""
	}
	return fmt.Sprintf("%s, amount %d", d.GetRailResult(), d.GetRailAmountMinor())
}

// givenOrder is the order that a decision gives. Decisions of before that was told name none; the orders themselves are compared
// with the topic's in any case.
func givenOrder(want, got *paymentsv1.Decision) string {
	if got.GetGivenOrderId() == "" {
		return ""
	}
	return want.GetGivenOrderId()
}

// cardText is which card a decision is about, and where it was used.
func cardText(d *paymentsv1.Decision) string {
	return fmt.Sprintf("%q at %q, mcc %q, acquirer %q, rrn %q", d.GetCard(), d.GetCardAcceptor(), d.GetMcc(), d.GetAcquirer(), d.GetRrn())
}

func cardStateText(s *paymentsv1.CardState) string {
	if s == nil {
		return "none"
	}
	return fmt.Sprintf("of %s %s %s...%s until %d issued %d", s.GetAccount(), word(s.GetStatus(), "CARD_STATUS_"), s.GetFirst6(), s.GetLast4(), s.GetExpiry(), s.GetIssuedAtUs())
}

func evidenceText(files []*paymentsv1.EvidenceFile) string {
	var texts []string
	for _, f := range files {
		texts = append(texts, fmt.Sprintf("%q %x %s", f.GetReference(), f.GetSha256(), f.GetKind()))
	}
	return strings.Join(texts, ", ")
}

// Order writes an order as text: everything but what is sealed.
func Order(o *railsv1.Order) string {
	return fmt.Sprintf("%s %s of %s: %d %s by %s for %s/%s %s, instrument %q brand %q installments %d, connector %q reference %q, final %v, ordered at %d, late at %d, deadline %d, version %d",
		word(o.GetKind(), "ORDER_KIND_"), o.GetOrderId(), o.GetPaymentId(), o.GetAmountMinor(), o.GetCurrency(), o.GetMethod(), o.GetTenant(), o.GetMerchant(),
		o.GetAccount(), o.GetInstrument(), o.GetBrand(), o.GetInstallments(), o.GetConnector(), o.GetReference(), o.GetFinal(), o.GetOrderedAtUs(),
		o.GetLateAtUs(), o.GetDeadlineUs(), o.GetVersion())
}

// Journals writes the journals as text, the postings of each sorted.
func Journals(d *paymentsv1.Decision) string {
	var journals []string
	for _, j := range d.GetJournals() {
		var lines []string
		for _, p := range j.GetPostings() {
			lines = append(lines, fmt.Sprintf("%s %+d %s %s", p.GetAccount(), p.GetAmountMinor(), p.GetCurrency(), word(p.GetLayer(), "LAYER_")))
		}
		slices.Sort(lines)
		journals = append(journals, word(j.GetKind(), "JOURNAL_KIND_")+"{"+strings.Join(lines, ", ")+"}")
	}
	return strings.Join(journals, " ")
}

// Balances writes balances as text, by currency.
func Balances(list []*paymentsv1.Balance) string {
	var texts []string
	for _, b := range list {
		texts = append(texts, fmt.Sprintf("%s posted %d held %d incoming %d", b.GetCurrency(), b.GetPostedMinor(), b.GetHeldMinor(), b.GetIncomingMinor()))
	}
	slices.Sort(texts)
	return strings.Join(texts, ", ")
}

func word(v fmt.Stringer, prefix string) string {
	return strings.ToLower(strings.TrimPrefix(v.String(), prefix))
}

func fxText(f *paymentsv1.Fx) string {
	if f == nil {
		return "none"
	}
	return fmt.Sprintf("%d e-%d (mid %d e-%d, spread %d bp)", f.GetRateUnscaled(), f.GetRateScale(), f.GetMidUnscaled(), f.GetMidScale(), f.GetSpreadBp())
}

func hitsText(hits []*paymentsv1.RuleHit) string {
	var texts []string
	for _, h := range hits {
		texts = append(texts, fmt.Sprintf("%s %d", h.GetRule(), h.GetWeight()))
	}
	return strings.Join(texts, ", ")
}

func stateText(s *paymentsv1.AccountState) string {
	if s == nil {
		return "none"
	}
	return fmt.Sprintf("%s %s %s %v level %d overdraft %d policy %s opened %d", s.GetExternalId(), s.GetKind(), s.GetStatus(),
		s.GetCurrencies(), s.GetKycLevel(), s.GetOverdraftLimitMinor(), s.GetPolicy(), s.GetOpenedAtUs())
}

// Cell is what the engine's table must hold under a key, nil for a key that was never decided. Its fraud counters are
// left out: every score that they lead to is compared instead.
func (p *Partition) Cell(key string) *paymentsv1.AccountCell {
	a := p.accounts[key]
	if a == nil {
		return nil
	}
	return &paymentsv1.AccountCell{
		Version: 1, Tenant: a.tenant, Merchant: a.merchant, Customer: a.customer, State: clone(a.state), Balances: a.allBalances(),
		AccountSeq: a.seq, LastAcceptedAtUs: a.last, OpenHash: a.openHash, CustomerAccount: a.claimed, Card: a.cloneCard(),
		Limits: &paymentsv1.LimitWindows{Day: a.window.day, Month: a.window.month, DayUsedMinor: a.window.dayUsed, MonthUsedMinor: a.window.monthUsed},
	}
}

// DifferCell names the first field in which the engine's cell of a key is not what it must be; empty: none.
func (p *Partition) DifferCell(key string, got *paymentsv1.AccountCell) string {
	want := p.Cell(key)
	switch {
	case want == nil && got == nil:
		return ""
	case want == nil:
		return "no command of this key was decided, yet it has a cell"
	case got == nil:
		return "there is no cell"
	}
	fields := []struct{ name, want, got string }{
		{"account_seq", fmt.Sprint(want.GetAccountSeq()), fmt.Sprint(got.GetAccountSeq())},
		{"last_accepted_at_us", fmt.Sprint(want.GetLastAcceptedAtUs()), fmt.Sprint(got.GetLastAcceptedAtUs())},
		{"state", stateText(want.GetState()), stateText(got.GetState())},
		{"balances", Balances(nonZero(want.GetBalances())), Balances(nonZero(got.GetBalances()))},
		{"limits", limitsText(want.GetLimits()), limitsText(got.GetLimits())},
		{"customer_account", want.GetCustomerAccount(), got.GetCustomerAccount()},
		{"card", cardStateText(want.GetCard()), cardStateText(got.GetCard())},
	}
	if want.GetState() != nil || want.GetCard() != nil {
		fields = append(fields, []struct{ name, want, got string }{
			{"owner", ownerText(want), ownerText(got)},
			{"open_hash", fmt.Sprintf("%x", want.GetOpenHash()), fmt.Sprintf("%x", got.GetOpenHash())},
		}...)
	}
	for _, f := range fields {
		if f.want != f.got {
			return fmt.Sprintf("%s: want %s, got %s", f.name, f.want, f.got)
		}
	}
	return ""
}

func ownerText(c *paymentsv1.AccountCell) string {
	return c.GetTenant() + "/" + c.GetMerchant() + "/" + c.GetCustomer()
}

func limitsText(l *paymentsv1.LimitWindows) string {
	return fmt.Sprintf("day %d %d, month %d %d", l.GetDay(), l.GetDayUsedMinor(), l.GetMonth(), l.GetMonthUsedMinor())
}

// nonZero leaves out currencies in which nothing stands: whether they are listed says nothing.
func nonZero(list []*paymentsv1.Balance) []*paymentsv1.Balance {
	return slices.DeleteFunc(slices.Clone(list), func(b *paymentsv1.Balance) bool {
		return b.GetPostedMinor() == 0 && b.GetHeldMinor() == 0 && b.GetIncomingMinor() == 0
	})
}

// Keys lists every key that was decided.
func (p *Partition) Keys() []string {
	keys := make([]string, 0, len(p.accounts))
	for k := range p.accounts {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// Claims gives the account that each customer's key claims.
func (p *Partition) Claims() map[string]string {
	claims := map[string]string{}
	for key, a := range p.accounts {
		if a.claimed != "" {
			claims[key] = a.claimed
		}
	}
	return claims
}

// Owners gives the key of the customer whom each opened account belongs to.
func (p *Partition) Owners() map[string]string {
	owners := map[string]string{}
	for key, a := range p.accounts {
		if a.state != nil {
			owners[key] = customerKey(a.tenant, a.merchant, a.customer)
		}
	}
	return owners
}

// SettlesClaim gives the key of the customer whose claim a command is about to confirm or to release; empty: none.
func SettlesClaim(key string, cmd *paymentsv1.Command) string {
	switch cmd.GetKind() {
	case paymentsv1.CommandKind_COMMAND_KIND_RELEASE_CLAIM:
		return key
	case paymentsv1.CommandKind_COMMAND_KIND_OPEN_ACCOUNT:
		if strings.HasPrefix(key, "acc_") {
			return customerKey(cmd.GetTenant(), cmd.GetMerchant(), cmd.GetCustomer())
		}
	default:
	}
	return ""
}

// Balances gives the balances of a key, by currency.
func (p *Partition) Balances(key string) []*paymentsv1.Balance {
	if a := p.accounts[key]; a != nil {
		return a.allBalances()
	}
	return nil
}

// TransferTarget is what a transfer took from its payer into transit, in the payee's currency.
func (p *Partition) TransferTarget(payer, transfer string) (currency string, amountMinor int64) {
	if a := p.accounts[payer]; a != nil {
		if t := a.payments[identity(transfer)]; t != nil {
			return t.targetCurrency, t.target
		}
	}
	return "", 0
}

// Fingerprint is what makes two emitted commands the same: where it goes, what it asks, of which payment. Commands that
// come from outside have none; nor has a TICK, which says the same wherever it comes from.
func Fingerprint(key string, cmd *paymentsv1.Command) string {
	switch kind := cmd.GetKind(); kind {
	case paymentsv1.CommandKind_COMMAND_KIND_OPEN_ACCOUNT, paymentsv1.CommandKind_COMMAND_KIND_SET_KYC_LEVEL:
		if !strings.HasPrefix(key, "acc_") {
			return ""
		}
		return fmt.Sprintf("%s %s %s %x", word(kind, "COMMAND_KIND_"), key, cmd.GetCommandId(), cmd.GetBodyHash())
	case paymentsv1.CommandKind_COMMAND_KIND_COUNTER_LEG:
		l := cmd.GetCounterLeg()
		return fmt.Sprintf("counter_leg %s %s from %s at %d: %d %s on %d", key, l.GetTransferId(), l.GetPayerAccount(), l.GetPayerSeq(), l.GetAmountMinor(), l.GetCurrency(), l.GetEffectiveDate())
	case paymentsv1.CommandKind_COMMAND_KIND_LEG_RESULT:
		r := cmd.GetLegResult()
		return fmt.Sprintf("leg_result %s %s of %s %v %s", key, r.GetTransferId(), r.GetPayeeAccount(), r.GetAccepted(), r.GetReason())
	case paymentsv1.CommandKind_COMMAND_KIND_RELEASE_CLAIM:
		return fmt.Sprintf("release_claim %s on %s after %s", key, cmd.GetAccount(), cmd.GetReleaseClaim().GetRefusedCommandId())
	case paymentsv1.CommandKind_COMMAND_KIND_EXPIRE:
		e := cmd.GetExpire()
		return fmt.Sprintf("expire %s %s %s at %d", key, cmd.GetPaymentId(), word(e.GetPurpose(), "EXPIRE_PURPOSE_"), e.GetDueAtUs())
	default:
		return ""
	}
}
