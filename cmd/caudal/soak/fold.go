package soak

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	"github.com/caudalpay/caudal/cmd/caudal/rig"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/schemas/topics"
)

// state is a payment, or an operation on one, as the decisions have told it so far.
type state struct {
	status               paymentsv1.PaymentStatus
	authorized, captured int64
	order                string          // of a pay-in's authorisation or a payout's sending
	clearing             int64           // posted to the clearing of card or bank: what the books say that the rail owes
	standing             map[total]int64 // in transit and suspense
	reasons              []paymentsv1.Reason
	acted                int
	actedAt              paymentsv1.PaymentStatus
	fx                   *paymentsv1.Fx // of a pay-in that was converted
	disputed             bool
	quote                bool // a rate that was promised: it waits for nobody
}

// stand keeps what is not 0.
func (s *state) stand(at total, amount int64) {
	if s.standing == nil {
		s.standing = map[total]int64{}
	}
	if s.standing[at] += amount; s.standing[at] == 0 {
		delete(s.standing, at)
	}
}

// waiting tells whether the outside, or the other account, still owes a word.
func (s *state) waiting() bool {
	if s.quote {
		return false
	}
	switch s.status {
	case paymentsv1.PaymentStatus_PAYMENT_STATUS_PROCESSING, paymentsv1.PaymentStatus_PAYMENT_STATUS_UNKNOWN,
		paymentsv1.PaymentStatus_PAYMENT_STATUS_CREATED, paymentsv1.PaymentStatus_PAYMENT_STATUS_PENDING, paymentsv1.PaymentStatus_PAYMENT_STATUS_SENT:
		return true
	default:
		return false
	}
}

// total names a sum over a system account.
type total struct{ account, layer, currency string }

// fold is what the decisions tell.
type fold struct {
	all       map[string]*state
	totals    map[total]int64
	decisions int64
	waiting   int
	payments  int64                // of the plan: all but operations
	next      map[int32]kgo.Offset // where to read on
	changed   func(id string, s *state)
	hearers   []hearer
}

// hearer has a model of its own of what some decisions tell. It hears no repeats and no conflicts.
type hearer interface{ hear(d *paymentsv1.Decision) }

func newFold(changed func(string, *state), hearers ...hearer) *fold {
	return &fold{all: map[string]*state{}, totals: map[total]int64{}, next: map[int32]kgo.Offset{}, changed: changed, hearers: hearers}
}

func (f *fold) get(id string) *state {
	s := f.all[id]
	if s == nil {
		s = &state{quote: strings.HasPrefix(id, "fq_")}
		f.all[id] = s
		if id[:3] == "pi_" || id[:3] == "po_" || id[:3] == "tr_" {
			f.payments++
		}
	}
	return s
}

// open reads the decisions from where the last one stopped.
func (f *fold) open(h *rig.House) (*kgo.Client, error) {
	for p := range h.Addresses.Partitions {
		if _, ok := f.next[p]; !ok {
			f.next[p] = kgo.NewOffset().AtStart()
		}
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(h.Addresses.Brokers...), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topics.Decisions: f.next}))
	if err != nil {
		return nil, fmt.Errorf("opening a reader of decisions: %w", err)
	}
	return cl, nil
}

// read takes in what comes within a moment.
func (f *fold) read(ctx context.Context, cl *kgo.Client) error {
	ctx, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	var err error
	cl.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
		d := &paymentsv1.Decision{}
		if e := proto.Unmarshal(r.Value, d); e != nil {
			err = fmt.Errorf("reading the decision at %d/%d: %w", r.Partition, r.Offset, e)
			return
		}
		f.next[r.Partition] = kgo.NewOffset().At(r.Offset + 1)
		f.take(d)
	})
	return err
}

func (f *fold) take(d *paymentsv1.Decision) {
	f.decisions++
	switch d.GetOutcome() {
	case paymentsv1.Outcome_OUTCOME_REPEATED, paymentsv1.Outcome_OUTCOME_CONFLICT:
		return // the first one tells
	default:
	}
	for _, h := range f.hearers {
		h.hear(d)
	}
	id := d.GetPaymentId()
	if id == "" {
		f.post(&state{}, d)
		return
	}
	own := f.get(id)
	money := own
	f.tell(id, own, func(s *state) {
		if status := d.GetStatus(); status != 0 {
			s.status = status
		}
		if strings.HasPrefix(id, "pi_") || strings.HasPrefix(id, "po_") {
			s.captured, s.authorized = d.GetCapturedMinor(), d.GetAuthorizedMinor()
			s.fx = cmp.Or(s.fx, d.GetFx())
			if order := d.GetOrderId(); order != "" && order[:strings.IndexByte(order, '.')] == id && !strings.HasSuffix(order, ".expire") {
				s.order = order
			}
		}
		if len(d.GetReasons()) > 0 {
			s.reasons = d.GetReasons()
		}
	})
	if related := d.GetRelatedPaymentId(); of(id, related) {
		money = f.get(related)
		if own.status == paymentsv1.PaymentStatus_PAYMENT_STATUS_FAILED {
			money.actedAt = 0 // what was asked for was refused: the merchant thinks again
		}
		f.tell(related, money, func(s *state) {
			if status := d.GetRelatedStatus(); status != 0 {
				s.status, s.captured, s.authorized = status, d.GetCapturedMinor(), d.GetAuthorizedMinor()
			}
			if len(d.GetReasons()) > 0 {
				s.reasons = d.GetReasons()
			}
		})
	}
	f.post(money, d)
}

// of tells whether what is decided on id moves the money of what it names: operations do, and clearings that of their
// authorization. The money of a dispute is its own: the rail that charged has no part in it.
func of(id, related string) bool {
	return !strings.HasPrefix(id, "dp_") &&
		(strings.HasPrefix(related, "pi_") || strings.HasPrefix(related, "po_") || strings.HasPrefix(related, "au_"))
}

// tell changes a state, and keeps how many wait.
func (f *fold) tell(id string, s *state, change func(*state)) {
	before := s.waiting()
	change(s)
	switch after := s.waiting(); {
	case after && !before:
		f.waiting++
	case before && !after:
		f.waiting--
	}
	f.changed(id, s)
}

// post adds up what a decision does to the accounts that nobody owns.
func (f *fold) post(s *state, d *paymentsv1.Decision) {
	for _, j := range d.GetJournals() {
		for _, p := range j.GetPostings() {
			account, amount := p.GetAccount(), p.GetAmountMinor()
			if !strings.HasPrefix(account, "sys_") {
				continue
			}
			layer := "posted"
			if p.GetLayer() == paymentsv1.Layer_LAYER_PENDING {
				layer = "pending"
			}
			at := total{account, layer, p.GetCurrency()}
			f.totals[at] += amount
			switch account {
			case "sys_clearing_card", "sys_clearing_bank":
				s.clearing += amount
			case "sys_transit", "sys_suspense":
				s.stand(at, amount)
			}
		}
	}
}
