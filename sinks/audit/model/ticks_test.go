package model_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/sinks/audit/model"
)

// TestTicksTakeAThousandEach: the earliest first, and where there were a thousand, another tick of the same minute behind them,
// also where nothing is left for it.
func TestTicksTakeAThousandEach(t *testing.T) {
	for due, want := range map[int][]int{999: {999}, 1_000: {1_000, 0}, 1_001: {1_000, 1}, 2_000: {1_000, 1_000, 0}, 2_001: {1_000, 1_000, 1}} {
		w := newWorld(t)
		w.play("open a BRL policy=issue")
		for i := range due {
			w.play(fmt.Sprintf("payin a 1 BRL policy=issue key=k%d", i), "clock +1s")
		}
		w.play("clock +721h")
		key, cmd := w.command("tick", nil, nil)
		w.queue = []model.Emission{{Key: key, Command: cmd}}
		accepted, last := w.now.UnixMicro(), int64(0)
		w.now = w.now.Add(time.Hour) // nothing of what follows tells it
		var got []int
		for len(w.queue) > 0 {
			tick := w.queue[0]
			if tick.Key != "0" || tick.Command.GetKind() != paymentsv1.CommandKind_COMMAND_KIND_TICK || tick.Command.GetTick().GetMinute() != cmd.GetTick().GetMinute() ||
				len(got) > 0 && tick.Command.GetAcceptedAtUs() != accepted {
				t.Fatalf("%d due: no tick of the minute: %s %v", due, tick.Key, tick.Command)
			}
			tick.Command.AcceptedAtUs = accepted
			w.queue = nil
			if d := w.result(&strings.Builder{}, tick).Decision; d.GetOutcome() != paymentsv1.Outcome_OUTCOME_APPLIED || d.GetAcceptedAtUs() != accepted {
				t.Fatalf("%d due: %v", due, d)
			}
			n := slices.IndexFunc(w.queue, func(e model.Emission) bool { return e.Command.GetExpire() == nil })
			if n < 0 {
				n = len(w.queue)
			}
			for _, e := range w.queue[:n] {
				if at := e.Command.GetExpire().GetDueAtUs(); at <= last || at > cmd.GetTick().GetMinute()*60_000_000 {
					t.Fatalf("%d due: one of %d behind one of %d", due, at, last)
				}
				last = e.Command.GetExpire().GetDueAtUs()
			}
			got, w.queue = append(got, n), w.queue[n:]
			if len(w.queue) > 1 {
				t.Fatalf("%d due: behind the tick %v", due, w.queue[1:])
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%d due: want %v, got %v", due, want, got)
		}
	}
}
