// Package observe counts decisions as they commit: outcomes, and the time from accepted to decided-and-committed.
// It reads payments.decisions.v1 read_committed, beside everything else, and changes nothing.
package observe

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	"github.com/caudalpay/caudal/processors/payment"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/schemas/topics"
)

// Counts are decisions of requests (not of ticks, legs, expiry or forwarded openings) by what was decided.
type Counts struct {
	Decided, Approved, Declined, Review, Repeats, Conflicts int64
	Kinds                                                   map[string]int64
	Reasons                                                 map[string]int64 // main reason of declines
	// Final counts payments, and operations on them, that reached a status nothing will change by itself; a transfer counts once.
	// What a rail executes counts when its answer, or its deadline, says so, and only where it began under the observer's eyes.
	Final int64
	// All counts every decision, those on ticks and legs too.
	All int64
	// InTransit counts transfers that left the payer and are not answered yet.
	InTransit int64
	// First and Last are the acceptance of the first and the commit of the last decision counted.
	First, Last time.Time
}

// Observer follows the decisions topic from where it stood at New.
type Observer struct {
	client *kgo.Client

	mu      sync.Mutex
	counts  Counts
	waiting map[string]struct{}     // payments and operations that wait for a rail: an answer may come twice, and ends them once
	latency *hdrhistogram.Histogram // microseconds, accepted to seen committed
}

// New starts at the present end of the topic, so that only later decisions count.
func New(ctx context.Context, brokers []string) (*Observer, error) {
	probe, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		return nil, fmt.Errorf("connecting observer: %w", err)
	}
	defer probe.Close()
	ends, err := kadm.NewClient(probe).ListCommittedOffsets(ctx, topics.Decisions)
	if err != nil {
		return nil, fmt.Errorf("listing decision offsets: %w", err)
	}
	from := map[int32]kgo.Offset{}
	ends.Each(func(o kadm.ListedOffset) { from[o.Partition] = kgo.NewOffset().At(o.Offset) })
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topics.Decisions: from}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(50*time.Millisecond))
	if err != nil {
		return nil, fmt.Errorf("connecting observer: %w", err)
	}
	return &Observer{
		client: client, latency: hdrhistogram.New(1, int64(10*time.Minute/time.Microsecond), 3),
		counts: Counts{Kinds: map[string]int64{}, Reasons: map[string]int64{}}, waiting: map[string]struct{}{},
	}, nil
}

// Run counts until ctx ends. A record that is no decision is an error: the topic holds nothing else.
func (o *Observer) Run(ctx context.Context) error {
	defer o.client.Close()
	for {
		fetches := o.client.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil
		}
		now := time.Now()
		var failed error
		fetches.EachRecord(func(r *kgo.Record) {
			var d paymentsv1.Decision
			if err := proto.Unmarshal(r.Value, &d); err != nil {
				failed = fmt.Errorf("decoding decision at %s/%d offset %d: %w", r.Topic, r.Partition, r.Offset, err)
				return
			}
			o.count(&d, now)
		})
		if failed != nil {
			return failed
		}
	}
}

// Snapshot is what has been counted so far.
func (o *Observer) Snapshot() Counts {
	o.mu.Lock()
	defer o.mu.Unlock()
	c := o.counts
	c.Kinds, c.Reasons = maps.Clone(o.counts.Kinds), maps.Clone(o.counts.Reasons)
	return c
}

// Quantile of accepted to decided-and-committed, q in per cent.
func (o *Observer) Quantile(q float64) time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	return time.Duration(o.latency.ValueAtQuantile(q)) * time.Microsecond
}

func (o *Observer) count(d *paymentsv1.Decision, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.counts.All++
	if n := o.ended(d); n > 0 {
		o.counts.Final += n
		o.counts.Last = now
	}
	switch {
	case departed(d):
		o.counts.InTransit++
	case d.GetKind() == paymentsv1.CommandKind_COMMAND_KIND_LEG_RESULT:
		o.counts.InTransit--
	}
	if !request(d) {
		return
	}
	accepted := time.UnixMicro(d.GetAcceptedAtUs())
	if o.counts.First.IsZero() || accepted.Before(o.counts.First) {
		o.counts.First = accepted
	}
	o.counts.Last = now
	_ = o.latency.RecordValue(max(1, now.Sub(accepted).Microseconds())) // out of range only above ten minutes
	o.counts.Decided++
	o.counts.Kinds[payment.Kind(d.GetKind()).String()]++ //nolint:gosec // enum of small numbers
	switch d.GetOutcome() {
	case paymentsv1.Outcome_OUTCOME_APPROVED, paymentsv1.Outcome_OUTCOME_APPLIED:
		o.counts.Approved++
	case paymentsv1.Outcome_OUTCOME_DECLINED:
		o.counts.Declined++
		if r := d.GetReasons(); len(r) > 0 {
			o.counts.Reasons[payment.Reason(r[0]).String()]++ //nolint:gosec // enum of small numbers
		}
	case paymentsv1.Outcome_OUTCOME_REVIEW:
		o.counts.Review++
	case paymentsv1.Outcome_OUTCOME_REPEATED:
		o.counts.Repeats++
	case paymentsv1.Outcome_OUTCOME_CONFLICT:
		o.counts.Conflicts++
	case paymentsv1.Outcome_OUTCOME_UNSPECIFIED:
	}
}

// departed tells whether this decision sent a transfer's money into transit. Payments by rails are processing as well, and
// hold money, but theirs is not on its way to another account.
func departed(d *paymentsv1.Decision) bool {
	return d.GetStatus() == paymentsv1.PaymentStatus_PAYMENT_STATUS_PROCESSING && len(d.GetJournals()) > 0 &&
		strings.HasPrefix(d.GetPaymentId(), payment.KindTransfer.Prefix())
}

// request tells whether the decision is the answer to something a caller sent.
func request(d *paymentsv1.Decision) bool {
	switch d.GetKind() {
	case paymentsv1.CommandKind_COMMAND_KIND_TICK, paymentsv1.CommandKind_COMMAND_KIND_EXPIRE,
		paymentsv1.CommandKind_COMMAND_KIND_COUNTER_LEG, paymentsv1.CommandKind_COMMAND_KIND_LEG_RESULT,
		paymentsv1.CommandKind_COMMAND_KIND_RAIL_ANSWER, paymentsv1.CommandKind_COMMAND_KIND_RELEASE_CLAIM,
		paymentsv1.CommandKind_COMMAND_KIND_UNSPECIFIED:
		return false
	case paymentsv1.CommandKind_COMMAND_KIND_OPEN_ACCOUNT, paymentsv1.CommandKind_COMMAND_KIND_SET_KYC_LEVEL:
		// Applied on the customer's key means passed on: the account's decision is the answer.
		return d.GetOutcome() != paymentsv1.Outcome_OUTCOME_APPLIED
	default:
		return true
	}
}

// ended counts the payments that this decision brought to a status that only a request of its own can change: the one it is
// about and, where an operation was answered, the one that the operation is about.
func (o *Observer) ended(d *paymentsv1.Decision) (n int64) {
	switch d.GetOutcome() {
	case paymentsv1.Outcome_OUTCOME_REPEATED, paymentsv1.Outcome_OUTCOME_CONFLICT:
		return 0
	default:
	}
	done, waits := final(d.GetStatus()), waitsForRail(d)
	switch d.GetKind() {
	case paymentsv1.CommandKind_COMMAND_KIND_PAY_IN, paymentsv1.CommandKind_COMMAND_KIND_PAY_OUT, paymentsv1.CommandKind_COMMAND_KIND_TRANSFER,
		paymentsv1.CommandKind_COMMAND_KIND_REFUND, paymentsv1.CommandKind_COMMAND_KIND_CAPTURE, paymentsv1.CommandKind_COMMAND_KIND_VOID,
		paymentsv1.CommandKind_COMMAND_KIND_INCREMENT:
	case paymentsv1.CommandKind_COMMAND_KIND_APPROVE, paymentsv1.CommandKind_COMMAND_KIND_DECLINE:
		granted := d.GetOutcome() == paymentsv1.Outcome_OUTCOME_APPROVED
		done, waits = done && granted, waits && granted
	case paymentsv1.CommandKind_COMMAND_KIND_LEG_RESULT:
		return 1
	case paymentsv1.CommandKind_COMMAND_KIND_RAIL_ANSWER, paymentsv1.CommandKind_COMMAND_KIND_EXPIRE:
		if d.GetOutcome() != paymentsv1.Outcome_OUTCOME_APPLIED {
			return 0
		}
		n := o.stop(d.GetPaymentId(), d.GetStatus())
		if d.GetRelatedPaymentId() != d.GetPaymentId() {
			n += o.stop(d.GetRelatedPaymentId(), d.GetRelatedStatus())
		}
		return n
	default:
		return 0
	}
	if waits {
		o.waiting[d.GetPaymentId()] = struct{}{}
	}
	if done {
		return 1
	}
	return 0
}

// stop ends the waiting of a payment whose status is final.
func (o *Observer) stop(id string, status paymentsv1.PaymentStatus) int64 {
	if _, waits := o.waiting[id]; !waits || !final(status) {
		return 0
	}
	delete(o.waiting, id)
	return 1
}

// waitsForRail tells whether a decision left a payment or operation with its rail.
func waitsForRail(d *paymentsv1.Decision) bool {
	switch d.GetStatus() {
	case paymentsv1.PaymentStatus_PAYMENT_STATUS_PROCESSING:
		return !strings.HasPrefix(d.GetPaymentId(), payment.KindTransfer.Prefix())
	case paymentsv1.PaymentStatus_PAYMENT_STATUS_CREATED:
		return strings.HasPrefix(d.GetPaymentId(), payment.KindPayOut.Prefix()) // a quote is created too
	default:
		return false
	}
}

// final tells the statuses in which a payment stays until somebody asks for something.
func final(s paymentsv1.PaymentStatus) bool {
	switch s {
	case paymentsv1.PaymentStatus_PAYMENT_STATUS_SUCCEEDED, paymentsv1.PaymentStatus_PAYMENT_STATUS_FAILED,
		paymentsv1.PaymentStatus_PAYMENT_STATUS_PARTIALLY_REFUNDED, paymentsv1.PaymentStatus_PAYMENT_STATUS_REFUNDED,
		paymentsv1.PaymentStatus_PAYMENT_STATUS_EXPIRED, paymentsv1.PaymentStatus_PAYMENT_STATUS_CANCELLED,
		paymentsv1.PaymentStatus_PAYMENT_STATUS_PAID, paymentsv1.PaymentStatus_PAYMENT_STATUS_RETURNED,
		paymentsv1.PaymentStatus_PAYMENT_STATUS_WON, paymentsv1.PaymentStatus_PAYMENT_STATUS_LOST:
		return true
	case paymentsv1.PaymentStatus_PAYMENT_STATUS_UNSPECIFIED, paymentsv1.PaymentStatus_PAYMENT_STATUS_IN_REVIEW,
		paymentsv1.PaymentStatus_PAYMENT_STATUS_PROCESSING, paymentsv1.PaymentStatus_PAYMENT_STATUS_UNKNOWN,
		paymentsv1.PaymentStatus_PAYMENT_STATUS_REQUIRES_CAPTURE, paymentsv1.PaymentStatus_PAYMENT_STATUS_PARTIALLY_CAPTURED,
		paymentsv1.PaymentStatus_PAYMENT_STATUS_CREATED, paymentsv1.PaymentStatus_PAYMENT_STATUS_PENDING,
		paymentsv1.PaymentStatus_PAYMENT_STATUS_SENT, paymentsv1.PaymentStatus_PAYMENT_STATUS_PRE_DISPUTE,
		paymentsv1.PaymentStatus_PAYMENT_STATUS_DISPUTE, paymentsv1.PaymentStatus_PAYMENT_STATUS_PRE_ARBITRATION:
		return false
	}
	return false
}
