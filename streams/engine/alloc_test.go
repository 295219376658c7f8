package engine_test

import (
	"encoding/binary"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caudalpay/caudal/streams/engine"
)

// What a record may cost in allocations from fetch to commit, where its callback reads a counter, writes it and emits one
// output: the callback's own two (the counter, the key as a string) are in it. Speed is a matter of machines, this is not.
const (
	engineAllocationsMost = 5.0 // made by the engine and the libraries it runs in
	clientAllocationsMost = 1.0 // made by the goroutines of franz-go: fetching, decoding, sending
	allocationRecords     = 40_000
)

func TestAllocationsPerRecord(t *testing.T) {
	c := newCluster(t)
	c.Produce(inputs(allocationRecords, 1_000)...)
	var handled atomic.Int64
	everything := make(chan struct{})
	rate := runtime.MemProfileRate
	runtime.MemProfileRate = 1 // every allocation
	defer func() { runtime.MemProfileRate = rate }()
	before := allocations()
	r := start(t, testConfig(c.Addrs), func(ctx *engine.Context, value []byte) error {
		n := uint64(0)
		if v := ctx.Value(); v != nil {
			n = binary.BigEndian.Uint64(v)
		}
		ctx.SetValue(binary.BigEndian.AppendUint64(nil, n+1))
		ctx.Emit(output, ctx.Key(), value)
		if handled.Add(1) == allocationRecords {
			close(everything)
		}
		return nil
	})
	r.eventually("all records", func() bool {
		select {
		case <-everything:
			return true
		default:
			return false
		}
	})
	r.caughtUp(c)
	after := allocations()
	r.stop()
	for who, most := range map[string]float64{byEngine: engineAllocationsMost, byClient: clientAllocationsMost} {
		each := float64(after[who]-before[who]) / float64(handled.Load()) // more than there are where a transaction was aborted
		t.Logf("%s: %.2f allocations a record", who, each)
		if each > most {
			t.Errorf("%s: %.2f allocations a record, at most %.2f are allowed", who, each, most)
		}
		if each == 0 {
			t.Errorf("%s: no allocation was seen, so nothing was measured", who)
		}
	}
}

const (
	byEngine = "engine"
	byClient = "client"
)

// allocations counts objects by who made them. The broker shares the process and is left out, as is what the test asks it.
func allocations() map[string]int64 {
	runtime.GC() // the profile is complete up to the collection before the last
	runtime.GC()
	records := make([]runtime.MemProfileRecord, 1<<10)
	n, ok := runtime.MemProfile(records, true)
	for !ok {
		records = make([]runtime.MemProfileRecord, n+n/4)
		n, ok = runtime.MemProfile(records, true)
	}
	made := map[string]int64{}
	for i := range records[:n] {
		made[maker(records[i].Stack())] += records[i].AllocObjects
	}
	return made
}

// maker tells from a stack whose allocation it is: the broker's and the test's own, the client's where no engine called it,
// and else the engine's, whatever library it runs in.
func maker(stack []uintptr) string {
	who := byEngine
	called := false
	for frames := runtime.CallersFrames(stack); ; {
		frame, more := frames.Next()
		switch {
		case strings.Contains(frame.Function, "/kfake."), strings.Contains(frame.Function, "/streamtest."):
			return "test"
		case strings.Contains(frame.Function, "/streams/engine."):
			who, called = byEngine, true
		case strings.Contains(frame.Function, "/pkg/kgo.") && !called:
			who = byClient
		}
		if !more {
			return who
		}
	}
}
