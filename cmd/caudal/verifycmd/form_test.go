package verifycmd_test

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	"github.com/caudalpay/caudal/processors/payment"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/schemas/topics"
	"github.com/caudalpay/caudal/sinks/audit"
	"github.com/caudalpay/caudal/sinks/audit/audittest"
)

// TestWhatTheModelRefusesIsParked: a time beyond the page's bounds, or a message whose id is none, is decided on neither
// side; a time that just keeps to the bounds is decided on both. Each has an account of its own, so that none waits for another.
func TestWhatTheModelRefusesIsParked(t *testing.T) {
	const latest = int64(1) << 53
	kinds := map[paymentsv1.CommandKind]*paymentsv1.Command{}
	for _, r := range played(t, 1).Requests {
		cmd := &paymentsv1.Command{}
		if err := proto.Unmarshal(r.Value, cmd); err != nil {
			t.Fatal(err)
		}
		kinds[cmd.GetKind()] = cmd
	}
	var records []*kgo.Record
	add := func(kind paymentsv1.CommandKind, change func(*paymentsv1.Command)) {
		if kinds[kind] == nil {
			t.Fatalf("no %s was played", kind)
		}
		cmd := proto.CloneOf(kinds[kind])
		cmd.Account = string(payment.AccountIDFrom("t", "m", fmt.Sprint("nobody's ", len(records))))
		identity := string(payment.IDFrom(payment.KindPayIn, payment.AccountID(cmd.GetAccount()), "m", "k"))[3:]
		cmd.PaymentId = "pi_" + identity
		switch kind {
		case paymentsv1.CommandKind_COMMAND_KIND_AUTHORIZATION:
			cmd.CommandId, cmd.PaymentId = "au_"+identity, "au_"+identity
		case paymentsv1.CommandKind_COMMAND_KIND_DISPUTE:
			cmd.CommandId = "dp_" + identity
		default:
		}
		change(cmd)
		key := []byte(cmd.GetAccount())
		records = append(records, &kgo.Record{
			Topic: topics.Commands, Partition: topics.Partition(key, audittest.Partitions), Key: key, Value: audittest.Encode(t, cmd),
		})
	}
	var good, bad int64
	for _, c := range []struct {
		kind  paymentsv1.CommandKind
		first int64
		set   func(*paymentsv1.Command, int64)
	}{
		{paymentsv1.CommandKind_COMMAND_KIND_RAIL_ANSWER, 1, func(cmd *paymentsv1.Command, at int64) { cmd.AcceptedAtUs = at }},
		{paymentsv1.CommandKind_COMMAND_KIND_RAIL_ANSWER, 0, func(cmd *paymentsv1.Command, at int64) { cmd.GetRailAnswer().ReportedAtUs = at }},
		{paymentsv1.CommandKind_COMMAND_KIND_AUTHORIZATION, 0, func(cmd *paymentsv1.Command, at int64) { cmd.GetCardTransaction().TransmittedAtUs = at }},
		{paymentsv1.CommandKind_COMMAND_KIND_DISPUTE, 0, func(cmd *paymentsv1.Command, at int64) { cmd.GetDispute().DeadlineUs = at }},
		{paymentsv1.CommandKind_COMMAND_KIND_DISPUTE, 0, func(cmd *paymentsv1.Command, at int64) { cmd.GetDispute().OccurredAtUs = at }},
	} {
		for _, at := range []int64{c.first, latest} {
			add(c.kind, func(cmd *paymentsv1.Command) { c.set(cmd, at) })
			good++
		}
		for _, at := range []int64{c.first - 1, latest + 1} {
			add(c.kind, func(cmd *paymentsv1.Command) { c.set(cmd, at) })
			bad++
		}
	}
	digits := "abcdefghijklmnopqrstuvwxyz234567abcdefgh"
	for _, id := range []string{"cmd_", "cmd_m1", "cmd_" + digits[1:], "cmd_" + digits + "a", "pi_" + digits, "cmd_" + digits[1:] + "1", "cmd_" + digits[1:] + "A"} {
		add(paymentsv1.CommandKind_COMMAND_KIND_DISPUTE, func(cmd *paymentsv1.Command) { cmd.GetDispute().MessageId = id })
		bad++
	}
	add(paymentsv1.CommandKind_COMMAND_KIND_DISPUTE, func(cmd *paymentsv1.Command) { cmd.GetDispute().MessageId = "cmd_" + digits })
	good++
	r, err := audit.Verify(t.Context(), audit.Config{Brokers: decided(t, records), Partitions: audittest.Partitions})
	if err != nil {
		t.Fatal(err)
	}
	if r.Err() != nil || r.Decisions != good || r.Parked != bad {
		t.Errorf("%d decided and %d parked, and it should be %d and %d: %v", r.Decisions, r.Parked, good, bad, r.Err())
		for _, c := range r.Checks {
			if c.First != nil {
				t.Errorf("%s: %+v", c.Name, c.First)
			}
		}
	}
}
