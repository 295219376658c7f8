package postgres_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/embedtest"
	"github.com/caudalpay/caudal/processors/ledger"
	"github.com/caudalpay/caudal/processors/payment"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/schemas/topics"
	"github.com/caudalpay/caudal/sinks/decisionlog/logtest"
)

const (
	paidAt   = int64(1_790_000_000_000_000)
	deadline = paidAt + 7*86_400_000_000
	later    = deadline + 3_600_000_000
	payIn    = "pi_the_payment"
)

type decision = paymentsv1.Decision

// cardStory is the decisions of one card payment, in order, and what its row must say after each: status, captured,
// authorized, refunded, deadline, connector and reference. Each line is a rule, and most were a mistake once possible.
func cardStory() (steps []*decision, rows []string) {
	add := func(d *decision, row string) { steps, rows = append(steps, d), append(rows, row) }
	const (
		held     = "9 0 10000 0 %d cielo auth-1"
		captured = "10 3000 10000 0 %d cielo auth-1"
	)
	add(&decision{Kind: kind("PAY_IN"), Outcome: 1, PaymentId: payIn, Status: 2, AmountMinor: 10_000, FeeMinor: 340, TargetAmountMinor: 10_000}, "2 0 0 0 0  ")
	add(&decision{Kind: kind("RAIL_ANSWER"), Outcome: 4, PaymentId: payIn, Status: 8, OrderId: payIn + ".authorize", Connector: "rede"}, "8 0 0 0 0 rede ")
	add(&decision{
		Kind: kind("RAIL_ANSWER"), Outcome: 4, PaymentId: payIn, Status: 9, OrderId: payIn + ".authorize", AuthorizedMinor: 10_000,
		DeadlineUs: deadline, Connector: "cielo", RailReference: "auth-1", FeeMinor: 340, TargetAmountMinor: 10_000,
	}, fmt.Sprintf(held, deadline))
	// A declined operation tells where the payment stands and changes no row but its own.
	add(about("CAPTURE", 2, "ca_declined", 4, 4, &decision{CapturedMinor: 7, AuthorizedMinor: 7, RefundedMinor: 7}), fmt.Sprintf(held, deadline))
	// An operation does not tell the deadline: it stands.
	add(about("CAPTURE", 1, "ca_one", 2, 9, &decision{AuthorizedMinor: 10_000, AmountMinor: 3000}), fmt.Sprintf(held, deadline))
	// In flight at its deadline, the authorisation gets another: that is the payment's own decision.
	add(&decision{Kind: kind("EXPIRE"), Outcome: 4, PaymentId: payIn, Status: 9, AuthorizedMinor: 10_000, DeadlineUs: later}, fmt.Sprintf(held, later))
	// Neither does a declined answer change anything.
	add(about("RAIL_ANSWER", 2, "ca_one", 2, 4, &decision{AuthorizedMinor: 1, Connector: "x", RailReference: "x", OrderId: "ca_one.capture"}), fmt.Sprintf(held, later))
	add(about("RAIL_ANSWER", 4, "ca_one", 3, 10, &decision{
		CapturedMinor: 3000, AuthorizedMinor: 10_000, AmountMinor: 3000, FeeMinor: 90, TargetAmountMinor: 3000, OrderId: "ca_one.capture",
		Connector: "cielo", RailReference: "capture-1",
	}), fmt.Sprintf(captured, later))
	// Its record leaves: it names the payment and tells nothing of it.
	add(about("EXPIRE", 4, "ca_one", 3, 0, nil), fmt.Sprintf(captured, later))
	// The rail repeats itself, with another reference: the first stands.
	add(&decision{
		Kind: kind("RAIL_ANSWER"), Outcome: 4, PaymentId: payIn, Status: 10, OrderId: payIn + ".authorize", CapturedMinor: 3000, AuthorizedMinor: 10_000,
		DeadlineUs: later, Connector: "rede", RailReference: "auth-2",
	}, fmt.Sprintf(captured, later))
	// The void ends it: now there is no deadline.
	add(about("VOID", 1, "vo_one", 2, 10, &decision{CapturedMinor: 3000, AuthorizedMinor: 10_000, AmountMinor: 7000}), fmt.Sprintf(captured, later))
	add(about("RAIL_ANSWER", 4, "vo_one", 3, 3, &decision{CapturedMinor: 3000, AuthorizedMinor: 10_000, OrderId: "vo_one.void"}), "3 3000 10000 0 0 cielo auth-1")
	// A refund by card changes nothing but the sequence before the rail has confirmed it.
	add(about("REFUND", 1, "re_one", 2, 3, &decision{CapturedMinor: 3000, AuthorizedMinor: 10_000, AmountMinor: 500, TargetAmountMinor: 500}), "3 3000 10000 0 0 cielo auth-1")
	add(about("RAIL_ANSWER", 4, "re_one", 3, 5, &decision{
		CapturedMinor: 3000, AuthorizedMinor: 10_000, RefundedMinor: 500, AmountMinor: 500, TargetAmountMinor: 500, OrderId: "re_one.return",
	}), "5 3000 10000 500 0 cielo auth-1")
	// Retention asks about the payment and tells nothing of its rail; nor does it know what was refunded.
	add(&decision{Kind: kind("EXPIRE"), Outcome: 4, PaymentId: payIn, Status: 5}, "5 3000 10000 500 0 cielo auth-1")
	return steps, rows
}

// about is a decision on an operation on the payment.
func about(word string, outcome paymentsv1.Outcome, id string, status, related paymentsv1.PaymentStatus, d *decision) *decision {
	if d == nil {
		d = &decision{}
	}
	d.Kind, d.Outcome, d.PaymentId, d.Status = kind(word), outcome, id, status
	d.RelatedPaymentId, d.RelatedStatus = payIn, related
	return d
}

func kind(word string) paymentsv1.CommandKind {
	return paymentsv1.CommandKind(paymentsv1.CommandKind_value["COMMAND_KIND_"+word])
}

// TestCardPaymentStepByStep writes the story a batch a decision, so that each step changes a row of an earlier batch, and in
// batches of all sizes, so that steps are netted.
func TestCardPaymentStepByStep(t *testing.T) {
	steps, want := cardStory()
	for i, d := range steps {
		d.Version, d.Account, d.AccountSeq, d.CommandTopic = 1, "acc_one", uint64(i+1), topics.Commands
		d.CreatedAtUs, d.AcceptedAtUs, d.Currency, d.Method = paidAt, paidAt+int64(i), "BRL", "card"
	}
	for _, most := range []int{1, 2, 3, 5, 100} {
		t.Run(fmt.Sprint("batches of ", most), func(t *testing.T) {
			brokers, dsn := embedtest.Broker(t), embedtest.Postgres(t)
			logtest.Create(t, brokers, partitions)
			w := logtest.NewWriter(t, brokers, partitions)
			sink, _ := start(t, config(dsn, brokers, 100))
			for from := 0; from < len(steps); from += most {
				to := min(from+most, len(steps))
				if err := w.Write(t.Context(), steps[from:to]); err != nil {
					t.Fatal(err)
				}
				drain(t, sink, brokers)
				if got := card(t, dsn)[payIn]; got != want[to-1] {
					t.Errorf("after step %d, %s: row %q, want %q", to, steps[to-1].GetKind(), got, want[to-1])
				}
			}
			all := card(t, dsn)
			for id, row := range map[string]string{
				"ca_declined": "4 0 0 0 0  ", "ca_one": "3 0 0 0 0 cielo capture-1", "vo_one": "3 0 0 0 0  ", "re_one": "3 0 0 0 0  ",
			} {
				if all[id] != row {
					t.Errorf("%s: row %q, want %q", id, all[id], row)
				}
			}
			if got := fees(t, dsn, "ca_one"); got != "90 3000" { // of a capture: as confirmed
				t.Errorf("the capture has fee and credit %s", got)
			}
			if got := fees(t, dsn, payIn); got != "340 10000" { // of the payment: as decided
				t.Errorf("the payment has fee and credit %s", got)
			}
		})
	}
}

// TestOperationFindsItsPaymentHoweverOld: the decision on an operation does not say when the payment was made. It is the
// newest of its id, also where that was years ago.
func TestOperationFindsItsPaymentHoweverOld(t *testing.T) {
	const yearUS = 365 * 86_400_000_000
	brokers, dsn := embedtest.Broker(t), embedtest.Postgres(t)
	logtest.Create(t, brokers, partitions)
	w := logtest.NewWriter(t, brokers, partitions)
	sink, _ := start(t, config(dsn, brokers, 100))
	for i, d := range []*decision{
		{PaymentId: "pi_old", AcceptedAtUs: paidAt - 5*yearUS, AmountMinor: 1},
		{PaymentId: "pi_old", AcceptedAtUs: paidAt - 3*yearUS, AmountMinor: 2},
		{PaymentId: "pi_new", AcceptedAtUs: paidAt - 3*yearUS, AmountMinor: 3},
		{PaymentId: "pi_new", AcceptedAtUs: paidAt - 86_400_000_000, AmountMinor: 4},
		{PaymentId: "re_old", RelatedPaymentId: "pi_old", RelatedStatus: 5, RefundedMinor: 1, AcceptedAtUs: paidAt},
		{PaymentId: "re_new", RelatedPaymentId: "pi_new", RelatedStatus: 5, RefundedMinor: 1, AcceptedAtUs: paidAt},
	} {
		d.Version, d.Account, d.AccountSeq, d.CommandTopic, d.Outcome, d.Status = 1, "acc_one", uint64(i+1), topics.Commands, 1, 3
		d.Kind, d.CreatedAtUs, d.Currency = kind("PAY_IN"), d.GetAcceptedAtUs(), "BRL"
		if d.GetRelatedPaymentId() != "" {
			d.Kind = kind("REFUND")
		}
		if err := w.Write(t.Context(), []*decision{d}); err != nil {
			t.Fatal(err)
		}
		drain(t, sink, brokers)
	}
	got := query(t, dsn, "SELECT payment_id || ' ' || amount_minor, status || ' ' || refunded_minor FROM payments.payments WHERE kind = 10")
	for row, want := range map[string]string{"pi_old 1": "3 0", "pi_old 2": "5 1", "pi_new 3": "3 0", "pi_new 4": "5 1"} {
		if got[row] != want {
			t.Errorf("%s: %q, want %q", row, got[row], want)
		}
	}
}

func card(t *testing.T, dsn string) map[string]string {
	t.Helper()
	return query(t, dsn, `SELECT payment_id, status || ' ' || captured_minor || ' ' || authorized_minor || ' ' || refunded_minor || ' ' ||
		coalesce((extract(epoch FROM deadline_at) * 1000000)::bigint, 0) || ' ' || connector || ' ' || rail_reference FROM payments.payments`)
}

func fees(t *testing.T, dsn, id string) string {
	t.Helper()
	return query(t, dsn, "SELECT payment_id, fee_minor || ' ' || target_amount_minor FROM payments.payments")[id]
}

func query(t *testing.T, dsn, sql string) map[string]string {
	t.Helper()
	conn := embedtest.Connect(t, dsn)
	defer func() { _ = conn.Close(t.Context()) }() // one test opens many
	rows, err := conn.Query(t.Context(), sql)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	var key, value string
	if _, err := pgx.ForEachRow(rows, []any{&key, &value}, func() error {
		found[key] = value
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return found
}

// TestWordsAreComplete: people read the listing, so each number of the wire has its word in the database, and no other.
func TestWordsAreComplete(t *testing.T) {
	dsn := embedtest.Migrated(t)
	want := map[string]string{}
	for enumeration, e := range map[string]struct {
		descriptor protoreflect.EnumDescriptor
		word       func(uint8) string
	}{
		"kind":    {paymentsv1.CommandKind(0).Descriptor(), func(n uint8) string { return payment.Kind(n).String() }},
		"outcome": {paymentsv1.Outcome(0).Descriptor(), func(n uint8) string { return payment.Outcome(n).String() }},
		"status":  {paymentsv1.PaymentStatus(0).Descriptor(), func(n uint8) string { return payment.Status(n).String() }},
		"reason":  {paymentsv1.Reason(0).Descriptor(), func(n uint8) string { return payment.Reason(n).String() }},
		"journal": {paymentsv1.JournalKind(0).Descriptor(), func(n uint8) string { return ledger.JournalKind(n).String() }},

		"card_status": {paymentsv1.CardStatus(0).Descriptor(), func(n uint8) string { return payment.CardStatus(n).String() }},
	} {
		for i := range e.descriptor.Values().Len() {
			if n := uint8(e.descriptor.Values().Get(i).Number()); n != 0 {
				want[fmt.Sprint(enumeration, " ", n)] = e.word(n)
			}
		}
	}
	got := query(t, dsn, "SELECT enumeration || ' ' || number, word FROM payments.words")
	for key, word := range want {
		if got[key] != word {
			t.Errorf("%s: %q, want %q", key, got[key], word)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d words, want %d", len(got), len(want))
	}
	if strings.Contains(fmt.Sprint(want), "unspecified") {
		t.Errorf("a number without a word: %v", want)
	}
}
