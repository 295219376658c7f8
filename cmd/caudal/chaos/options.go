// Package chaos is the command `caudal chaos`: it drives the binary's own workers under load, attacks them, and then lets an
// oracle that knows nothing of the engine recompute everything from the command log alone.
//
// A fault counts only if it fell while records flowed: some were decided shortly before it, some were waiting when it fell,
// and some were decided after it. What hit an idle system is repeated. The seed fixes the load and the plan of faults; the
// moments depend on the machine.
//
// It refuses a log that holds commands already: what it says is about all of the log.
package chaos

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/caudalpay/caudal/cmd/caudal/up"
	"github.com/caudalpay/caudal/schemas/topics"
)

// Engines that workers can run.
const (
	EngineCaudal = "caudal"
	EngineStock  = "stock-goka"
)

// Options of a run. Payments, Faults and Members are counts.
type Options struct {
	Payments int64
	Faults   int
	Seed     uint64
	Members  int
	Sessions int  // of each member
	Standby  bool // members keep the state of the others' partitions too

	Brokers    []string // of a cluster that stands already; none: an embedded broker of its own
	Kafka      int      // start Apache Kafka of that many brokers, 1 or 3; 0: no
	Partitions int32
	Engine     string
	State      string // up.StateDisk or up.StateMemory, of the workers
	Output     string // table or json

	Again bool          // no attack: judge once more what one left in Work
	Work  string        // folder of broker and logs, which stays; empty: a temporary one, kept only where something is wrong
	Stall time.Duration // without any progress for this long the run ends with what is missing
	Only  []string      // only these kinds of faults; empty: all that the cluster allows

	// SessionTimeout of the workers; 0: two seconds on brokers of our own, six on others, which is Kafka's own minimum. Half
	// of a second below it, and at most two seconds, is what transactions get.
	SessionTimeout time.Duration
}

const sessionMin = time.Second

// withDefaults fills what depends on the brokers.
func (o Options) withDefaults() Options {
	if o.SessionTimeout == 0 {
		o.SessionTimeout = 2 * time.Second
		if len(o.Brokers) > 0 {
			o.SessionTimeout = 6 * time.Second
		}
	}
	return o
}

// transactionTimeout of the workers.
func (o *Options) transactionTimeout() time.Duration {
	return min(2*time.Second, o.SessionTimeout-500*time.Millisecond)
}

// perFaultMin is how many payments a fault needs.
const perFaultMin = 200

// Defaults are those of the flags.
func Defaults() Options {
	return Options{
		Payments: 50_000, Faults: 30, Seed: 1, Members: 3, Sessions: 1, Partitions: topics.PartitionsDefault, Engine: EngineCaudal, State: up.StateDisk, Output: "table",
		Stall: 90 * time.Second,
	}
}

// Validate says what is missing or contradictory.
func (o *Options) Validate() error {
	var errs []error
	refuse := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	refuse(o.Payments < 1, "--payments is %d", o.Payments)
	refuse(o.Faults < 0, "--faults is %d", o.Faults)
	refuse(o.Payments < perFaultMin*int64(o.Faults), "%d payments are too few for records to flow during %d faults: %d each, at least", o.Payments, o.Faults, perFaultMin)
	refuse(o.Again && o.Work == "", "--again judges what a run left: name its folder with --work")
	refuse(o.Members < 1, "--members is %d", o.Members)
	refuse(o.Sessions < 1 || o.Sessions > int(o.Partitions), "--sessions is %d: from 1 to one per partition", o.Sessions)
	refuse(o.Sessions > 1 && o.Engine == EngineStock, "--sessions is %d, and stock Goka has one", o.Sessions)
	refuse(o.Standby && o.Engine == EngineStock, "--standby, and stock Goka has none that keeps exactly-once state")
	refuse(o.Partitions < 1, "--partitions is %d", o.Partitions)
	refuse(o.Kafka != 0 && o.Kafka != 1 && o.Kafka != 3, "--kafka is %d, not 1 or 3", o.Kafka)
	refuse(o.Kafka != 0 && len(o.Brokers) > 0, "--kafka starts brokers and --brokers names some: choose one")
	refuse(o.Engine != EngineCaudal && o.Engine != EngineStock, "--engine is %q, not %s or %s", o.Engine, EngineCaudal, EngineStock)
	refuse(o.State != up.StateDisk && o.State != up.StateMemory, "--state is %q, not %s or %s", o.State, up.StateDisk, up.StateMemory)
	refuse(o.Output != "table" && o.Output != "json", "--output is %q, not table or json", o.Output)
	refuse(o.SessionTimeout < sessionMin, "--session-timeout is %v, at least %v", o.SessionTimeout, sessionMin)
	for _, k := range o.Only {
		refuse(!slices.Contains(o.possible(), Kind(k)), "--only %s: this run knows %v", k, o.possible())
	}
	return errors.Join(errs...)
}
