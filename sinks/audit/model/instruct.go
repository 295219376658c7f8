package model

import (
	"slices"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	referencev1 "github.com/caudalpay/caudal/schemas/reference/v1"
)

const (
	kindPayIn    = paymentsv1.CommandKind_COMMAND_KIND_PAY_IN
	kindPayOut   = paymentsv1.CommandKind_COMMAND_KIND_PAY_OUT
	kindTransfer = paymentsv1.CommandKind_COMMAND_KIND_TRANSFER

	reasonOverflow = paymentsv1.Reason_REASON_AMOUNT_OVERFLOW
	reasonTooSmall = paymentsv1.Reason_REASON_AMOUNT_TOO_SMALL
)

// window is what an account has sent on a day and in a month of its tenant, in the limit currency.
type window struct {
	day, month         int32
	dayUsed, monthUsed int64
}

// instruct decides PAY_IN, PAY_OUT and TRANSFER.
func (c *call) instruct() {
	p := c.draft()
	d := c.out.Decision
	reasons := c.intake(p)
	if len(reasons) == 0 {
		review := false
		reasons, review = c.stages(p)
		if review && len(reasons) == 0 {
			d.Outcome = paymentsv1.Outcome_OUTCOME_REVIEW
		}
	}
	switch {
	case len(reasons) > 0:
		c.decline(reasons...)
	case d.GetOutcome() == paymentsv1.Outcome_OUTCOME_REVIEW:
		c.journal(paymentsv1.JournalKind_JOURNAL_KIND_HOLD, p.hold)
		p.deadline = c.acct.last + c.docs.policy.GetReviewTimeoutS()*1_000_000
		c.due.add(p.reviewEntry(c.acct.key))
	case p.rail != nil:
		d.Outcome = paymentsv1.Outcome_OUTCOME_APPROVED
		c.journal(paymentsv1.JournalKind_JOURNAL_KIND_HOLD, p.hold)
		p.grant()
		c.execute(p)
	default:
		d.Outcome = paymentsv1.Outcome_OUTCOME_APPROVED
		c.journal(paymentsv1.JournalKind_JOURNAL_KIND_POST, p.post)
		c.askPayee(p)
	}
	if len(reasons) == 0 {
		c.useQuote(p)
	}
	c.observe(p)
	c.record(p)
	d.LimitAmountMinor, d.LimitCurrency = p.limitAmount, p.limitCurrency
}

func (p *pay) reviewEntry(account string) dueEntry {
	return dueEntry{at: p.deadline, account: account, payment: p.id, purpose: paymentsv1.ExpirePurpose_EXPIRE_PURPOSE_REVIEW}
}

// intake fills in fee, target and limit amount, and says why it cannot.
func (c *call) intake(p *pay) []paymentsv1.Reason {
	var reasons []paymentsv1.Reason
	held := p.currency
	if p.kind == kindPayIn {
		held = p.targetCurrency
	}
	if !slices.Contains(c.acct.state.GetCurrencies(), held) {
		reasons = append(reasons, paymentsv1.Reason_REASON_CURRENCY_NOT_HELD)
	}
	if p.kind == kindTransfer && p.toAccount == c.acct.key {
		reasons = append(reasons, paymentsv1.Reason_REASON_SAME_ACCOUNT)
	}
	p.rail = c.railOf(p)
	if p.method != "book" && p.method != "cash" && p.rail == nil {
		reasons = append(reasons, paymentsv1.Reason_REASON_METHOD_UNAVAILABLE)
	}
	if len(reasons) > 0 {
		return reasons
	}
	if reason := c.price(p); reason != 0 {
		reasons = append(reasons, reason)
	}
	if reason := c.limitAmount(p); reason != 0 {
		reasons = append(reasons, reason)
	}
	return reasons
}

// price pins fee and exchange.
func (c *call) price(p *pay) paymentsv1.Reason {
	row := c.feeRow(p)
	fee, ok := feeBy(row, p.amount, p.currency)
	if !ok {
		return reasonOverflow
	}
	if p.kind == kindPayIn {
		fee = min(fee, p.amount)
	}
	if p.rail != nil {
		p.rail.row = row
	}
	if _, ok := sum(p.amount, fee); !ok {
		return reasonOverflow
	}
	p.fee = fee
	converted := p.amount
	if p.kind == kindPayIn {
		converted -= fee
		if converted == 0 {
			return reasonTooSmall
		}
	}
	var r *rate
	var fx *paymentsv1.Fx
	var reason paymentsv1.Reason
	switch name := c.cmd.GetInstruction().GetQuote(); {
	case name != "":
		r, fx, reason = c.quoted(p, name)
	case p.targetCurrency == p.currency:
		p.target = p.amount
		return 0
	default:
		r, fx, reason = c.pinned(p)
	}
	if reason != 0 {
		return reason
	}
	return p.exchange(converted, r, fx)
}

// pinned is the rate of the sheet that the command names.
func (c *call) pinned(p *pay) (*rate, *paymentsv1.Fx, paymentsv1.Reason) {
	quote := c.docs.quote(p.currency, p.targetCurrency)
	switch {
	case quote == nil:
		return nil, nil, paymentsv1.Reason_REASON_RATE_MISSING
	case c.acct.last > c.docs.sheet.GetValidUntilUs():
		return nil, nil, paymentsv1.Reason_REASON_RATE_STALE
	}
	r, fx, ok := exchanged(quote, quote.GetSpreadBp())
	if !ok {
		return nil, nil, reasonOverflow
	}
	return &r, fx, 0
}

// exchange converts so much, where that comes to anything.
func (p *pay) exchange(minor int64, r *rate, fx *paymentsv1.Fx) paymentsv1.Reason {
	target, ok := r.convert(minor, p.currency, p.targetCurrency)
	switch {
	case !ok:
		return reasonOverflow
	case target == 0:
		return reasonTooSmall
	}
	p.target, p.rate, p.fx = target, r, fx
	return 0
}

// exchanged is what a customer gets of a quote at a spread, and how a decision tells it.
func exchanged(quote *referencev1.Rate, spreadBP int32) (rate, *paymentsv1.Fx, bool) {
	mid := rate{unscaled: quote.GetMidUnscaled(), scale: int64(quote.GetMidScale())}
	r, ok := mid.withSpread(spreadBP)
	if !ok {
		return rate{}, nil, false
	}
	return r, &paymentsv1.Fx{
		RateUnscaled: r.unscaled, RateScale: uint32(r.scale), //nolint:gosec // at most 18
		MidUnscaled: quote.GetMidUnscaled(), MidScale: quote.GetMidScale(), SpreadBp: spreadBP,
	}, true
}

// feeRow is the first row that fits, nil where none does.
func (c *call) feeRow(p *pay) *referencev1.Fee {
	for _, row := range c.docs.fees.GetFees() {
		if row.GetKind() != p.kind || (row.GetMethod() != "" && row.GetMethod() != p.method) || (row.GetCurrency() != "" && row.GetCurrency() != p.currency) {
			continue
		}
		return row
	}
	return nil
}

// feeBy is what a row asks for an amount.
func feeBy(row *referencev1.Fee, amount int64, currency string) (int64, bool) {
	if row == nil {
		return 0, true
	}
	part, ok := rate{unscaled: int64(row.GetRatePpm()), scale: 6}.convert(amount, currency, currency)
	if !ok {
		return 0, false
	}
	fee, ok := sum(part, row.GetFixedMinor())
	fee = max(fee, row.GetMinMinor())
	if row.GetMaxMinor() > 0 {
		fee = min(fee, row.GetMaxMinor())
	}
	return fee, ok
}

// limitAmount is the amount as limits and fraud rules see it.
func (c *call) limitAmount(p *pay) paymentsv1.Reason {
	policy := c.docs.policy
	p.limitCurrency = policy.GetLimitCurrency()
	switch p.limitCurrency {
	case p.currency:
		p.limitAmount = p.amount
		return 0
	case "":
		return 0
	}
	enforced := policy.GetFraudMode() == referencev1.FraudMode_FRAUD_MODE_ENFORCE && len(c.docs.rules.GetRules()) > 0
	needed := len(policy.GetLimits()) > 0 || enforced
	reason := paymentsv1.Reason_REASON_UNSPECIFIED
	quote := c.docs.quote(p.currency, p.limitCurrency)
	switch {
	case quote == nil:
		reason = paymentsv1.Reason_REASON_RATE_MISSING
	case c.acct.last > c.docs.sheet.GetValidUntilUs():
		reason = paymentsv1.Reason_REASON_RATE_STALE
	default:
		mid := rate{unscaled: quote.GetMidUnscaled(), scale: int64(quote.GetMidScale())}
		amount, ok := mid.convert(p.amount, p.currency, p.limitCurrency)
		if ok {
			p.limitAmount = amount
			return 0
		}
		reason = reasonOverflow
	}
	if needed {
		return reason
	}
	return 0
}

// stages are compliance, fraud, limits and funds: every reason counts.
func (c *call) stages(p *pay) (reasons []paymentsv1.Reason, review bool) {
	reasons = c.screen()
	score, hits := c.score(p)
	p.score, c.out.Decision.RuleHits = score, hits
	if policy := c.docs.policy; policy.GetFraudMode() == referencev1.FraudMode_FRAUD_MODE_ENFORCE {
		switch {
		case policy.GetDeclineScore() > 0 && score >= policy.GetDeclineScore():
			reasons = append(reasons, paymentsv1.Reason_REASON_FRAUD_SCORE)
		case policy.GetReviewScore() > 0 && score >= policy.GetReviewScore():
			review = true
		}
	}
	if review && p.issued != nil { // a terminal cannot wait
		reasons, review = append(reasons, paymentsv1.Reason_REASON_FRAUD_SCORE), false
	}
	next := c.acct.window
	if p.kind != kindPayIn {
		var over []paymentsv1.Reason
		next, over = c.reserve(p)
		reasons = append(reasons, over...)
	}
	p.hold, p.post = c.lines(p)
	layer, lines := paymentsv1.Layer_LAYER_POSTED, p.post
	if review || p.rail != nil || p.issued != nil && !p.issued.financial { // posted when a rail, or the clearing, says so
		layer, lines = paymentsv1.Layer_LAYER_PENDING, p.hold
	}
	switch {
	case p.kind != kindPayIn && !c.funded(p.currency, p.amount, p.fee):
		reasons = append(reasons, paymentsv1.Reason_REASON_INSUFFICIENT_FUNDS)
	case !c.fits(layer, lines):
		reasons = append(reasons, reasonOverflow)
	}
	if len(reasons) == 0 && p.kind != kindPayIn {
		c.acct.window = next
		p.reserved = len(c.docs.policy.GetLimits()) > 0
	}
	return reasons, review
}

// screen looks the counterparty up in the list of blocked parties and countries.
func (c *call) screen() []paymentsv1.Reason {
	party := c.party()
	var reasons []paymentsv1.Reason
	if slices.Contains(c.docs.blocklist.GetCountries(), party.GetCountry()) && party.GetCountry() != "" {
		reasons = append(reasons, paymentsv1.Reason_REASON_BLOCKED_COUNTRY)
	}
	for _, digest := range [][]byte{party.GetDigest(), party.GetNameDigest(), party.GetDocumentDigest(), party.GetAccountDigest()} {
		for _, blocked := range c.docs.blocklist.GetPartyDigests() {
			if len(digest) > 0 && string(digest) == string(blocked) {
				reasons = append(reasons, paymentsv1.Reason_REASON_BLOCKED_PARTY)
			}
		}
	}
	return reasons
}

// reserve gives the windows with the payment in them, and the limits it would break.
func (c *call) reserve(p *pay) (window, []paymentsv1.Reason) {
	w, limits := c.acct.window, c.docs.policy.GetLimits()
	if len(limits) == 0 {
		return w, nil
	}
	now := local(c.acct.last, c.docs.offset(c.acct.last))
	p.day = int32(floorDiv(now.Unix(), 86_400))                //nolint:gosec // days fit
	p.month = int32((now.Year()-1970)*12+int(now.Month())) - 1 //nolint:gosec // months fit
	if w.day != p.day {
		w.day, w.dayUsed = p.day, 0
	}
	if w.month != p.month {
		w.month, w.monthUsed = p.month, 0
	}
	_, dayOK := sum(w.dayUsed, p.limitAmount)
	_, monthOK := sum(w.monthUsed, p.limitAmount)
	w.dayUsed, w.monthUsed = capped(w.dayUsed, p.limitAmount), capped(w.monthUsed, p.limitAmount)
	if !dayOK || !monthOK {
		return w, []paymentsv1.Reason{reasonOverflow}
	}
	var dayLimit, monthLimit int64 // a level without a row may send nothing
	for _, l := range limits {
		if l.GetLevel() == c.acct.state.GetKycLevel() {
			dayLimit, monthLimit = l.GetDayMinor(), l.GetMonthMinor()
		}
	}
	var over []paymentsv1.Reason
	if w.dayUsed > dayLimit {
		over = append(over, paymentsv1.Reason_REASON_LIMIT_DAY)
	}
	if w.monthUsed > monthLimit {
		over = append(over, paymentsv1.Reason_REASON_LIMIT_MONTH)
	}
	return w, over
}

// unreserve gives a limit back, as far as its day and month still last.
func (a *account) unreserve(p *pay) {
	if !p.reserved {
		return
	}
	p.reserved = false
	if a.window.day == p.day {
		a.window.dayUsed = max(0, a.window.dayUsed-p.limitAmount)
	}
	if a.window.month == p.month {
		a.window.monthUsed = max(0, a.window.monthUsed-p.limitAmount)
	}
}

// lines are the hold and the post of a payment, from the table of the page.
func (c *call) lines(p *pay) (hold, post []line) {
	me, from, to := c.acct.key, p.currency, p.targetCurrency
	far := "sys_clearing_" + p.method
	if p.kind == kindTransfer {
		far = "sys_transit"
	}
	exchanged := from != to
	fees := line{"sys_fees", from, p.fee}
	switch {
	case p.kind == kindPayIn && exchanged:
		post = []line{{far, from, -p.amount}, fees, {"sys_fx", from, p.amount - p.fee}, {"sys_fx", to, -p.target}, {me, to, p.target}}
		hold = []line{{me, to, p.target}, {"sys_suspense", to, -p.target}}
	case p.kind == kindPayIn:
		credited := p.amount - p.fee
		post = []line{{far, from, -p.amount}, {me, from, p.amount}, {me, from, -p.fee}, fees}
		hold = []line{{me, from, credited}, {"sys_suspense", from, -credited}}
	case exchanged:
		post = []line{{me, from, -p.amount}, {me, from, -p.fee}, fees, {"sys_fx", from, p.amount}, {"sys_fx", to, -p.target}, {far, to, p.target}}
	default:
		post = []line{{me, from, -p.amount}, {far, from, p.amount}, {me, from, -p.fee}, fees}
	}
	if p.kind != kindPayIn {
		hold = []line{{me, from, -p.amount}, {me, from, -p.fee}, {"sys_suspense", from, p.amount + p.fee}}
	}
	return withoutZero(hold), withoutZero(post)
}

func withoutZero(lines []line) []line {
	return slices.DeleteFunc(lines, func(l line) bool { return l.amount == 0 })
}

// askPayee sends the other side of a transfer.
func (c *call) askPayee(p *pay) {
	if p.kind != kindTransfer {
		return
	}
	c.emit(p.toAccount, &paymentsv1.Command{
		Kind: paymentsv1.CommandKind_COMMAND_KIND_COUNTER_LEG, PaymentId: p.id,
		Body: &paymentsv1.Command_CounterLeg{CounterLeg: &paymentsv1.CounterLeg{
			TransferId: p.id, PayerAccount: c.acct.key, AmountMinor: p.target, Currency: p.targetCurrency, EffectiveDate: p.date,
			PayerSeq: c.out.Decision.GetAccountSeq(),
		}},
	})
}

// funded: amount and fee are there, the overdraft counting in the first currency only.
func (c *call) funded(currency string, amount, fee int64) bool {
	b := c.acct.balances[currency]
	if b == nil {
		b = &balance{}
	}
	overdraft := int64(0)
	if currencies := c.acct.state.GetCurrencies(); len(currencies) > 0 && currencies[0] == currency {
		overdraft = c.acct.state.GetOverdraftLimitMinor()
	}
	// left can leave int64 on both sides; its sign cannot be had from a sum that wrapped.
	return bigSum(b.posted, -b.held, overdraft).Cmp(bigSum(amount, fee)) >= 0
}
