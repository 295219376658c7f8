package soak

import (
	"errors"
	"fmt"
	"time"
)

// Options of a soak.
type Options struct {
	Payments  int
	Seed      uint64
	Kills     int           // of `caudal up` with all its children and of the sinks at once, under load
	PartKills int           // of one worker alone, and as many of the sinks (stores and connectors) alone
	Faults    string        // of the simulator; empty: DefaultFaults
	Share     float64       // per cent of the charges and transfers that each kind of fault has to meet
	Workers   int           // streams workers
	FeedRate  int           // messages a second of an acquirer on the card feed
	Flight    int           // payments under way at once
	Stall     time.Duration // without a decision for so long while something waits, the run ends
	Work      string        // folder of everything; empty: a temporary one, kept where something is wrong
	Railsim   string        // the simulator's program; empty: beside this one
	Output    string        // table or json
}

// DefaultFaults meet at least a twentieth of the charges with each kind, some of them several times.
const DefaultFaults = "timeout_before=3%,timeout_after=9%,error_before=4%,error_after=6%,reset_before=4%,reset_after=6%,wrong_amount=6%," +
	"unfinished=3%,garbage=2%,latency=80%:1..10/12%:20..150,hook_duplicate=8%,hook_reorder=95%,hook_delay=5%,hook_lie_unknown=5%," +
	"hook_lie_amount=6%,hook_lie_state=6%,timeout_ms=1500,hook_delay_ms=3000,hook_reorder_ms=2000"

// Defaults of `caudal soak`.
func Defaults() Options {
	return Options{
		Payments: 20000, Seed: 1, Kills: 5, PartKills: 5, Faults: DefaultFaults, Share: 5, Workers: 2, FeedRate: 25, Flight: 4000, Stall: 3 * time.Minute, Output: "table",
	}
}

// Validate says what contradicts itself.
func (o Options) Validate() error {
	switch {
	case o.Payments < accounts:
		return fmt.Errorf("--payments is %d: at least %d, one of each account", o.Payments, accounts)
	case o.Kills < 0 || o.PartKills < 0 || o.Workers < 1 || o.FeedRate < 1 || o.Flight < batchMost:
		return fmt.Errorf("--kills, --part-kills, --workers, --feed-rate and --flight: not negative, at least 1, at least 1, at least %d", batchMost)
	case o.Share < 0 || o.Share > 100:
		return errors.New("--share is a percentage")
	case o.Stall <= 0:
		return errors.New("--stall is positive")
	case o.Output != "table" && o.Output != "json":
		return fmt.Errorf("-o %q: choose table or json", o.Output)
	}
	return nil
}
