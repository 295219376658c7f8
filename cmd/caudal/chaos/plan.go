package chaos

import (
	"math/rand/v2"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Kind of a fault.
type Kind string

// The kinds.
const (
	Kill      Kind = "kill"       // kill -9 of a worker; it comes back at once, or after its session
	Zombie    Kind = "zombie"     // SIGSTOP past the session, then SIGCONT
	LeaveJoin Kind = "leave_join" // orderly stop, and start again
	CutEnd    Kind = "cut_end_txn"
	CutOffset Kind = "cut_txn_offset_commit"
	CutWrite  Kind = "cut_produce"
	CutFetch  Kind = "cut_fetch"
	Broker    Kind = "broker" // kill -9 of one broker of three, and start again
)

// cutKeys are the requests that connections are cut in.
func cutKeys() map[Kind]kmsg.Key {
	return map[Kind]kmsg.Key{CutEnd: kmsg.EndTxn, CutOffset: kmsg.TxnOffsetCommit, CutWrite: kmsg.Produce, CutFetch: kmsg.Fetch}
}

// possible kinds. Stock Goka has no transactions to cut; its offsets are committed by requests of their own.
func (o *Options) possible() []Kind {
	kinds := []Kind{Kill, Zombie, LeaveJoin, CutWrite, CutFetch}
	if o.Engine == EngineCaudal {
		kinds = append(kinds, CutEnd, CutOffset)
	}
	if o.Kafka == 3 {
		kinds = append(kinds, Broker)
	}
	return kinds
}

// kinds of this run.
func (o *Options) kinds() []Kind {
	if len(o.Only) == 0 {
		return o.possible()
	}
	return slices.DeleteFunc(o.possible(), func(k Kind) bool { return !slices.Contains(o.Only, string(k)) })
}

// plan is the order of faults: of each kind at least a tenth, as far as there are enough.
func plan(kinds []Kind, faults int, random *rand.Rand) []Kind {
	var list []Kind
	for range (faults + 9) / 10 {
		list = append(list, kinds...)
	}
	random.Shuffle(min(len(list), faults), func(i, j int) { list[i], list[j] = list[j], list[i] })
	for len(list) < faults {
		list = append(list, kinds[random.IntN(len(kinds))])
	}
	list = list[:faults]
	random.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}
