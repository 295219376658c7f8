// Package model is docs/domain.md written down a second time, as simply as possible: what each command of the log must do
// to the books. It shares no code with processors/: maps and lists instead of rings and records, math/big instead of
// checked words, protobuf instead of domain types. Where both agree on a log, either both are right or both misread the
// page in the same way.
//
// It refuses to do I/O, and it is not fast.
package model

import (
	"fmt"
	"strings"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	railsv1 "github.com/caudalpay/caudal/schemas/rails/v1"
	"github.com/caudalpay/caudal/schemas/topics"
)

// Record is one command with its place in the log.
type Record struct {
	Key       string
	Partition int32
	Offset    int64
	Command   *paymentsv1.Command
}

// Emission is a command that a decision must put on the log.
type Emission struct {
	Key     string
	Command *paymentsv1.Command
}

// Result is what a command must lead to. The decision's previous_hash, sealed and rule hits are not the model's to say.
type Result struct {
	Decision  *paymentsv1.Decision
	Emissions []Emission
	Orders    []*railsv1.Order // what it must ask of rails, under the account's key; sealed is not the model's to say
}

// Partition is the state of one partition of the commands topic, which no other partition can change.
type Partition struct {
	refs     *References
	accounts map[string]*account
	due      dueIndex
	minute   int64 // of the last tick
}

// NewPartition starts at the beginning of the log.
func NewPartition(refs *References) *Partition {
	return &Partition{refs: refs, accounts: map[string]*account{}, due: newDueIndex()}
}

// account is the state under one key: an account's, a customer's, or that of an account nobody opened.
type account struct {
	key      string
	seq      uint64
	last     int64 // accepted_at of the newest decision
	tenant   string
	merchant string
	customer string
	state    *paymentsv1.AccountState // nil: not opened
	openHash []byte
	claimed  string                // customers: their one account
	card     *paymentsv1.CardState // cards: nil until it is issued
	balances map[string]*balance
	window   window
	seen     activity
	payments map[string]*pay    // by identity: the id without its kind
	answers  map[string]*answer // to requests that are not payments, by command id
	legs     map[string]taken   // counter-legs taken or refused, by transfer
}

type balance struct{ posted, held, incoming int64 }

// answer is a first decision, to be repeated.
type answer struct {
	hash    []byte
	outcome paymentsv1.Outcome
	reasons []paymentsv1.Reason
	status  paymentsv1.PaymentStatus

	deadline int64 // of a payment's review; an authorisation has another
}

// line is one posting; layer and journal follow from where it stands.
type line struct {
	account, currency string
	amount            int64
}

// pay is a payment as its account remembers it.
type pay struct {
	first    answer
	id       string
	kind     paymentsv1.CommandKind
	merchant string
	status   paymentsv1.PaymentStatus
	seq      uint64 // of the decision that made it
	created  int64
	date     int32
	deadline int64
	leaves   int64 // when the record leaves, 0: never
	score    uint32

	amount, target, fee      int64
	currency, targetCurrency string
	rate                     *rate // nil: nothing was converted
	fx                       *paymentsv1.Fx
	method, toAccount        string
	related                  string

	limitAmount   int64
	limitCurrency string
	day, month    int32
	reserved      bool

	hold, post []line
	refunded   int64 // of amount

	granted  bool    // not declined, and no review that could still decline it, or has
	rail     *railed // nil: nothing outside executes it
	final    bool    // captures: what is left after it is given up
	late     bool    // what the rail did too late was taken in
	lateBack bool    // payouts: and has come back
	lateAt   int64   // pay-ins: the highest reported_at of what came late of its captures and refunds; 0: none

	quote    string    // whose rate it has used
	usedBy   string    // quotes: the payment that did
	issued   *issued   // authorizations: what stands granted
	asked    int64     // authorizations: the highest accepted_at of the requests with its body hash; 0: none has come
	disputed *disputed // disputes: what was told, and where the money is
}

// call is one command on its way through the model.
type call struct {
	*Partition
	rec  Record
	cmd  *paymentsv1.Command
	acct *account
	docs documents
	out  Result

	touched map[string]bool // currencies of the account that a journal touched
	part    part            // of a card pay-in, captured by this very command
}

// Apply says what the command must lead to. An error means that it cannot be decided (a pinned document is missing, the
// record is malformed): the engine has to park it, and the state is as before.
func (p *Partition) Apply(rec Record) (Result, error) {
	c := &call{Partition: p, rec: rec, cmd: rec.Command, touched: map[string]bool{}}
	if err := formed(c.cmd); err != nil {
		return Result{}, err
	}
	if err := c.resolve(); err != nil {
		return Result{}, err
	}
	d := &paymentsv1.Decision{
		Kind: c.cmd.GetKind(), CommandId: c.cmd.GetCommandId(),
		CommandTopic: topics.Commands, CommandPartition: rec.Partition, CommandOffset: rec.Offset,
		AcceptedAtUs: c.cmd.GetAcceptedAtUs(), PaymentId: c.cmd.GetPaymentId(),
	}
	if a := c.cmd.GetRailAnswer(); a != nil {
		d.RailCode, d.Connector, d.OrderId, d.RailReference = a.GetCode(), a.GetConnector(), a.GetOrderId(), a.GetReference()
		d.RailResult, d.RailAmountMinor, d.RailTid = a.GetResult(), a.GetAmountMinor(), a.GetTid()
	}
	if t := c.cmd.GetDispute(); t != nil {
		d.Connector, d.RailReference, d.ReasonCode, d.RelatedPaymentId = t.GetConnector(), t.GetReference(), t.GetReasonCode(), c.cmd.GetPaymentId()
	}
	c.out.Decision = d
	if c.cmd.GetKind() == paymentsv1.CommandKind_COMMAND_KIND_TICK {
		d.EffectiveDate = dayUTC(d.GetAcceptedAtUs())
		c.tick()
		return c.out, nil
	}
	if !ofAnAccount(rec.Key) && !strings.HasPrefix(rec.Key, "cus_") && !ofACard(rec.Key) {
		return Result{}, fmt.Errorf("key %q is neither an account's nor a customer's nor a card's", rec.Key)
	}
	if err := c.fitsKey(); err != nil {
		return Result{}, err
	}
	c.acct = p.account(rec.Key)
	c.acct.seq++
	c.acct.last = max(c.acct.last, c.cmd.GetAcceptedAtUs())
	d.Account, d.AccountSeq, d.AcceptedAtUs = rec.Key, c.acct.seq, c.acct.last
	d.EffectiveDate = c.effectiveDate()
	c.tellCard()
	switch {
	case ofAnAccount(rec.Key):
		c.accountCommand()
	case ofACard(rec.Key):
		c.cardCommand()
	default:
		c.customerCommand()
	}
	return c.out, nil
}

func ofAnAccount(key string) bool { return strings.HasPrefix(key, "acc_") }

func ofACard(key string) bool { return strings.HasPrefix(key, "crd_") }

// fitsKey: a customer's key takes what concerns that customer's account, and only it forgets a claim. A card's takes what
// concerns the card, and nothing else does.
func (c *call) fitsKey() error {
	if c.aboutCard() != ofACard(c.rec.Key) || c.senseless() {
		return fmt.Errorf("a %s cannot be decided on the key %s", c.cmd.GetKind(), c.rec.Key)
	}
	customers := false
	switch c.cmd.GetKind() {
	case paymentsv1.CommandKind_COMMAND_KIND_OPEN_ACCOUNT, paymentsv1.CommandKind_COMMAND_KIND_SET_KYC_LEVEL,
		paymentsv1.CommandKind_COMMAND_KIND_RELEASE_CLAIM:
		customers = true
	default:
	}
	switch onCustomer := strings.HasPrefix(c.rec.Key, "cus_"); {
	case onCustomer && !customers:
		return fmt.Errorf("a %s cannot be decided on a customer's key", c.cmd.GetKind())
	case onCustomer && c.rec.Key != customerKey(c.cmd.GetTenant(), c.cmd.GetMerchant(), c.cmd.GetCustomer()):
		return fmt.Errorf("a %s of a customer under the key of another, %s", c.cmd.GetKind(), c.rec.Key)
	case !onCustomer && c.cmd.GetKind() == paymentsv1.CommandKind_COMMAND_KIND_RELEASE_CLAIM:
		return fmt.Errorf("a %s cannot be decided on an account's key", c.cmd.GetKind())
	}
	return nil
}

func (p *Partition) account(key string) *account {
	a, ok := p.accounts[key]
	if !ok {
		a = &account{
			key: key, balances: map[string]*balance{}, payments: map[string]*pay{}, answers: map[string]*answer{}, legs: map[string]taken{},
			seen: activity{parties: map[string]bool{}},
		}
		p.accounts[key] = a
	}
	return a
}

func (c *call) resolve() error {
	var err error
	pins := c.cmd.GetPins()
	if c.docs.policy, err = find(c.refs.policies, pins.GetPolicy()); err != nil {
		return err
	}
	if c.docs.fees, err = find(c.refs.fees, pins.GetFees()); err != nil {
		return err
	}
	if c.docs.sheet, err = find(c.refs.sheets, pins.GetRates()); err != nil {
		return err
	}
	if c.docs.rules, err = find(c.refs.rules, pins.GetRules()); err != nil {
		return err
	}
	c.docs.blocklist, err = find(c.refs.blocklists, pins.GetBlocklist())
	return err
}

// effectiveDate is the command's own where it names one, else the UTC day of acceptance.
func (c *call) effectiveDate() int32 {
	date := c.cmd.GetInstruction().GetEffectiveDate()
	if leg := c.cmd.GetCounterLeg(); leg != nil {
		date = leg.GetEffectiveDate()
	}
	if date == 0 {
		date = dayUTC(c.acct.last)
	}
	return date
}

// decline refuses; the smallest reason comes first.
func (c *call) decline(reasons ...paymentsv1.Reason) {
	c.out.Decision.Outcome = paymentsv1.Outcome_OUTCOME_DECLINED
	c.out.Decision.Reasons = ordered(reasons)
}

func (c *call) emit(key string, cmd *paymentsv1.Command) {
	c.out.Emissions = append(c.out.Emissions, Emission{Key: key, Command: cmd})
}

// accountCommand makes the first checks, in the order of the page, and hands over.
func (c *call) accountCommand() {
	kind := c.cmd.GetKind()
	if kind == paymentsv1.CommandKind_COMMAND_KIND_OPEN_ACCOUNT {
		c.open()
		return
	}
	if c.names() {
		c.out.Decision.PaymentId = c.cmd.GetCommandId()
	}
	if reason := c.stranger(); reason != 0 {
		c.decline(reason)
		c.refuseLeg(reason)
		if kind == paymentsv1.CommandKind_COMMAND_KIND_SET_KYC_LEVEL && reason == paymentsv1.Reason_REASON_OWNER_MISMATCH {
			c.releaseClaim()
		}
		if c.creates() {
			c.out.Decision.Status = paymentsv1.PaymentStatus_PAYMENT_STATUS_FAILED
			c.amounts(c.draft())
		}
		return
	}
	if c.repeated() {
		return
	}
	if reason := c.barred(); reason != 0 {
		c.decline(reason)
		c.refuseLeg(reason)
		c.remember()
		return
	}
	switch kind {
	case paymentsv1.CommandKind_COMMAND_KIND_SET_KYC_LEVEL:
		c.setLevel()
	case paymentsv1.CommandKind_COMMAND_KIND_PAY_IN, paymentsv1.CommandKind_COMMAND_KIND_PAY_OUT, paymentsv1.CommandKind_COMMAND_KIND_TRANSFER:
		c.instruct()
	case paymentsv1.CommandKind_COMMAND_KIND_REFUND:
		c.refund()
	case paymentsv1.CommandKind_COMMAND_KIND_APPROVE, paymentsv1.CommandKind_COMMAND_KIND_DECLINE:
		c.verdict()
	case paymentsv1.CommandKind_COMMAND_KIND_EXPIRE:
		c.expire()
	case paymentsv1.CommandKind_COMMAND_KIND_COUNTER_LEG:
		c.counterLeg()
	case paymentsv1.CommandKind_COMMAND_KIND_LEG_RESULT:
		c.legResult()
	case paymentsv1.CommandKind_COMMAND_KIND_CAPTURE, paymentsv1.CommandKind_COMMAND_KIND_VOID, paymentsv1.CommandKind_COMMAND_KIND_INCREMENT:
		c.operate()
	case paymentsv1.CommandKind_COMMAND_KIND_RAIL_ANSWER:
		c.railAnswer()
	case kindQuote:
		c.quote()
	case kindAuthorization, kindAdvice, kindReversal, kindClearing:
		c.issuing()
	case kindDispute, kindEvidence, kindAccept:
		c.disputing()
	default:
		c.decline(paymentsv1.Reason_REASON_PAYMENT_STATE)
	}
	c.remember()
}

// senseless tells what says nothing that could be decided.
func (c *call) senseless() bool {
	t := c.cmd.GetDispute()
	return c.cmd.GetKind() == kindDispute && (stage(t.GetStage()) == 0 || t.GetAmountMinor() <= 0 ||
		t.GetMessageId() != "" && !isCommandID(t.GetMessageId()))
}

// names tells the kinds whose command_id is the record that they are about.
func (c *call) names() bool {
	return c.creates() || c.cmd.GetKind() == kindAdvice || c.cmd.GetKind() == kindDispute
}

// fact tells what others have done: it can be refused by nobody.
func (c *call) fact() bool {
	switch c.cmd.GetKind() {
	case kindAdvice, kindReversal, kindClearing, kindDispute:
		return true
	default:
		return false
	}
}

// creates tells the kinds that make a record under their own id: payments, and what is asked of one.
func (c *call) creates() bool {
	switch c.cmd.GetKind() {
	case paymentsv1.CommandKind_COMMAND_KIND_PAY_IN, paymentsv1.CommandKind_COMMAND_KIND_PAY_OUT,
		paymentsv1.CommandKind_COMMAND_KIND_TRANSFER, paymentsv1.CommandKind_COMMAND_KIND_REFUND,
		kindQuote, kindAuthorization, kindClearing:
		return true
	default:
		return c.operation()
	}
}

// operation tells the kinds that are about a payment that a rail executes, and nothing else.
func (c *call) operation() bool {
	switch c.cmd.GetKind() {
	case paymentsv1.CommandKind_COMMAND_KIND_CAPTURE, paymentsv1.CommandKind_COMMAND_KIND_VOID, paymentsv1.CommandKind_COMMAND_KIND_INCREMENT:
		return true
	default:
		return false
	}
}

// stranger: the account does not exist, or belongs to someone else. Leaves no trace but the number.
func (c *call) stranger() paymentsv1.Reason {
	a := c.acct
	if a.state == nil {
		return paymentsv1.Reason_REASON_ACCOUNT_UNKNOWN
	}
	sameOwner := a.tenant == c.cmd.GetTenant() && a.merchant == c.cmd.GetMerchant()
	switch c.cmd.GetKind() {
	case paymentsv1.CommandKind_COMMAND_KIND_EXPIRE, paymentsv1.CommandKind_COMMAND_KIND_LEG_RESULT, paymentsv1.CommandKind_COMMAND_KIND_RAIL_ANSWER:
		return 0 // of the house's own making
	case kindDispute:
		return 0 // the owner is the account's, whoever tells
	case paymentsv1.CommandKind_COMMAND_KIND_COUNTER_LEG:
		sameOwner = a.tenant == c.cmd.GetTenant()
	case paymentsv1.CommandKind_COMMAND_KIND_SET_KYC_LEVEL:
		sameOwner = sameOwner && a.customer == c.cmd.GetCustomer()
	default:
	}
	if !sameOwner {
		return paymentsv1.Reason_REASON_OWNER_MISMATCH
	}
	return 0
}

// barred: closed, blocked, or pinned with another policy than the account's.
func (c *call) barred() paymentsv1.Reason {
	kind := c.cmd.GetKind()
	switch kind {
	case paymentsv1.CommandKind_COMMAND_KIND_EXPIRE, paymentsv1.CommandKind_COMMAND_KIND_LEG_RESULT:
		return 0 // money that has to come back comes back
	case paymentsv1.CommandKind_COMMAND_KIND_RAIL_ANSWER:
		return 0 // what the rail did is done, whatever the account is now
	default:
	}
	if c.fact() {
		return 0
	}
	switch c.acct.state.GetStatus() {
	case paymentsv1.AccountStatus_ACCOUNT_STATUS_CLOSED:
		return paymentsv1.Reason_REASON_ACCOUNT_CLOSED
	case paymentsv1.AccountStatus_ACCOUNT_STATUS_BLOCKED:
		return paymentsv1.Reason_REASON_ACCOUNT_BLOCKED
	default:
	}
	if kind == paymentsv1.CommandKind_COMMAND_KIND_COUNTER_LEG {
		return 0 // it carries the payer's pins
	}
	if kind == kindEvidence || kind == kindAccept {
		return 0
	}
	// A verdict or a KYC level needs no policy, so none may be pinned to it.
	pinned := idOf(c.cmd.GetPins().GetPolicy())
	if pinned != c.acct.state.GetPolicy() && (pinned != "" || c.creates()) {
		return paymentsv1.Reason_REASON_POLICY_MISMATCH
	}
	return 0
}
