package observe_test

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	"github.com/caudalpay/caudal/cmd/caudal/observe"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/schemas/topics"
)

// step is a decision and what must have been counted after it: final payments, transfers in transit, requests decided.
type step struct {
	about                     string
	kind                      string
	outcome                   paymentsv1.Outcome
	id                        string
	status                    paymentsv1.PaymentStatus
	related                   string
	relatedStatus             paymentsv1.PaymentStatus
	moves                     bool
	final, inTransit, decided int64
}

const (
	approved = paymentsv1.Outcome_OUTCOME_APPROVED
	declined = paymentsv1.Outcome_OUTCOME_DECLINED
	review   = paymentsv1.Outcome_OUTCOME_REVIEW
	applied  = paymentsv1.Outcome_OUTCOME_APPLIED
	repeated = paymentsv1.Outcome_OUTCOME_REPEATED

	inReview, processing, succeeded, failed, partlyBack, expired = 1, 2, 3, 4, 5, 7
	nobodyKnows, toCapture, partly, created, sent, paid          = 8, 9, 10, 12, 14, 15
)

func steps() []step {
	return []step{
		{about: "a book payment is done at once", kind: "PAY_IN", outcome: approved, id: "pi_book", status: succeeded, moves: true, final: 1, decided: 1},
		{about: "a transfer is in transit", kind: "TRANSFER", outcome: approved, id: "tr_1", status: processing, moves: true, final: 1, inTransit: 1, decided: 2},
		{about: "the payee's side", kind: "COUNTER_LEG", outcome: approved, id: "tr_1", related: "tr_1", moves: true, final: 1, inTransit: 1, decided: 2},
		{about: "its end", kind: "LEG_RESULT", outcome: applied, id: "tr_1", status: succeeded, related: "tr_1", relatedStatus: succeeded, final: 2, decided: 2},
		{about: "a card payment holds and is processing, and in no transit", kind: "PAY_IN", outcome: approved, id: "pi_card", status: processing, moves: true, final: 2, decided: 3},
		{about: "nobody knows", kind: "RAIL_ANSWER", outcome: applied, id: "pi_card", status: nobodyKnows, final: 2, decided: 3},
		{about: "authorised is not final", kind: "RAIL_ANSWER", outcome: applied, id: "pi_card", status: toCapture, final: 2, decided: 3},
		{about: "a capture is a request", kind: "CAPTURE", outcome: approved, id: "ca_1", status: processing, related: "pi_card", relatedStatus: toCapture, final: 2, decided: 4},
		{about: "its repeat counts as decided", kind: "CAPTURE", outcome: repeated, id: "ca_1", status: processing, related: "pi_card", final: 2, decided: 5},
		{about: "a void that must wait failed, and the payment stands", kind: "VOID", outcome: declined, id: "vo_1", status: failed, related: "pi_card", relatedStatus: toCapture, final: 3, decided: 6},
		{about: "a part ends the capture alone", kind: "RAIL_ANSWER", outcome: applied, id: "ca_1", status: succeeded, related: "pi_card", relatedStatus: partly, moves: true, final: 4, decided: 6},
		{about: "the answer again ends nothing", kind: "RAIL_ANSWER", outcome: applied, id: "ca_1", status: succeeded, related: "pi_card", relatedStatus: partly, final: 4, decided: 6},
		{about: "a void", kind: "VOID", outcome: approved, id: "vo_2", status: processing, related: "pi_card", relatedStatus: partly, final: 4, decided: 7},
		{about: "a declined answer tells and changes nothing", kind: "RAIL_ANSWER", outcome: declined, id: "vo_2", status: succeeded, related: "pi_card", relatedStatus: succeeded, final: 4, decided: 7},
		{about: "the void and the payment end together", kind: "RAIL_ANSWER", outcome: applied, id: "vo_2", status: succeeded, related: "pi_card", relatedStatus: succeeded, moves: true, final: 6, decided: 7},
		{about: "a refund by card waits", kind: "REFUND", outcome: approved, id: "re_1", status: processing, related: "pi_card", relatedStatus: succeeded, moves: true, final: 6, decided: 8},
		{about: "and ends; the payment had ended before", kind: "RAIL_ANSWER", outcome: applied, id: "re_1", status: succeeded, related: "pi_card", relatedStatus: partlyBack, moves: true, final: 7, decided: 8},
		{about: "retention", kind: "EXPIRE", outcome: applied, id: "pi_card", status: partlyBack, final: 7, decided: 8},
		{about: "one in review", kind: "PAY_IN", outcome: review, id: "pi_seen", status: inReview, moves: true, final: 7, decided: 9},
		{about: "approved, it waits for its rail", kind: "APPROVE", outcome: approved, id: "pi_seen", status: processing, final: 7, decided: 10},
		{about: "authorised", kind: "RAIL_ANSWER", outcome: applied, id: "pi_seen", status: toCapture, final: 7, decided: 10},
		{about: "and given up at its deadline", kind: "EXPIRE", outcome: applied, id: "pi_seen", status: expired, moves: true, final: 8, decided: 10},
		{about: "a payout", kind: "PAY_OUT", outcome: approved, id: "po_1", status: created, moves: true, final: 8, decided: 11},
		{about: "has left", kind: "RAIL_ANSWER", outcome: applied, id: "po_1", status: sent, moves: true, final: 8, decided: 11},
		{about: "is there", kind: "RAIL_ANSWER", outcome: applied, id: "po_1", status: paid, final: 9, decided: 11},
		{about: "of before the observer", kind: "RAIL_ANSWER", outcome: applied, id: "pi_before", status: succeeded, moves: true, final: 9, decided: 11},
	}
}

func TestCountsFollowPaymentsByRails(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).CreateTopic(t.Context(), 1, 1, nil, topics.Decisions); err != nil {
		t.Fatal(err)
	}
	o, err := observe.New(t.Context(), cluster.ListenAddrs())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- o.Run(ctx) }()
	for i, s := range steps() {
		d := &paymentsv1.Decision{
			Kind: paymentsv1.CommandKind(paymentsv1.CommandKind_value["COMMAND_KIND_"+s.kind]), Outcome: s.outcome, PaymentId: s.id, Status: s.status,
			RelatedPaymentId: s.related, RelatedStatus: s.relatedStatus, AcceptedAtUs: time.Now().UnixMicro(),
		}
		if s.moves {
			d.Journals = []*paymentsv1.Journal{{}}
		}
		value, err := proto.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: topics.Decisions, Value: value}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		for until := time.Now().Add(10 * time.Second); o.Snapshot().All <= int64(i) && time.Now().Before(until); {
			time.Sleep(time.Millisecond)
		}
		if c := o.Snapshot(); c.Final != s.final || c.InTransit != s.inTransit || c.Decided != s.decided {
			t.Fatalf("%s: final %d, in transit %d, decided %d; want %d, %d, %d", s.about, c.Final, c.InTransit, c.Decided, s.final, s.inTransit, s.decided)
		}
	}
	if c := o.Snapshot(); c.Kinds["capture"] != 2 || c.Kinds["void"] != 2 || c.Kinds["rail_answer"] != 0 {
		t.Errorf("kinds %v", c.Kinds)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}
