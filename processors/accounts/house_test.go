package accounts_test

import (
	"crypto/sha256"
	"fmt"
	"hash/fnv"
	"reflect"
	"slices"
	"sort"
	"strings"

	"github.com/caudalpay/caudal/processors/accounts"
	"github.com/caudalpay/caudal/processors/compliance"
	"github.com/caudalpay/caudal/processors/fees"
	"github.com/caudalpay/caudal/processors/fraud"
	"github.com/caudalpay/caudal/processors/fx"
	"github.com/caudalpay/caudal/processors/ledger"
	"github.com/caudalpay/caudal/processors/money"
	"github.com/caudalpay/caudal/processors/payment"
	"github.com/caudalpay/caudal/processors/policy"
)

const (
	tenant   = "t1"
	merchant = "m1"
	second   = int64(1_000_000)
	// noon is 2026-11-22T12:00:00Z.
	noon = int64(1_795_348_800) * second
)

// house is a log and the state after it, all in memory: what the engine does, without transactions.
type house struct {
	partitions int
	cells      map[string]*accounts.Cell
	payments   map[string]*payment.Record // by key and identity
	commands   map[string]*accounts.CommandRecord
	legs       map[string]*accounts.LegRecord
	parties    map[string]bool
	due        []map[accounts.Due]struct{}
	minutes    []int64
	offsets    []int64

	log       []entry // in the order of decisions
	directory map[payment.AccountID]accounts.DirectoryEntry
	docs      documents
}

// entry is a decided command.
type entry struct {
	key      string
	cmd      payment.Command
	decision accounts.Decision
	out      []accounts.Emission
}

type documents struct {
	policies   map[string]*policy.Policy
	fees       map[string]*fees.Schedule
	rates      map[string]*fx.Sheet
	rules      map[string]*fraud.RuleSet
	blocklists map[string]*compliance.Blocklist
}

func newHouse(partitions int) *house {
	h := &house{
		partitions: partitions, cells: map[string]*accounts.Cell{}, payments: map[string]*payment.Record{},
		commands: map[string]*accounts.CommandRecord{}, legs: map[string]*accounts.LegRecord{}, parties: map[string]bool{},
		due: make([]map[accounts.Due]struct{}, partitions), minutes: make([]int64, partitions), offsets: make([]int64, partitions),
		directory: map[payment.AccountID]accounts.DirectoryEntry{}, docs: sampleDocuments(),
	}
	for i := range h.due {
		h.due[i] = map[accounts.Due]struct{}{}
	}
	return h
}

func (h *house) partition(key string) int {
	if n, ok := strings.CutPrefix(key, "p"); ok {
		return int(n[0] - '0')
	}
	f := fnv.New32a()
	f.Write([]byte(key))
	return int(f.Sum32()) % h.partitions
}

// snapshot resolves what Reads names.
func (h *house) snapshot(key string, cmd payment.Command) accounts.Snapshot {
	s := accounts.Snapshot{Cell: h.cells[key]}
	for _, k := range accounts.Reads(cmd, key) {
		switch k.Kind {
		case accounts.KeyPayment:
			s.Payment = h.payments[key+k.ID]
		case accounts.KeyRelated:
			s.Related = h.payments[key+k.ID]
		case accounts.KeyQuote:
			s.Quote = h.payments[key+k.ID]
		case accounts.KeyCommand:
			s.Command = h.commands[key+k.ID]
		case accounts.KeyLeg:
			s.Leg = h.legs[key+k.ID]
		case accounts.KeyParty:
			s.PartySeen = h.parties[key+k.ID]
		case accounts.KeyPolicy:
			s.Policy = h.docs.policies[k.ID]
		case accounts.KeyFees:
			s.Fees = h.docs.fees[k.ID]
		case accounts.KeyRates:
			s.Rates = h.docs.rates[k.ID]
		case accounts.KeyRules:
			s.Rules = h.docs.rules[k.ID]
		case accounts.KeyBlocklist:
			s.Blocklist = h.docs.blocklists[k.ID]
		case accounts.KeyDue:
			p := h.partition(key)
			s.LastMinute = h.minutes[p]
			for d := range h.due[p] {
				if d.AtUS <= accounts.TickReachUS(cmd.Tick.Minute) {
					s.Due = append(s.Due, d)
				}
			}
			sort.Slice(s.Due, func(i, j int) bool { return dueLess(s.Due[i], s.Due[j]) })
			s.Due = s.Due[:min(len(s.Due), accounts.DuePerTickMax)]
		}
	}
	return s
}

func dueLess(a, b accounts.Due) bool {
	if a.AtUS != b.AtUS {
		return a.AtUS < b.AtUS
	}
	return string(a.Account)+string(a.Payment)+string(rune(a.Purpose)) < string(b.Account)+string(b.Payment)+string(rune(b.Purpose))
}

// tellsItsRail holds a decision to what it must tell of the answer that it takes in, and of the order that goes out with it.
func tellsItsRail(d *accounts.Decision, cmd *payment.Command, out []accounts.Emission) error {
	given := ""
	for _, e := range out {
		if e.Order != nil {
			given += e.Order.OrderID // one at most: two would be no id
		}
	}
	if d.GivenOrderID != given {
		return fmt.Errorf("the decision tells the order %q, and gives %q", d.GivenOrderID, given)
	}
	var said payment.RailAnswer
	if cmd.RailAnswer != nil {
		said = *cmd.RailAnswer
	}
	if d.RailResult != said.Result || d.RailAmountMinor != said.AmountMinor {
		return fmt.Errorf("the decision tells %s of %d, the rail said %s of %d", d.RailResult, d.RailAmountMinor, said.Result, said.AmountMinor)
	}
	return nil
}

// records are copies of the payments of a snapshot.
func records(s *accounts.Snapshot) (all []payment.Record) {
	for _, rec := range [...]*payment.Record{s.Payment, s.Related, s.Quote} {
		if rec == nil {
			continue
		}
		c := *rec
		if c.Rail != nil {
			rail := *c.Rail
			c.Rail = &rail
		}
		all = append(all, c)
	}
	return all
}

// decide applies a command and keeps what it writes; emissions are the caller's to deliver.
func (h *house) decide(key string, cmd payment.Command) (entry, error) {
	p := h.partition(key)
	s := h.snapshot(key, cmd)
	before := records(&s)
	w, out, err := accounts.Apply(s, cmd, payment.Meta{
		Key: key, Topic: "commands", Partition: int32(p), Offset: h.offsets[p],
	})
	if err != nil {
		return entry{}, err
	}
	// Invariant: what a command is decided on stays as it was.
	if after := records(&s); !reflect.DeepEqual(before, after) {
		return entry{}, fmt.Errorf("%s has changed the records that it was decided on: %+v, before %+v", cmd.Kind, after, before)
	}
	if err := tellsItsRail(&w.Decision, &cmd, out); err != nil {
		return entry{}, err
	}
	h.offsets[p]++
	if w.Cell != nil {
		h.cells[key] = w.Cell
	}
	for _, pw := range w.Payments {
		if pw.Record == nil {
			delete(h.payments, key+pw.Identity)
		} else {
			h.payments[key+pw.Identity] = pw.Record
		}
	}
	if w.Command != nil {
		h.commands[key+w.Command.CommandID] = &w.Command.Record
	}
	if w.Leg != nil {
		h.legs[key+w.Leg.Identity] = w.Leg.Record
	}
	if w.Party != nil {
		h.parties[key+string(w.Party)] = true
	}
	for _, d := range w.DueRemove {
		delete(h.due[p], d)
	}
	for _, d := range w.DueAdd {
		h.due[p][d] = struct{}{}
	}
	if w.Minute != nil {
		h.minutes[p] = *w.Minute
	}
	for _, e := range out {
		if e.Directory != nil {
			h.directory[e.Directory.Account] = *e.Directory
		}
	}
	e := entry{key: key, cmd: cmd, decision: w.Decision, out: out}
	h.log = append(h.log, e)
	return e, nil
}

// totals sums all postings by layer and currency, and those of one account.
func (h *house) totals(account string) (all, own map[string]int64) {
	all, own = map[string]int64{}, map[string]int64{}
	for i := range h.log {
		for _, j := range h.log[i].decision.Journals {
			for _, p := range j.Postings {
				all[p.Layer.String()+p.Currency] += p.AmountMinor
				if p.Account == account {
					own[p.Layer.String()+p.Currency] += p.AmountMinor
				}
			}
		}
	}
	return all, own
}

func sampleDocuments() documents {
	rate := func(unscaled int64, scale uint8) fx.Quote {
		return fx.Quote{Mid: money.Rate{Unscaled: unscaled, Scale: scale}, SpreadBP: 100}
	}
	limits := []policy.KYCLimit{
		{Level: 0, DayMinor: 500_00, MonthMinor: 2_000_00},
		{Level: 1, DayMinor: 5_000_00, MonthMinor: 20_000_00},
		{Level: 2, DayMinor: 50_000_00, MonthMinor: 500_000_00},
		{Level: 3, DayMinor: 500_000_00, MonthMinor: 5_000_000_00},
	}
	return documents{
		policies: map[string]*policy.Policy{
			"standard@1": {
				ID: "standard", Version: 1, LimitCurrency: "BRL", Limits: limits, FraudMode: policy.FraudModeEnforce,
				ReviewScore: 500, DeclineScore: 900, ReviewTimeoutUS: 3600 * second, RetentionDays: 90,
			},
			"cards@1": {
				ID: "cards", Version: 1, LimitCurrency: "BRL", FraudMode: policy.FraudModeEnforce, ReviewScore: 500, DeclineScore: 900,
				ReviewTimeoutUS: 3600 * second, RetentionDays: 90,
				Card: &policy.Card{
					AuthorizationTTLUS: 7 * 86_400 * second, OverCaptureBP: 1_000,
					Dispute: &policy.Dispute{Fees: []policy.Charge{{Currency: "JPY", AmountMinor: 900}, {Currency: "BRL", AmountMinor: 65_00}}},
				},
				Bank: &policy.Bank{}, QuoteTTLUS: 60 * second,
			},
			"issuing@1": {
				ID: "issuing", Version: 1, LimitCurrency: "BRL", Limits: limits, FraudMode: policy.FraudModeEnforce,
				ReviewScore: 500, DeclineScore: 900, ReviewTimeoutUS: 3600 * second, RetentionDays: 90,
				Issuing: &policy.Issuing{AuthorizationTTLUS: 7 * 86_400 * second},
			},
			"generous@1": {
				ID: "generous", Version: 1, LimitCurrency: "BRL", Limits: limits, RetentionDays: 90,
				Card: &policy.Card{FeeReturned: true, CurrentRate: true, Dispute: &policy.Dispute{
					Fees: []policy.Charge{{Currency: "BRL", AmountMinor: 65_00}, {Currency: "USD", AmountMinor: 15_00}}, FeeReturned: true,
				}},
				Bank: &policy.Bank{FeeReturned: true}, QuoteTTLUS: 60 * 86_400 * second,
			},
			"free@1": {ID: "free", Version: 1, LimitCurrency: "BRL", FraudMode: policy.FraudModeMonitor, RetentionDays: 90},
		},
		fees: map[string]*fees.Schedule{"std@1": {Ref: "std@1", Fees: []fees.Fee{
			{Kind: payment.KindPayIn, Method: "cash", Currency: "BRL", FixedMinor: 30, RatePPM: 10_000},
			{Kind: payment.KindPayIn, Method: "card", Currency: "BRL", FixedMinor: 40, RatePPM: 30_000},
			{Kind: payment.KindPayIn, Method: "card", RatePPM: 30_000},
			{Kind: payment.KindPayOut, Currency: "BRL", FixedMinor: 50},
			{Kind: payment.KindTransfer, Currency: "BRL", RatePPM: 5_000, MinMinor: 10, MaxMinor: 5_00},
		}}},
		rates: map[string]*fx.Sheet{"fx@1": {
			Ref: "fx@1", ValidUntilUS: noon + 30*86_400*second,
			Rates: map[fx.Pair]fx.Quote{
				{Source: "BRL", Target: "USD"}: rate(2, 1), {Source: "USD", Target: "BRL"}: rate(5, 0),
				{Source: "BRL", Target: "JPY"}: rate(30, 0), {Source: "JPY", Target: "BRL"}: rate(33, 3),
			},
		}},
		rules: map[string]*fraud.RuleSet{"rules@1": {Ref: "rules@1", Rules: []fraud.Rule{
			{ID: "velocity", Version: 1, Kind: fraud.RuleVelocityMinute, Weight: 500, Threshold: 25, Reason: "many in a minute"},
			{ID: "stranger", Version: 1, Kind: fraud.RuleNewCounterparty, Weight: 600, Threshold: 1_000_00, Reason: "high to a new party"},
			{ID: "history", Version: 1, Kind: fraud.RuleAmountHistory, Weight: 400, Threshold: 500, MinHistory: 3, Reason: "above history"},
		}}},
		blocklists: map[string]*compliance.Blocklist{"block@1": {
			Ref: "block@1", Countries: map[string]struct{}{"XX": {}}, Parties: map[string]struct{}{string(digest("mallory")): {}},
		}},
	}
}

var standardPins = payment.Pins{Policy: "standard@1", Fees: "std@1", Rates: "fx@1", Rules: "rules@1", Blocklist: "block@1"}

func digest(name string) []byte {
	h := sha256.Sum256([]byte(name))
	return h[:]
}

// caller makes commands the way an ingress does.
type caller struct{ now int64 }

func (c *caller) command(kind payment.Kind, account payment.AccountID, body string) payment.Command {
	c.now += second
	return payment.Command{
		Kind: kind, Tenant: tenant, Merchant: merchant, Customer: "c-" + string(account), Account: account, AcceptedAtUS: c.now,
		BodyHash: sha256.Sum256([]byte(kind.String() + body)), Pins: standardPins,
	}
}

func (c *caller) open(name string, o payment.OpenAccount) (key string, cmd payment.Command) {
	id := payment.AccountIDFrom(tenant, merchant, name)
	o.ExternalID, o.Kind = name, payment.AccountKindPerson
	cmd = c.command(payment.KindOpenAccount, id, fmt.Sprint(o))
	cmd.Customer = name
	cmd.Open = &o
	key = string(payment.CustomerKeyFrom(tenant, merchant, cmd.Customer))
	cmd.CommandID = payment.CommandIDFrom(key, merchant, "open "+name)
	return key, cmd
}

func (c *caller) instruct(kind payment.Kind, name, idempotencyKey string, in payment.Instruction) (key string, cmd payment.Command) {
	id := payment.AccountIDFrom(tenant, merchant, name)
	cmd = c.command(kind, id, fmt.Sprint(in))
	cmd.PaymentID = payment.IDFrom(kind, id, merchant, idempotencyKey)
	cmd.CommandID = string(cmd.PaymentID)
	cmd.Instruction = &in
	return string(id), cmd
}

func (c *caller) refund(of payment.ID, idempotencyKey string, amountMinor int64) (key string, cmd payment.Command) {
	id := of.Account()
	cmd = c.command(payment.KindRefund, id, fmt.Sprint(of, amountMinor))
	cmd.PaymentID = of
	cmd.CommandID = string(payment.IDFrom(payment.KindRefund, id, merchant, idempotencyKey))
	cmd.Refund = &payment.RefundInstruction{AmountMinor: amountMinor}
	return string(id), cmd
}

// operate asks for a capture, void or increment.
func (c *caller) operate(kind payment.Kind, of payment.ID, idempotencyKey string, amountMinor int64, final bool) (key string, cmd payment.Command) {
	id := of.Account()
	cmd = c.command(kind, id, fmt.Sprint(of, amountMinor, final))
	cmd.PaymentID = of
	cmd.CommandID = string(payment.IDFrom(kind, id, merchant, idempotencyKey))
	switch kind {
	case payment.KindCapture:
		cmd.Capture = &payment.CaptureInstruction{AmountMinor: amountMinor, Final: final}
	case payment.KindVoid:
		cmd.Void = &payment.VoidInstruction{}
	case payment.KindIncrement:
		cmd.Increment = &payment.IncrementInstruction{AmountMinor: amountMinor}
	default:
		panic(kind)
	}
	return string(id), cmd
}

// answer is what a connector says about an order.
func (c *caller) answer(of payment.ID, a payment.RailAnswer) (key string, cmd payment.Command) {
	c.now += second
	key = string(of.Account())
	return key, payment.Command{
		Kind: payment.KindRailAnswer, Account: of.Account(), PaymentID: of, AcceptedAtUS: c.now, RailAnswer: &a,
		CommandID: payment.CommandIDFrom(key, "", "rail_answer/"+a.OrderID+"/"+a.Result.String()),
	}
}

// quote asks for a rate.
func (c *caller) quote(name, idempotencyKey string, q payment.FXQuote) (key string, cmd payment.Command) {
	id := payment.AccountIDFrom(tenant, merchant, name)
	cmd = c.command(payment.KindFXQuote, id, fmt.Sprint(q))
	cmd.PaymentID = payment.IDFrom(payment.KindFXQuote, id, merchant, idempotencyKey)
	cmd.CommandID, cmd.FXQuote = string(cmd.PaymentID), &q
	return string(id), cmd
}

// dispute is what a processor tells, who knows neither owner nor body hash.
func (c *caller) dispute(of payment.ID, q payment.Dispute) (key string, cmd payment.Command) {
	c.now += second
	return string(of.Account()), payment.Command{
		Kind: payment.KindDispute, Account: of.Account(), PaymentID: of, AcceptedAtUS: c.now, Dispute: &q, Pins: standardPins,
		CommandID: string(payment.DisputeIDFrom(of.Account(), q.Connector, q.Reference)),
	}
}

// contest names so many files against a dispute, or gives in where there is none.
func (c *caller) contest(of payment.ID, idempotencyKey string, files int) (key string, cmd payment.Command) {
	id, kind := of.Account(), payment.KindDisputeEvidence
	if files == 0 {
		kind = payment.KindDisputeAccept
	}
	cmd = c.command(kind, id, fmt.Sprint(of, files))
	cmd.PaymentID = of
	cmd.CommandID = payment.CommandIDFrom(string(id), merchant, idempotencyKey)
	if files == 0 {
		cmd.Accept = &payment.DisputeAccept{}
	}
	for i := range files {
		cmd.Evidence = append(cmd.Evidence, payment.EvidenceFile{Reference: fmt.Sprint("file ", i), SHA256: sha256.Sum256([]byte{byte(i)}), Kind: "receipt"})
	}
	return string(id), cmd
}

func (c *caller) verdict(kind payment.Kind, of payment.ID, idempotencyKey string) (key string, cmd payment.Command) {
	id := of.Account()
	cmd = c.command(kind, id, string(of))
	cmd.PaymentID = of
	cmd.CommandID = payment.CommandIDFrom(string(id), merchant, idempotencyKey)
	cmd.Verdict = &payment.Verdict{Actor: "ops"}
	return string(id), cmd
}

func (c *caller) level(name string, level uint8, idempotencyKey string) (key string, cmd payment.Command) {
	id := payment.AccountIDFrom(tenant, merchant, name)
	cmd = c.command(payment.KindSetKYCLevel, id, fmt.Sprint(level))
	cmd.Customer = name
	key = string(payment.CustomerKeyFrom(tenant, merchant, name))
	cmd.CommandID = payment.CommandIDFrom(key, merchant, idempotencyKey)
	cmd.KYCLevel = &payment.SetKYCLevel{KYCLevel: level}
	return key, cmd
}

func (c *caller) tick(partition int) (key string, cmd payment.Command) {
	c.now += second
	return fmt.Sprintf("p%d", partition), payment.Command{
		Kind: payment.KindTick, AcceptedAtUS: c.now, Tick: &payment.Tick{Minute: c.now/(60*second) - 1},
	}
}

// text prints what a decision says, one fact a line.
func text(d *accounts.Decision, names map[string]string) string {
	name := func(account string) string {
		if n, ok := names[account]; ok {
			return n
		}
		return account
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s of %s: %s", d.Kind, name(d.Account), d.Outcome)
	if d.Status != payment.StatusNone {
		fmt.Fprintf(&b, " %s", d.Status)
	}
	for _, r := range d.Reasons {
		fmt.Fprintf(&b, " %s", r)
	}
	fmt.Fprintf(&b, " #%d\n", d.AccountSeq)
	if d.AmountMinor != 0 {
		fmt.Fprintf(&b, "  amount %d %s", d.AmountMinor, d.Currency)
		if d.FX != nil {
			fmt.Fprintf(&b, " = %d %s at %de-%d", d.TargetAmountMinor, d.TargetCurrency, d.FX.RateUnscaled, d.FX.RateScale)
		}
		if d.FeeMinor != 0 {
			fmt.Fprintf(&b, ", fee %d", d.FeeMinor)
		}
		if d.LimitAmountMinor != 0 {
			fmt.Fprintf(&b, ", limit amount %d", d.LimitAmountMinor)
		}
		b.WriteByte('\n')
	}
	if d.FraudScore != 0 {
		fmt.Fprintf(&b, "  score %d", d.FraudScore)
		for _, h := range d.RuleHits {
			fmt.Fprintf(&b, " %s", h.Rule)
		}
		b.WriteByte('\n')
	}
	if d.RelatedStatus != payment.StatusNone {
		fmt.Fprintf(&b, "  related %s, refunded %d\n", d.RelatedStatus, d.RefundedMinor)
	}
	if d.AuthorizedMinor != 0 {
		fmt.Fprintf(&b, "  captured %d of %d\n", d.CapturedMinor, d.AuthorizedMinor)
	}
	b.WriteString(newFacts(d))
	if d.DeadlineUS != 0 && d.Method == "issuing" {
		fmt.Fprintf(&b, "  expires in %d s\n", (d.DeadlineUS-d.AcceptedAtUS)/second)
	}
	if s := d.CardState; s != nil {
		fmt.Fprintf(&b, "  card %s %s of %s\n", s.Last4, s.Status, name(string(s.Account)))
	}
	for _, j := range d.Journals {
		fmt.Fprintf(&b, "  %s:", j.Kind)
		for i, p := range j.Postings {
			if i > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, " %s %+d %s", name(p.Account), p.AmountMinor, p.Currency)
		}
		b.WriteByte('\n')
	}
	for _, l := range d.Balances {
		fmt.Fprintf(&b, "  %s\n", balanceText(l))
	}
	return b.String()
}

// newFacts prints what quotes and disputes tell.
func newFacts(d *accounts.Decision) string {
	var b strings.Builder
	if d.Quote != "" {
		b.WriteString("  by a quote\n")
	}
	if d.PaymentID != "" && (d.PaymentID.Kind() == payment.KindDispute || d.PaymentID.Kind() == payment.KindFXQuote) {
		if d.RailReference != "" {
			fmt.Fprintf(&b, "  dispute %s at %s, code %q\n", d.RailReference, d.Connector, d.ReasonCode)
		}
		if d.DeadlineUS != 0 {
			fmt.Fprintf(&b, "  until %ds after it was accepted\n", (d.DeadlineUS-d.AcceptedAtUS)/second)
		}
	}
	for _, f := range d.Evidence {
		fmt.Fprintf(&b, "  evidence %s: %s\n", f.Kind, f.Reference)
	}
	return b.String()
}

func balanceText(l ledger.Balance) string {
	return fmt.Sprintf("%s posted %d held %d incoming %d", l.Currency, l.PostedMinor, l.HeldMinor, l.IncomingMinor)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
