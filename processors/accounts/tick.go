package accounts

import (
	"strconv"

	"github.com/caudalpay/caudal/processors/payment"
)

// TickReachUS is the time up to which a tick takes due entries out, inclusive: the minute's start, since a tick may come as
// early as that. A deadline passes up to a minute late, never early.
func TickReachUS(minute int64) int64 { return minute * minuteUS }

// tick turns what is due on the partition into commands, so many at once that a transaction holds them; another tick follows where
// there may be more. A minute below the last does nothing.
func (r *reducer) tick() {
	minute := r.cmd.Tick.Minute
	if minute < r.s.LastMinute {
		return
	}
	r.w.Minute = &minute
	for i, due := range r.s.Due {
		if i == DuePerTickMax {
			break
		}
		if due.AtUS > TickReachUS(minute) {
			r.fail("entry due at %d in the tick of minute %d", due.AtUS, minute)
			return
		}
		r.w.DueRemove = append(r.w.DueRemove, due)
		key := string(due.Account)
		name := expireName + strconv.Itoa(int(due.Purpose)) + "/" + strconv.FormatInt(due.AtUS, 10) + "/" + string(due.Payment)
		r.emit(key, payment.Command{
			Kind: payment.KindExpire, Account: due.Account, CommandID: payment.CommandIDFrom(key, "", name), PaymentID: due.Payment,
			AcceptedAtUS: r.d.AcceptedAtUS, Expire: &payment.Expire{Purpose: due.Purpose, DueAtUS: due.AtUS},
		}, false)
	}
	if len(r.w.DueRemove) == DuePerTickMax {
		r.emit(r.key, payment.Command{Kind: payment.KindTick, AcceptedAtUS: r.d.AcceptedAtUS, Tick: &payment.Tick{Minute: minute}}, false)
	}
}
