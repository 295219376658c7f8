package audit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/schemas/topics"
	"github.com/caudalpay/caudal/sinks/audit/model"
)

// partition is the audit of one partition: commands and decisions side by side, in the order of the decisions.
type partition struct {
	*auditor
	id        int32
	commands  *cursor
	decisions *cursor
	model     *model.Partition
	mirrors   []mirror

	waiting  map[int64]model.Record // read, not yet decided
	decided  map[int64]bool
	newest   int64             // the highest command offset decided
	seq      map[string]uint64 // by key
	order    map[string]int64  // the last command offset decided, by key
	previous []byte            // SHA-256 of the decision before
	sums     map[entry]*money
	orders   map[string][]ordered // due on the orders' topic, by key
	last     map[string]int64     // the offset of the last decision, by key
	ticks    []tick
	follows  map[int64]Difference // ticks that another must follow, by the offset of their command: the place of the decision
	control  control
	redriven int64
	read     int64
}

func (a *auditor) readPartition(ctx context.Context, id int32) (err error) {
	p := &partition{
		auditor: a, id: id, model: model.NewPartition(a.refs),
		waiting: map[int64]model.Record{}, decided: map[int64]bool{}, newest: -1,
		seq: map[string]uint64{}, order: map[string]int64{}, sums: map[entry]*money{}, last: map[string]int64{},
		orders: map[string][]ordered{}, control: newControl(), follows: map[int64]Difference{},
	}
	if p.commands, err = openCursor(a.cfg, topics.Commands, id, a.extents[topics.Commands][id]); err != nil {
		return err
	}
	defer p.commands.close()
	if p.decisions, err = openCursor(a.cfg, topics.Decisions, id, a.extents[topics.Decisions][id]); err != nil {
		return err
	}
	defer p.decisions.close()
	for _, s := range a.stores {
		m, err := s.open(ctx, id)
		if err != nil {
			return fmt.Errorf("opening %s: %w", s.name(), err)
		}
		defer m.close()
		p.mirrors = append(p.mirrors, m)
	}
	if err := p.replay(ctx); err != nil {
		return err
	}
	for _, m := range p.mirrors {
		if err := m.finish(); err != nil {
			return err
		}
	}
	p.checkTicks()
	if err := p.undecided(ctx); err != nil {
		return err
	}
	if err := p.checkOrders(ctx); err != nil {
		return err
	}
	p.balances()
	if err := p.table(ctx); err != nil {
		return err
	}
	p.merge()
	return nil
}

// replay goes through the decisions.
func (p *partition) replay(ctx context.Context) error {
	for {
		r, err := p.decisions.next(ctx)
		if err != nil {
			return err
		}
		if r == nil {
			break
		}
		p.progressed()
		d := &paymentsv1.Decision{}
		if err := proto.Unmarshal(r.Value, d); err != nil {
			p.differ(CheckChain, r, string(r.Key), "the decision cannot be decoded: "+err.Error())
			p.previous = hashOf(r)
			continue
		}
		p.chain(r, d)
		p.read++
		if err := p.decision(ctx, r, d); err != nil {
			return err
		}
	}
	for {
		more, err := p.readCommand(ctx)
		if err != nil {
			return err
		}
		if !more {
			return nil
		}
	}
}

// chain: each decision names the hash of the one stored before it.
func (p *partition) chain(r *kgo.Record, d *paymentsv1.Decision) {
	p.findings.count(CheckChain, 1)
	if !bytes.Equal(d.GetPreviousHash(), p.previous) {
		p.differ(CheckChain, r, d.GetAccount(), fmt.Sprintf("previous_hash: want %x, got %x", p.previous, d.GetPreviousHash()))
	}
	p.previous = hashOf(r)
}

// hashOf is taken over the bytes as they are stored.
func hashOf(r *kgo.Record) []byte {
	h := sha256.Sum256(r.Value)
	return h[:]
}

// decision checks one decision against its command and the model, and hands it to the stores' mirrors.
func (p *partition) decision(ctx context.Context, r *kgo.Record, d *paymentsv1.Decision) error {
	p.sequence(r, d)
	p.zero(r, d)
	p.post(d)
	p.last[d.GetAccount()] = r.Offset
	for _, m := range p.mirrors {
		if err := m.decision(r, d); err != nil {
			return err
		}
	}
	cmd, ok, err := p.command(ctx, d.GetCommandOffset())
	if err != nil {
		return err
	}
	p.findings.count(CheckDecided, 1)
	switch {
	case d.GetCommandTopic() != topics.Commands || d.GetCommandPartition() != p.id:
		p.differ(CheckDecided, r, d.GetAccount(), fmt.Sprintf("decides %s partition %d", d.GetCommandTopic(), d.GetCommandPartition()))
		return nil
	case p.decided[d.GetCommandOffset()]:
		p.differ(CheckDecided, r, d.GetAccount(), fmt.Sprintf("a second decision of command offset %d", d.GetCommandOffset()))
		return nil
	case !ok && p.moving && d.GetCommandOffset() >= p.commands.end:
		return nil // its command was written after the start
	case !ok:
		p.differ(CheckDecided, r, d.GetAccount(), fmt.Sprintf("there is no command at offset %d", d.GetCommandOffset()))
		return nil
	}
	delete(p.waiting, cmd.Offset)
	p.decided[cmd.Offset] = true
	p.inOrder(r, cmd)
	if err := p.inTurn(ctx, r, cmd); err != nil {
		return err
	}
	p.compare(r, d, cmd)
	return nil
}

// sequence: decisions of a key are numbered without a gap.
func (p *partition) sequence(r *kgo.Record, d *paymentsv1.Decision) {
	p.findings.count(CheckSequence, 1)
	if d.GetKind() == paymentsv1.CommandKind_COMMAND_KIND_TICK {
		if d.GetAccountSeq() != 0 {
			p.differ(CheckSequence, r, "", fmt.Sprintf("a tick is number %d", d.GetAccountSeq()))
		}
		return
	}
	key := d.GetAccount()
	if want := p.seq[key] + 1; d.GetAccountSeq() != want {
		p.differ(CheckSequence, r, key, fmt.Sprintf("account_seq: want %d, got %d", want, d.GetAccountSeq()))
	}
	if string(r.Key) != key {
		p.differ(CheckSequence, r, key, fmt.Sprintf("the record's key is %q", r.Key))
	}
	p.seq[key] = d.GetAccountSeq()
}

// inOrder: commands of a key are decided as they stand on the log.
func (p *partition) inOrder(r *kgo.Record, cmd model.Record) {
	if last, ok := p.order[cmd.Key]; ok && cmd.Offset < last && cmd.Command.GetTick() == nil {
		p.differ(CheckDecided, r, cmd.Key, fmt.Sprintf("command offset %d is decided after %d", cmd.Offset, last))
	}
	p.order[cmd.Key] = cmd.Offset
	p.newest = max(p.newest, cmd.Offset)
}

// compare asks the model.
func (p *partition) compare(r *kgo.Record, d *paymentsv1.Decision, cmd model.Record) {
	p.findings.count(CheckModel, 1)
	if cmd.Command == nil {
		p.differ(CheckModel, r, cmd.Key, fmt.Sprintf("the command at offset %d cannot be decoded, yet it was decided", cmd.Offset))
		return
	}
	want, err := p.model.Apply(cmd)
	if err != nil {
		p.differ(CheckModel, r, cmd.Key, fmt.Sprintf("the command at offset %d cannot be decided: %v", cmd.Offset, err))
		return
	}
	if what := model.Differ(want.Decision, d); what != "" {
		p.differ(CheckModel, r, cmd.Key, what)
	}
	p.expectOrders(r, cmd.Key, want.Orders)
	for _, e := range want.Emissions {
		if e.Command.GetTick() != nil {
			p.follows[cmd.Offset] = Difference{Account: e.Key, Topic: topics.Decisions, Partition: p.id, Offset: r.Offset}
			continue
		}
		p.emission(model.Fingerprint(e.Key, e.Command), e.Key, 1, Difference{Topic: topics.Decisions, Partition: p.id, Offset: r.Offset})
	}
}

// emission adds to one side of the account of emitted commands.
func (p *partition) emission(what, key string, count int, place Difference) {
	if what == "" {
		return
	}
	if count < 0 {
		p.findings.count(CheckEmissions, 1)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.emissions[what]
	if e.count += count; e.count == 0 {
		delete(p.emissions, what)
		return
	}
	e.account, e.place = key, place
	p.emissions[what] = e
}

// command gives the command at an offset, reading on as far as needed.
func (p *partition) command(ctx context.Context, offset int64) (model.Record, bool, error) {
	for p.commands.at <= offset {
		if more, err := p.readCommand(ctx); err != nil || !more {
			return model.Record{}, false, err
		}
	}
	cmd, ok := p.waiting[offset]
	return cmd, ok, nil
}

func (p *partition) readCommand(ctx context.Context) (bool, error) {
	r, err := p.commands.next(ctx)
	if err != nil || r == nil {
		return false, err
	}
	p.progressed()
	if p.control.take(r) {
		return true, nil
	}
	rec := model.Record{Key: string(r.Key), Partition: r.Partition, Offset: r.Offset}
	cmd := &paymentsv1.Command{}
	if err := proto.Unmarshal(r.Value, cmd); err == nil && r.Value != nil {
		rec.Command = cmd
		if cmd.GetTick() != nil {
			p.ticks = append(p.ticks, tick{rec.Key, cmd.GetTick().GetMinute(), cmd.GetAcceptedAtUs(), r.Offset, r.Attrs.IsTransactional()})
		}
		p.emission(model.Fingerprint(rec.Key, cmd), rec.Key, -1, Difference{Topic: topics.Commands, Partition: p.id, Offset: r.Offset})
	}
	p.waiting[r.Offset] = rec
	return true, nil
}

// zero: the postings of a journal sum to zero per layer and currency.
func (p *partition) zero(r *kgo.Record, d *paymentsv1.Decision) {
	type side struct {
		layer    paymentsv1.Layer
		currency string
	}
	for _, j := range d.GetJournals() {
		p.findings.count(CheckZero, 1)
		sums := map[side]*big.Int{}
		for _, l := range j.GetPostings() {
			s := side{l.GetLayer(), l.GetCurrency()}
			if sums[s] == nil {
				sums[s] = new(big.Int)
			}
			sums[s].Add(sums[s], big.NewInt(l.GetAmountMinor()))
			if l.GetAccount() != d.GetAccount() && !strings.HasPrefix(l.GetAccount(), "sys_") {
				p.differ(CheckZero, r, d.GetAccount(), "a posting on the account "+l.GetAccount()+" of another key")
			}
		}
		for s, sum := range sums {
			if sum.Sign() != 0 {
				p.differ(CheckZero, r, d.GetAccount(), fmt.Sprintf("%s %s sums to %s", s.layer, s.currency, sum))
			}
		}
	}
}

// post adds the decision's postings to the sums of the log.
func (p *partition) post(d *paymentsv1.Decision) {
	for _, j := range d.GetJournals() {
		for _, l := range j.GetPostings() {
			e := entry{l.GetAccount(), l.GetCurrency()}
			m := p.sums[e]
			if m == nil {
				m = &money{}
				p.sums[e] = m
			}
			m.add(j.GetKind(), l)
		}
	}
}

// add books one line: in the pending layer a hold's debit is held and its credit incoming, and a release takes either back.
func (m *money) add(kind paymentsv1.JournalKind, l *paymentsv1.Posting) {
	amount := big.NewInt(l.GetAmountMinor())
	release := kind == paymentsv1.JournalKind_JOURNAL_KIND_RELEASE
	switch {
	case l.GetLayer() == paymentsv1.Layer_LAYER_POSTED:
		m.posted.Add(&m.posted, amount)
	case (amount.Sign() < 0) != release:
		m.held.Sub(&m.held, amount)
	default:
		m.incoming.Add(&m.incoming, amount)
	}
}

// undecided sorts what has no decision: parked, dead, discarded, or still on its way.
func (p *partition) undecided(ctx context.Context) error {
	parked, err := readParked(ctx, p.cfg, p.id, p.extents[topics.AccountsSide][p.id])
	if err != nil {
		return err
	}
	dead, err := readDead(ctx, p.cfg, p.id, p.extents[topics.DeadLetters][p.id])
	if err != nil {
		return err
	}
	waits := map[string]int64{} // the first parked command of a key
	var counts struct{ parked, dead, discarded, undecided int64 }
	for _, offset := range slices.Sorted(maps.Keys(p.waiting)) {
		cmd := p.waiting[offset]
		place := Difference{Check: CheckDecided, Account: cmd.Key, Topic: topics.Commands, Partition: p.id, Offset: offset}
		_, isParked := parked[offset]
		switch letter, isDead := dead[offset]; {
		case isParked:
			counts.parked++
			if _, ok := waits[cmd.Key]; !ok {
				waits[cmd.Key] = offset
			}
		case isDead && !letter.discarded:
			counts.dead++
			continue
		case isDead:
			counts.discarded++
			if !p.discarded(cmd, letter) {
				place.Detail = "discarded, and nobody's word led to it"
				p.findings.differ(place)
			}
		case offset < p.newest:
			place.Detail = "there is no decision, although later commands of the partition are decided"
			p.findings.differ(place)
		default:
			counts.undecided++
			place.Detail = "there is no decision yet"
			p.findings.behind(place, 1)
		}
		p.onItsWay(cmd)
	}
	for key, first := range waits {
		if last, ok := p.order[key]; ok && last > first {
			p.findings.differ(Difference{
				Check: CheckDecided, Account: key, Topic: topics.Commands, Partition: p.id, Offset: last,
				Detail: fmt.Sprintf("decided although offset %d of the same key is parked", first),
			})
		}
	}
	p.twice(parked, dead)
	words, malformed := p.controls(dead)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.report.Parked += counts.parked
	p.report.Dead += counts.dead + malformed
	p.report.Discarded += counts.discarded
	p.report.Controls += words
	p.report.Undecided += counts.undecided
	p.report.Commands += int64(len(p.waiting)+len(p.decided)) + malformed
	return nil
}

// onItsWay counts what an undecided leg keeps in transit, and whose claim is not settled yet. A discarded one never will be.
func (p *partition) onItsWay(cmd model.Record) {
	if customer := model.SettlesClaim(cmd.Key, cmd.Command); customer != "" {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.unsettled[customer] = true
		return
	}
	var currency string
	var amount int64
	if leg := cmd.Command.GetCounterLeg(); leg != nil {
		currency, amount = leg.GetCurrency(), leg.GetAmountMinor()
	} else if result := cmd.Command.GetLegResult(); result != nil && !result.GetAccepted() {
		currency, amount = p.model.TransferTarget(cmd.Key, result.GetTransferId())
	} else {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.inFlight[currency] == nil {
		p.inFlight[currency] = new(big.Int)
	}
	p.inFlight[currency].Add(p.inFlight[currency], big.NewInt(amount))
}

// balances: what the postings of the log come to is what the model holds.
func (p *partition) balances() {
	for _, key := range p.model.Keys() {
		want := map[string]string{}
		for _, b := range p.model.Balances(key) {
			want[b.GetCurrency()] = fmt.Sprintf("posted %d held %d incoming %d", b.GetPostedMinor(), b.GetHeldMinor(), b.GetIncomingMinor())
		}
		for currency, text := range want {
			p.findings.count(CheckBalances, 1)
			m := p.sums[entry{key, currency}]
			if m == nil {
				m = &money{}
			}
			if got := m.String(); got != text {
				p.findings.differ(Difference{
					Check: CheckBalances, Account: key, Topic: topics.Decisions, Partition: p.id, Offset: p.last[key],
					Detail: fmt.Sprintf("%s: want %s, got %s", currency, text, got),
				})
			}
		}
	}
}

func (m *money) String() string {
	return fmt.Sprintf("posted %s held %s incoming %s", &m.posted, &m.held, &m.incoming)
}

// table: the engine's cells are what the model holds.
func (p *partition) table(ctx context.Context) error {
	type cell struct {
		value  []byte
		offset int64
	}
	cells := map[string]cell{}
	err := each(ctx, p.cfg, topics.AccountsTable, p.id, p.extents[topics.AccountsTable][p.id], func(r *kgo.Record) error {
		if string(r.Key) == fenceKey {
			return nil
		}
		cells[string(r.Key)] = cell{r.Value, r.Offset}
		return nil
	})
	if err != nil {
		return err
	}
	keys := p.model.Keys()
	var strangers []string
	for key, c := range cells {
		if _, known := slices.BinarySearch(keys, key); !known && c.value != nil {
			strangers = append(strangers, key)
		}
	}
	keys = append(keys, strangers...)
	for _, key := range keys {
		p.findings.count(CheckTable, 1)
		var got *paymentsv1.AccountCell
		detail := ""
		if c, ok := cells[key]; ok && c.value != nil {
			got = &paymentsv1.AccountCell{}
			if err := proto.Unmarshal(c.value, got); err != nil {
				detail = "the cell cannot be decoded: " + err.Error()
			}
		}
		if detail == "" {
			detail = p.model.DifferCell(key, got)
		}
		if detail != "" {
			p.findings.differ(Difference{
				Check: CheckTable, Account: key, Topic: topics.AccountsTable, Partition: p.id, Offset: cells[key].offset, Detail: detail,
			})
		}
	}
	return nil
}

// merge hands the partition's results over.
func (p *partition) merge() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.report.Decisions += p.read
	p.report.Redriven += p.redriven
	for key, account := range p.model.Claims() {
		p.claims[key] = tie{account, p.id, p.last[key]}
	}
	for key, customer := range p.model.Owners() {
		p.owners[key] = tie{customer, p.id, p.last[key]}
		p.report.Accounts++
	}
	for e, m := range p.sums {
		all := p.auditor.sums[e]
		if all == nil {
			all = &money{}
			p.auditor.sums[e] = all
		}
		all.posted.Add(&all.posted, &m.posted)
		all.held.Add(&all.held, &m.held)
		all.incoming.Add(&all.incoming, &m.incoming)
	}
}

func (p *partition) differ(check string, r *kgo.Record, account, detail string) {
	p.findings.differ(Difference{Check: check, Account: account, Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Detail: detail})
}
