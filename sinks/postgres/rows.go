package postgres

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/sinks/decisionlog"
)

// errBatch says that decisions contradict what a decision is: the run ends.
var errBatch = errors.New("a decision that cannot be booked")

const decisionsTopic = 1 // in sink.topics

// rows is one batch on its way to SQL: decisions in, columns out. It nets whatever a batch touches more than once: one
// row per payment, per account and currency, and per account.
type rows struct {
	shard int32 // of the system accounts this sink writes

	payments map[string]*paymentRow
	order    []*paymentRow
	states   map[string]*stateRow
	balances map[balanceKey]*balanceDelta
	system   map[balanceKey]*balanceDelta
	spilled  []spill
	accounts map[string]*accountRow
	cards    map[string]decisionlog.Entry // the last that told a card's state

	bookingMonths, createdMonths, eventMonths map[int32]struct{}

	payment, journal, line, event *copying
	statements                    []*statement // in the order in which they run, behind the copies
	state, related                *statement
	balance, house                *statement
	sequence, cells               *statement
	evidence, card                *statement
}

type balanceKey struct{ account, currency string }

type balanceDelta struct{ posted, held, incoming int64 }

type spill struct {
	balanceKey
	balanceDelta
}

type accountRow struct {
	seq   uint64
	state *paymentsv1.Decision // the last with an account state, or nil
}

func newRows(shard int32) *rows {
	r := &rows{
		shard: shard, payments: map[string]*paymentRow{}, states: map[string]*stateRow{},
		balances: map[balanceKey]*balanceDelta{}, system: map[balanceKey]*balanceDelta{}, accounts: map[string]*accountRow{}, cards: map[string]decisionlog.Entry{},
		bookingMonths: map[int32]struct{}{}, createdMonths: map[int32]struct{}{}, eventMonths: map[int32]struct{}{},
		payment: newPaymentsCopying(), journal: newJournalsCopying(), line: newPostingsCopying(), event: newEventsCopying(),
		state: newStatesStatement(), related: newRelatedStatement(), balance: newBalancesStatement(),
		house: newSystemBalancesStatement(), sequence: newSequencesStatement(), cells: newAccountsStatement(),
		evidence: newEvidenceStatement(), card: newCardsStatement(),
	}
	r.statements = []*statement{r.state, r.related, r.balance, r.house, r.sequence, r.cells, r.evidence, r.card}
	r.reset()
	return r
}

func (r *rows) reset() {
	clear(r.payments)
	clear(r.states)
	clear(r.balances)
	clear(r.system)
	clear(r.accounts)
	clear(r.cards)
	clear(r.bookingMonths)
	clear(r.createdMonths)
	clear(r.eventMonths)
	r.order, r.spilled = r.order[:0], r.spilled[:0]
	for _, c := range r.copies() {
		c.reset()
	}
	for _, s := range r.statements {
		s.reset()
	}
}

func (r *rows) copies() []*copying { return []*copying{r.payment, r.journal, r.line, r.event} }

// fill turns at most the first entries into rows and says how many it took: fewer where the sum of a customer's
// movements could leave int64, which their balance itself never does.
func (r *rows) fill(entries []decisionlog.Entry) (int, error) {
	r.reset()
	taken := 0
	for _, e := range entries {
		if taken > 0 && !r.fits(e) {
			break
		}
		if err := r.add(e); err != nil {
			return 0, fmt.Errorf("booking partition %d offset %d: %w", e.Partition, e.Offset, err)
		}
		taken++
	}
	for _, p := range r.order {
		if err := r.writePayment(p); err != nil {
			return 0, fmt.Errorf("booking partition %d offset %d: %w", p.Partition, p.offset, err)
		}
	}
	for id, s := range r.states {
		r.writeState(id, s)
	}
	r.writeBalances()
	r.writeAccounts()
	r.writeCards()
	return taken, nil
}

// fits leaves a wide margin: four lines on top of what is there stay within int64.
func (r *rows) fits(e decisionlog.Entry) bool {
	const wide = 1 << 60
	small := func(v int64) bool { return -wide < v && v < wide }
	for _, j := range e.GetJournals() {
		for _, p := range j.GetPostings() {
			if strings.HasPrefix(p.GetAccount(), "sys_") {
				continue
			}
			d := r.balances[balanceKey{p.GetAccount(), p.GetCurrency()}]
			if !small(p.GetAmountMinor()) || d != nil && (!small(d.posted) || !small(d.held) || !small(d.incoming)) {
				return false
			}
		}
	}
	return true
}

func (r *rows) count() int {
	n := 0
	for _, c := range r.copies() {
		n += c.rows
	}
	for _, s := range r.statements {
		n += s.rows()
	}
	return n
}

func (r *rows) add(e decisionlog.Entry) error {
	if e.GetKind() == paymentsv1.CommandKind_COMMAND_KIND_TICK || strings.HasPrefix(e.GetAccount(), "cus_") {
		return nil // no account's state and no money in it: the offset alone is recorded
	}
	if strings.HasPrefix(e.GetAccount(), "crd_") {
		if e.GetCardState() != nil && e.GetOutcome() == paymentsv1.Outcome_OUTCOME_APPLIED { // a refusal tells it to whoever asked
			r.cards[e.GetAccount()] = e
		}
		return nil
	}
	a := r.accounts[e.GetAccount()]
	if a == nil {
		a = &accountRow{}
		r.accounts[e.GetAccount()] = a
	}
	a.seq = max(a.seq, e.GetAccountSeq())
	if e.GetAccountState() != nil {
		a.state = e.Decision
	}
	r.addPayment(e)
	r.addEvidence(e)
	if err := r.addEvent(e); err != nil {
		return err
	}
	if len(e.GetJournals()) == 0 {
		return nil
	}
	return r.addJournals(e)
}

func (r *rows) addJournals(e decisionlog.Entry) error {
	month := monthOfDay(e.GetEffectiveDate())
	r.bookingMonths[month] = struct{}{}
	line, own := 0, ""
	for _, j := range e.GetJournals() {
		for _, p := range j.GetPostings() {
			c := r.line
			c.row()
			c.int8(e.Offset)
			c.int8(p.GetAmountMinor())
			c.int4(e.Partition)
			c.day(month)
			c.int2(decisionsTopic)
			c.word(line)
			c.word(int(j.GetKind()))
			c.word(int(p.GetLayer()))
			c.text(p.GetAccount())
			c.text(p.GetCurrency())
			line++
			if p.GetAccount() == e.GetAccount() {
				own = p.GetCurrency()
			}
			if err := r.addDelta(j.GetKind(), p); err != nil {
				return err
			}
		}
	}
	r.writeJournal(e, month, line, own)
	return nil
}

func (r *rows) addDelta(kind paymentsv1.JournalKind, p *paymentsv1.Posting) error {
	key, table := balanceKey{p.GetAccount(), p.GetCurrency()}, r.balances
	house := strings.HasPrefix(key.account, "sys_")
	if house {
		table = r.system
	}
	d := table[key]
	if d == nil {
		d = &balanceDelta{}
		table[key] = d
	}
	next := *d
	var ok bool
	amount := p.GetAmountMinor()
	switch {
	case p.GetLayer() == paymentsv1.Layer_LAYER_POSTED:
		next.posted, ok = add(d.posted, amount)
	case p.GetLayer() != paymentsv1.Layer_LAYER_PENDING:
		return fmt.Errorf("%w: layer %d", errBatch, p.GetLayer())
	case kind == paymentsv1.JournalKind_JOURNAL_KIND_HOLD && amount < 0, kind == paymentsv1.JournalKind_JOURNAL_KIND_RELEASE && amount > 0:
		next.held, ok = sub(d.held, amount) // a pending debit holds, its reverse sets free
	case kind == paymentsv1.JournalKind_JOURNAL_KIND_HOLD, kind == paymentsv1.JournalKind_JOURNAL_KIND_RELEASE:
		next.incoming, ok = add(d.incoming, amount)
	default:
		return fmt.Errorf("%w: pending line in a journal of kind %d", errBatch, kind)
	}
	switch {
	case ok:
		*d = next
		return nil
	case house: // the sum of a batch leaves int64: Postgres adds the parts up as numeric
		r.spilled = append(r.spilled, spill{key, *d})
		*d = balanceDelta{}
		return r.addDelta(kind, p)
	default:
		return fmt.Errorf("%w: the balance of %s leaves int64", errBatch, key.account)
	}
}

func (r *rows) writeJournal(e decisionlog.Entry, month int32, lines int, currency string) {
	balance := &paymentsv1.Balance{}
	for _, b := range e.GetBalances() {
		if b.GetCurrency() == currency {
			balance = b
		}
	}
	c := r.journal
	c.row()
	c.int8(e.Offset)
	c.sequence(e.GetAccountSeq())
	c.int8(e.GetCommandOffset())
	c.time(e.GetAcceptedAtUs())
	c.int8(balance.GetPostedMinor())
	c.int8(balance.GetHeldMinor())
	c.int8(balance.GetIncomingMinor())
	c.int4(e.Partition)
	c.int4(e.GetCommandPartition())
	c.day(month)
	c.day(e.GetEffectiveDate())
	c.int2(decisionsTopic)
	c.word(int(e.GetKind()))
	c.word(len(e.GetJournals()))
	c.word(lines)
	c.text(e.GetAccount())
	c.text(e.GetPaymentId())
	c.text(currency)
}

func (r *rows) writeBalances() {
	for key, d := range r.balances {
		c := r.balance.columns
		c[0].text(key.account)
		c[1].text(key.currency)
		c[2].int8(d.posted)
		c[3].int8(d.held)
		c[4].int8(d.incoming)
	}
	for key, d := range r.system {
		r.spilled = append(r.spilled, spill{key, *d})
	}
	for _, s := range r.spilled {
		c := r.house.columns
		c[0].text(s.account)
		c[1].text(s.currency)
		c[2].int4(r.shard)
		c[3].int8(s.posted)
		c[4].int8(s.held)
		c[5].int8(s.incoming)
	}
}

func (r *rows) writeAccounts() {
	for account, a := range r.accounts {
		r.sequence.columns[0].text(account)
		r.sequence.columns[1].sequence(a.seq)
		if a.state == nil {
			continue
		}
		state, c := a.state.GetAccountState(), r.cells.columns
		c[0].text(account)
		c[1].time(state.GetOpenedAtUs())
		c[2].int8(state.GetOverdraftLimitMinor())
		c[3].word(int(state.GetKind()))
		c[4].word(int(state.GetStatus()))
		c[5].word(int(state.GetKycLevel()))
		c[6].text(a.state.GetTenant())
		c[7].text(a.state.GetMerchant())
		c[8].text(a.state.GetCustomer())
		c[9].text(state.GetExternalId())
		c[10].text(state.GetPolicy())
		c[11].text(strings.Join(state.GetCurrencies(), ","))
	}
}

func (r *rows) writeCards() {
	for card, e := range r.cards {
		state, c := e.GetCardState(), r.card.columns
		c[0].text(card)
		c[1].text(state.GetAccount())
		c[2].text(e.GetTenant())
		c[3].text(e.GetMerchant())
		c[4].sequence(e.GetAccountSeq())
		c[5].time(state.GetIssuedAtUs())
		c[6].word(int(state.GetStatus()))
		c[7].int4(state.GetExpiry())
		c[8].text(state.GetFirst6())
		c[9].text(state.GetLast4())
	}
}

// addEvidence takes the files that a merchant has named.
func (r *rows) addEvidence(e decisionlog.Entry) {
	if !granted(e) {
		return
	}
	for i, f := range e.GetEvidence() {
		c := r.evidence.columns
		c[0].text(e.GetPaymentId())
		c[1].time(e.GetAcceptedAtUs())
		c[2].int8(e.Offset)
		c[3].int4(e.Partition)
		c[4].word(i)
		c[5].text(f.GetReference())
		c[6].text(hex.EncodeToString(f.GetSha256()))
		c[7].text(f.GetKind())
	}
}

func months(set map[int32]struct{}) []int32 {
	list := make([]int32, 0, len(set))
	for m := range set {
		list = append(list, m)
	}
	slices.Sort(list)
	return list
}

const dayUS = 86_400_000_000

// monthOfUS is the first day, since 1970, of the UTC month.
func monthOfUS(us int64) int32 {
	days := us / dayUS
	if us%dayUS < 0 {
		days--
	}
	return monthOfDay(int32(min(max(days, dayMin), dayMax)))
}

func monthOfDay(days int32) int32 {
	t := time.Unix(int64(clampDay(days))*86_400, 0).UTC()
	return int32(time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC).Unix() / 86_400) //nolint:gosec // days of the years 1 to 9999
}

func add(a, b int64) (int64, bool) {
	c := a + b
	return c, (c > a) == (b > 0)
}

func sub(a, b int64) (int64, bool) {
	c := a - b
	return c, (c < a) == (b > 0)
}
