package model

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

// ordered sorts reasons by precedence and drops doubles.
func ordered(reasons []paymentsv1.Reason) []paymentsv1.Reason {
	sorted := slices.Clone(reasons)
	slices.Sort(sorted)
	return slices.Compact(sorted)
}

// customerCommand: a customer's key knows only which account is the customer's.
func (c *call) customerCommand() {
	d := c.out.Decision
	d.Outcome = paymentsv1.Outcome_OUTCOME_APPLIED
	switch {
	case c.cmd.GetKind() == paymentsv1.CommandKind_COMMAND_KIND_RELEASE_CLAIM:
		if c.acct.claimed == c.cmd.GetAccount() {
			c.acct.claimed = ""
		}
		return
	case c.cmd.GetKind() == paymentsv1.CommandKind_COMMAND_KIND_SET_KYC_LEVEL && c.acct.claimed == "":
		c.decline(paymentsv1.Reason_REASON_ACCOUNT_UNKNOWN)
		return
	case c.cmd.GetKind() == paymentsv1.CommandKind_COMMAND_KIND_SET_KYC_LEVEL:
	case c.acct.claimed != "" && c.acct.claimed != c.cmd.GetAccount():
		c.decline(paymentsv1.Reason_REASON_CUSTOMER_HAS_ACCOUNT)
		return
	default:
		c.acct.claimed = c.cmd.GetAccount()
	}
	c.emit(c.acct.claimed, c.cmd)
}

// customerKey is where everything about a customer is decided: docs/adr/0001.
func customerKey(tenant, merchant, customer string) string {
	h := sha256.New()
	for _, word := range []string{"customer", tenant, merchant, customer} {
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(word)))) //nolint:gosec // a word of a record
		h.Write([]byte(word))
	}
	return "cus_" + strings.ToLower(base32.StdEncoding.EncodeToString(h.Sum(nil)))[:20]
}

// releaseClaim: the account is another customer's, so the claim that led here has to go.
func (c *call) releaseClaim() {
	key := customerKey(c.cmd.GetTenant(), c.cmd.GetMerchant(), c.cmd.GetCustomer())
	c.emit(key, &paymentsv1.Command{
		Kind: paymentsv1.CommandKind_COMMAND_KIND_RELEASE_CLAIM, Tenant: c.cmd.GetTenant(), Merchant: c.cmd.GetMerchant(),
		Customer: c.cmd.GetCustomer(), Account: c.acct.key,
		Body: &paymentsv1.Command_ReleaseClaim{ReleaseClaim: &paymentsv1.ReleaseClaim{RefusedCommandId: c.cmd.GetCommandId()}},
	})
}

// open: the account's key makes the account once, for one customer.
func (c *call) open() {
	a, d, body := c.acct, c.out.Decision, c.cmd.GetOpenAccount()
	switch {
	case a.state != nil && (a.tenant != c.cmd.GetTenant() || a.merchant != c.cmd.GetMerchant()):
		c.decline(paymentsv1.Reason_REASON_OWNER_MISMATCH)
		c.releaseClaim()
	case a.state != nil && a.customer != c.cmd.GetCustomer():
		d.Outcome = paymentsv1.Outcome_OUTCOME_CONFLICT
		d.Reasons = []paymentsv1.Reason{paymentsv1.Reason_REASON_IDEMPOTENCY_CONFLICT}
		c.releaseClaim()
	case a.state != nil && bytes.Equal(a.openHash, c.cmd.GetBodyHash()):
		d.Outcome = paymentsv1.Outcome_OUTCOME_REPEATED
		c.tellAccount()
	case a.state != nil:
		d.Outcome = paymentsv1.Outcome_OUTCOME_CONFLICT
		d.Reasons = []paymentsv1.Reason{paymentsv1.Reason_REASON_IDEMPOTENCY_CONFLICT}
	default:
		d.Outcome = paymentsv1.Outcome_OUTCOME_APPROVED
		a.tenant, a.merchant, a.customer, a.openHash = c.cmd.GetTenant(), c.cmd.GetMerchant(), c.cmd.GetCustomer(), c.cmd.GetBodyHash()
		a.state = &paymentsv1.AccountState{
			ExternalId: body.GetExternalId(), Kind: body.GetKind(), Status: paymentsv1.AccountStatus_ACCOUNT_STATUS_OPEN,
			Currencies: body.GetCurrencies(), KycLevel: body.GetKycLevel(), OverdraftLimitMinor: body.GetOverdraftLimitMinor(),
			Policy: body.GetPolicy(), OpenedAtUs: d.GetAcceptedAtUs(),
		}
		for _, currency := range body.GetCurrencies() {
			a.balances[currency] = &balance{}
		}
		c.tellAccount()
	}
}

// tellAccount: account requests are answered with the whole account.
func (c *call) tellAccount() {
	c.out.Decision.AccountState = clone(c.acct.state)
	c.out.Decision.Balances = c.acct.allBalances()
}

func (c *call) setLevel() {
	c.acct.state.KycLevel = c.cmd.GetSetKycLevel().GetKycLevel()
	c.out.Decision.Outcome = paymentsv1.Outcome_OUTCOME_APPROVED
	c.tellAccount()
}

// identity is what makes two payments the same: the id without its kind.
func identity(id string) string {
	if len(id) < 3 {
		return id
	}
	return id[3:]
}

// named finds a payment by its full id. The same identity under another prefix names none.
func (c *call) named(id string) *pay {
	if p := c.acct.payments[identity(id)]; p != nil && p.id == id {
		return p
	}
	return nil
}

// repeated answers what was asked before.
func (c *call) repeated() bool {
	d := c.out.Decision
	if c.cmd.GetKind() == kindDispute {
		return c.heard()
	}
	if c.cmd.GetRailAnswer() != nil || c.fact() && c.cmd.GetKind() != kindClearing {
		return false // known by the status of the record that it is about
	}
	if leg := c.cmd.GetCounterLeg(); leg != nil && c.acct.took(leg) {
		d.Outcome, d.RelatedPaymentId = paymentsv1.Outcome_OUTCOME_APPLIED, leg.GetTransferId()
		return true
	}
	about := c.acct.payments[identity(d.GetPaymentId())]
	first := c.acct.answers[c.cmd.GetCommandId()]
	if c.cmd.GetKind() == kindAuthorization && about != nil && about.issued != nil && about.issued.unasked {
		c.reversedBefore(about)
		return true
	}
	if !c.creates() {
		about = c.named(d.GetPaymentId())
	} else {
		first = nil
		if about != nil {
			first = &about.first
		}
	}
	if first == nil {
		return false
	}
	if !bytes.Equal(first.hash, c.cmd.GetBodyHash()) {
		d.Outcome = paymentsv1.Outcome_OUTCOME_CONFLICT
		d.Reasons = []paymentsv1.Reason{paymentsv1.Reason_REASON_IDEMPOTENCY_CONFLICT}
		if c.creates() {
			c.amounts(c.draft()) // as asked; what stands is not told
		}
		return true
	}
	d.Outcome, d.Reasons, d.Status = paymentsv1.Outcome_OUTCOME_REPEATED, first.reasons, first.status
	if c.cmd.GetKind() == kindAuthorization {
		about.asked = max(about.asked, c.cmd.GetAcceptedAtUs())
	}
	if c.cmd.GetKind() == paymentsv1.CommandKind_COMMAND_KIND_SET_KYC_LEVEL {
		c.tellAccount()
	} else if about != nil {
		if c.creates() {
			about = about.atFirst()
		}
		c.amounts(about)
	}
	return true
}

// remember keeps the answer to a request that is not a payment, and a payment that was barred before it had a record.
func (c *call) remember() {
	switch c.cmd.GetKind() {
	case paymentsv1.CommandKind_COMMAND_KIND_SET_KYC_LEVEL, paymentsv1.CommandKind_COMMAND_KIND_APPROVE, paymentsv1.CommandKind_COMMAND_KIND_DECLINE,
		kindEvidence, kindAccept:
		d := c.out.Decision
		c.acct.answers[c.cmd.GetCommandId()] = &answer{hash: c.cmd.GetBodyHash(), reasons: d.GetReasons(), status: d.GetStatus()}
	default:
		if c.creates() && c.acct.payments[identity(c.cmd.GetCommandId())] == nil {
			c.record(c.draft())
		}
	}
}

// draft is the payment a command asks for, before any stage.
func (c *call) draft() *pay {
	p := &pay{
		id: c.cmd.GetCommandId(), kind: c.cmd.GetKind(), merchant: c.cmd.GetMerchant(),
		seq: c.acct.seq, created: c.acct.last, date: c.out.Decision.GetEffectiveDate(),
	}
	if in := c.cmd.GetInstruction(); in != nil {
		p.amount, p.currency, p.targetCurrency = in.GetAmountMinor(), in.GetCurrency(), in.GetTargetCurrency()
		if p.targetCurrency == "" {
			p.targetCurrency = p.currency
		}
		p.method, p.toAccount = in.GetMethod(), in.GetToAccount()
	}
	switch p.kind {
	case kindQuote:
		p.asQuote(c.cmd.GetFxQuote())
	case kindAuthorization:
		p.asAuthorization(c.cmd.GetCardTransaction())
		p.asked = c.cmd.GetAcceptedAtUs() // not clamped: the door tells it as it was asked
	case kindAdvice:
		p.asAuthorization(c.cmd.GetCardTransaction())
	case kindClearing:
		p.asClearing(c.cmd.GetClearing())
	default:
	}
	if p.kind == kindRefund || p.kind == kindClearing || c.operation() {
		p.related = c.cmd.GetPaymentId()
	}
	return p
}

// record writes the payment with the decision made on it, and its place in the due index.
func (c *call) record(p *pay) {
	d := c.out.Decision
	switch d.GetOutcome() {
	case paymentsv1.Outcome_OUTCOME_REVIEW:
		p.status = paymentsv1.PaymentStatus_PAYMENT_STATUS_IN_REVIEW
	case paymentsv1.Outcome_OUTCOME_DECLINED:
		p.status = paymentsv1.PaymentStatus_PAYMENT_STATUS_FAILED
	default:
		p.grant()
	}
	c.keep(p)
	p.leaves = c.retain(p.id)
}

// keep writes a record that has its status, and tells of it.
func (c *call) keep(p *pay) {
	d := c.out.Decision
	d.Status = p.status
	c.amounts(p)
	p.first = answer{hash: c.cmd.GetBodyHash(), outcome: d.GetOutcome(), reasons: d.GetReasons(), status: p.status, deadline: p.deadline}
	c.acct.payments[identity(p.id)] = p
}

// grant takes a payment to where it stands once nothing is left to be asked inside.
func (p *pay) grant() {
	p.granted = true
	switch {
	case p.kind == kindQuote:
		p.status = statusCreated
	case p.issued != nil:
		p.status = p.issued.granted()
	case p.rail == nil && p.kind != kindTransfer:
		p.status = statusSucceeded
	case p.kind == kindPayOut:
		p.status = statusCreated
	default:
		p.status = statusProcessing
	}
}

// atFirst is a payment as its first decision told it.
func (p *pay) atFirst() *pay {
	first := *p
	first.deadline = p.first.deadline
	return &first
}

// retain enters the day on which a record leaves; a policy without retention keeps it for ever.
func (c *call) retain(payment string) int64 {
	days := int64(c.docs.policy.GetRetentionDays())
	if days <= 0 {
		return 0
	}
	at := c.acct.last + days*dayUS
	c.due.add(dueEntry{at: at, account: c.acct.key, payment: payment, purpose: paymentsv1.ExpirePurpose_EXPIRE_PURPOSE_RETENTION})
	return at
}

// amounts copies a payment's figures into the decision; the status has been set.
func (c *call) amounts(p *pay) {
	d := c.out.Decision
	d.AmountMinor, d.Currency, d.TargetAmountMinor, d.TargetCurrency = p.amount, p.currency, p.target, p.targetCurrency
	d.FeeMinor, d.Fx, d.Method, d.ToAccount, d.RelatedPaymentId = p.fee, p.fx, p.method, p.toAccount, p.related
	d.CreatedAtUs, d.FraudScore, d.Quote = p.created, p.score, p.quote
	d.DeadlineUs = 0
	if d.GetStatus() == statusInReview || p.kind == kindQuote && d.GetStatus() == statusCreated {
		d.DeadlineUs = p.deadline
	}
	if p.disputed != nil {
		c.tellDispute(p)
	}
	c.tellRail(p)
}

func (a *account) allBalances() []*paymentsv1.Balance {
	list := make([]*paymentsv1.Balance, 0, len(a.balances))
	for currency, b := range a.balances {
		list = append(list, &paymentsv1.Balance{Currency: currency, PostedMinor: b.posted, HeldMinor: b.held, IncomingMinor: b.incoming})
	}
	slices.SortFunc(list, func(x, y *paymentsv1.Balance) int {
		return bytes.Compare([]byte(x.GetCurrency()), []byte(y.GetCurrency()))
	})
	return list
}

// clone keeps a state apart from what is changed later.
func clone(s *paymentsv1.AccountState) *paymentsv1.AccountState {
	if s == nil {
		return nil
	}
	return proto.CloneOf(s)
}
