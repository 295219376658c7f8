package chaos

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/schemas/topics"
)

// observer reads decisions as they commit and checks at each: debits are credits, by currency and layer; an account's
// numbers go up by one; its balance is the one before it and what was posted; what a transfer put into transit leaves it
// once. It also knows how far the work is, and how long a partition stood still after a fault.
type observer struct {
	client     *kgo.Client
	partitions int32

	mu       sync.Mutex
	decided  []bitmap // commands by partition and offset
	unique   int64
	repeated int64 // decisions on commands that were decided before
	followed int64 // commands that the engine sends itself because of decisions, expiry apart
	expiries int64 // decided
	last     time.Time
	seq      map[string]uint64
	balance  map[holding]int64
	transit  map[string]int64 // what is under way, by transfer and currency
	chain    map[int32][32]byte
	broken   violations
	stalls   map[*stall]struct{}
}

type holding struct{ account, currency string }

// violations are counted, and the first is kept.
type violations struct {
	count int64
	first string
}

func (v *violations) add(format string, args ...any) {
	if v.count++; v.count == 1 {
		v.first = fmt.Sprintf(format, args...)
	}
}

// stall is the time from a fault until every partition that it hit goes on.
type stall struct {
	kind    Kind
	since   time.Time
	waiting map[int32]bool
	going   chan struct{} // closed when none waits
	took    time.Duration // then
	blurred bool          // another fault fell before
}

func newObserver(brokers []string, partitions int32) (*observer, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topics.Decisions),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(50*time.Millisecond),
		kgo.MetadataMinAge(100*time.Millisecond))
	if err != nil {
		return nil, fmt.Errorf("connecting the observer: %w", err)
	}
	return &observer{
		client: client, partitions: partitions, decided: make([]bitmap, partitions), last: time.Now(), seq: map[string]uint64{},
		balance: map[holding]int64{}, transit: map[string]int64{}, chain: map[int32][32]byte{}, stalls: map[*stall]struct{}{},
	}, nil
}

// run reads until ctx ends. What cannot be read is asked for again: brokers die in this.
func (o *observer) run(ctx context.Context) error {
	defer o.client.Close()
	for ctx.Err() == nil {
		fetches := o.client.PollFetches(ctx)
		var failed error
		o.mu.Lock()
		fetches.EachRecord(func(r *kgo.Record) {
			var d paymentsv1.Decision
			if err := proto.Unmarshal(r.Value, &d); err != nil {
				failed = fmt.Errorf("decoding decision at offset %d of partition %d: %w", r.Offset, r.Partition, err)
				return
			}
			o.see(r, &d)
		})
		o.mu.Unlock()
		if failed != nil {
			return failed
		}
	}
	return nil
}

func (o *observer) see(r *kgo.Record, d *paymentsv1.Decision) {
	o.last = time.Now()
	for s := range o.stalls {
		if s.waiting[r.Partition] && r.Timestamp.After(s.since) {
			o.resumed(s, r.Partition)
		}
	}
	if d.GetCommandPartition() != r.Partition {
		o.broken.add("partition %d offset %d: a decision of partition %d", r.Partition, r.Offset, d.GetCommandPartition())
		return
	}
	if o.decided[r.Partition].set(d.GetCommandOffset()) {
		o.unique++
		o.followed += follows(d)
		if d.GetKind() == paymentsv1.CommandKind_COMMAND_KIND_EXPIRE {
			o.expiries++
		}
	} else {
		o.repeated++
	}
	if prev, ok := o.chain[r.Partition]; ok && string(d.GetPreviousHash()) != string(prev[:]) {
		o.broken.add("partition %d offset %d: the chain is broken", r.Partition, r.Offset)
	}
	o.chain[r.Partition] = sha256.Sum256(r.Value)
	if d.GetKind() == paymentsv1.CommandKind_COMMAND_KIND_TICK {
		return
	}
	if want := o.seq[d.GetAccount()] + 1; d.GetAccountSeq() != want {
		o.broken.add("partition %d offset %d: %s has number %d, want %d", r.Partition, r.Offset, d.GetAccount(), d.GetAccountSeq(), want)
	}
	o.seq[d.GetAccount()] = d.GetAccountSeq()
	o.books(r, d)
}

// follows counts the commands that the engine sends itself because of this decision. How many expire because of a tick is
// not in its decision.
func follows(d *paymentsv1.Decision) int64 {
	switch d.GetKind() {
	case paymentsv1.CommandKind_COMMAND_KIND_OPEN_ACCOUNT:
		if d.GetOutcome() == paymentsv1.Outcome_OUTCOME_APPLIED {
			return 1 // passed on to the account's key
		}
	case paymentsv1.CommandKind_COMMAND_KIND_TRANSFER:
		if d.GetOutcome() == paymentsv1.Outcome_OUTCOME_APPROVED {
			return 1
		}
	case paymentsv1.CommandKind_COMMAND_KIND_COUNTER_LEG:
		return 1
	default:
	}
	return 0
}

// books checks the money of a decision.
func (o *observer) books(r *kgo.Record, d *paymentsv1.Decision) {
	sums := map[string]int64{}
	for _, j := range d.GetJournals() {
		for _, p := range j.GetPostings() {
			sums[p.GetLayer().String()+" "+p.GetCurrency()] += p.GetAmountMinor()
			if p.GetLayer() != paymentsv1.Layer_LAYER_POSTED {
				continue
			}
			switch p.GetAccount() {
			case transitAccount:
				o.pass(d, p)
			case d.GetAccount():
				o.balance[holding{p.GetAccount(), p.GetCurrency()}] += p.GetAmountMinor()
			}
		}
	}
	for what, sum := range sums {
		if sum != 0 {
			o.broken.add("partition %d offset %d: %s: debits and credits differ by %d", r.Partition, r.Offset, what, sum)
		}
	}
	for _, b := range d.GetBalances() {
		h := holding{d.GetAccount(), b.GetCurrency()}
		if got := o.balance[h]; got != b.GetPostedMinor() {
			o.broken.add("partition %d offset %d: %s holds %d %s and its postings sum up to %d",
				r.Partition, r.Offset, h.account, b.GetPostedMinor(), h.currency, got)
			o.balance[h] = b.GetPostedMinor()
		}
	}
}

const transitAccount = "sys_transit"

func (o *observer) pass(d *paymentsv1.Decision, p *paymentsv1.Posting) {
	id := d.GetRelatedPaymentId()
	if d.GetKind() == paymentsv1.CommandKind_COMMAND_KIND_TRANSFER {
		id = d.GetPaymentId()
	}
	id += " " + p.GetCurrency()
	if o.transit[id] += p.GetAmountMinor(); o.transit[id] == 0 {
		delete(o.transit, id)
	}
}

// watch begins a stall of partitions; what still waits is blurred by it.
func (o *observer) watch(kind Kind, since time.Time, partitions []int32) *stall {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := &stall{kind: kind, since: since, waiting: map[int32]bool{}, going: make(chan struct{})}
	for other := range o.stalls {
		other.blurred = true
		s.blurred = true
	}
	for _, p := range partitions {
		s.waiting[p] = true
	}
	if len(partitions) == 0 {
		s.blurred = true
		close(s.going)
		return s
	}
	o.stalls[s] = struct{}{}
	return s
}

// stalled tells whether a partition that a fault hit has not gone on yet.
func (o *observer) stalled() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.stalls) > 0
}

func (o *observer) resumed(s *stall, partition int32) {
	delete(s.waiting, partition)
	if len(s.waiting) == 0 {
		s.took = time.Since(s.since)
		delete(o.stalls, s)
		close(s.going)
	}
}

// backlog is how many commands are not decided, of those that were acknowledged and of those that follow.
func (r reading) backlog(acknowledged int64) int64 {
	return acknowledged + r.followed - (r.unique - r.expiries)
}

// reading is how far the work is.
type reading struct {
	unique, repeated, followed, expiries int64
	last                                 time.Time
	underWay                             int
	broken                               violations
}

func (o *observer) now() reading {
	o.mu.Lock()
	defer o.mu.Unlock()
	return reading{o.unique, o.repeated, o.followed, o.expiries, o.last, len(o.transit), o.broken}
}

// bitmap is a set of offsets.
type bitmap []uint64

// set adds an offset and tells whether it is new.
func (b *bitmap) set(at int64) bool {
	word, bit := int(at/64), uint64(1)<<(at%64)
	for len(*b) <= word {
		*b = append(*b, make([]uint64, word+1-len(*b))...)
	}
	if (*b)[word]&bit != 0 {
		return false
	}
	(*b)[word] |= bit
	return true
}

func (b bitmap) has(at int64) bool {
	word := int(at / 64)
	return word < len(b) && b[word]&(1<<(at%64)) != 0
}
