package model_test

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/sinks/audit/model"
)

// applied gives one command to a world where the account a is open and has a card pay-in m.
func applied(t *testing.T, verb string, plain []string, args map[string]string, change func(*paymentsv1.Command)) error {
	t.Helper()
	w := newWorld(t)
	var out strings.Builder
	for _, line := range []string{"open a BRL policy=rail", "payin a 10000 BRL method=card policy=rail key=m capture=auto", "answer a of=m step=collect result=confirmed"} {
		w.line(&out, strings.Fields(line))
	}
	key, cmd := w.command(verb, plain, args)
	cmd = proto.CloneOf(cmd)
	cmd.Tenant, cmd.Merchant, cmd.AcceptedAtUs = tenant, merchant, w.now.UnixMicro()
	change(cmd)
	_, err := w.p.Apply(model.Record{Key: key, Offset: 100, Command: cmd})
	return err
}

// TestTimesOfCommandsHaveBounds: the first and the last microsecond are decided, those beside them are not.
//
// Invariant: no command is decided that tells a time before 1970 or after 2^53 microseconds.
func TestTimesOfCommandsHaveBounds(t *testing.T) {
	const last = int64(1) << 53
	dispute := map[string]string{"of": "m", "key": "d", "stage": "dispute", "amount": "100", "policy": "rail"}
	for name, c := range map[string]struct {
		verb        string
		plain       []string
		args        map[string]string
		set         func(*paymentsv1.Command, int64)
		first, last int64
	}{
		"accepted_at": {"quote", []string{"a", "100", "BRL"}, map[string]string{"to": "USD"}, func(c *paymentsv1.Command, at int64) { c.AcceptedAtUs = at }, 1, last},
		"tick":        {"tick", nil, nil, func(c *paymentsv1.Command, at int64) { c.GetTick().Minute = at }, 0, last / 60_000_000},
		"due_at":      {"expire", []string{"a"}, map[string]string{"of": "m"}, func(c *paymentsv1.Command, at int64) { c.GetExpire().DueAtUs = at }, 0, last},
		"reported_at": {"answer", []string{"a"}, map[string]string{"of": "m", "step": "collect", "result": "confirmed"}, func(c *paymentsv1.Command, at int64) { c.GetRailAnswer().ReportedAtUs = at }, 0, last},
		"transmitted_at": {"authorize", []string{"a", "100", "BRL"}, map[string]string{"key": "k"}, func(c *paymentsv1.Command, at int64) {
			c.GetCardTransaction().TransmittedAtUs = at
		}, 0, last},
		"asked_at of an advice": {"advise", []string{"a", "100", "BRL"}, map[string]string{"key": "k"}, func(c *paymentsv1.Command, at int64) {
			c.GetCardTransaction().AskedAtUs = at
		}, 0, last},
		"asked_at of a reversal": {"reverse", []string{"a"}, map[string]string{"of": "k"}, func(c *paymentsv1.Command, at int64) {
			c.GetReversal().AskedAtUs = at
		}, 0, last},
		"deadline":    {"dispute", []string{"a"}, dispute, func(c *paymentsv1.Command, at int64) { c.GetDispute().DeadlineUs = at }, 0, last},
		"occurred_at": {"dispute", []string{"a"}, dispute, func(c *paymentsv1.Command, at int64) { c.GetDispute().OccurredAtUs = at }, 0, last},
	} {
		for _, at := range []int64{c.first - 1, c.first, c.last, c.last + 1} {
			err := applied(t, c.verb, c.plain, c.args, func(cmd *paymentsv1.Command) { c.set(cmd, at) })
			if good := at >= c.first && at <= c.last; good != (err == nil) {
				t.Errorf("%s of %d: %v", name, at, err)
			}
		}
	}
}

// TestMessageIDsHaveOneForm: a dispute's message has a cmd_ id or none, and whatever nearly is one is malformed.
func TestMessageIDsHaveOneForm(t *testing.T) {
	digits := "abcdefghijklmnopqrstuvwxyz234567abcdefgh"
	for id, good := range map[string]bool{
		"": true, "cmd_" + digits: true, "cmd_": false, "cmd_m1": false, "cmd_" + digits[1:]: false, "cmd_" + digits + "a": false,
		"pi_" + digits: false, digits: false, "CMD_" + digits: false, "cmd_" + strings.ToUpper(digits): false,
		"cmd_" + digits[:20] + "1" + digits[21:]: false, "cmd_" + digits[:39] + "8": false, "cmd_" + digits[:38] + "é": false,
	} {
		args := map[string]string{"of": "m", "key": "d", "stage": "dispute", "amount": "100", "policy": "rail"}
		err := applied(t, "dispute", []string{"a"}, args, func(cmd *paymentsv1.Command) { cmd.GetDispute().MessageId = id })
		if good != (err == nil) {
			t.Errorf("%q: %v", id, err)
		}
	}
}
