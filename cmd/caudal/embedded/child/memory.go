package child

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// heapEvery is how often the collector's aim follows the heap.
const heapEvery = time.Second

// roomShare of the machine's memory is what one process may take as room.
const roomShare = 16

// HeapRoom lets the heap grow by most bytes, or less on a small machine, before it is collected, where Go's default would
// collect a small heap many times a second: these processes allocate much and keep little of it. A heap that is larger
// than the room is collected as by default, so that memory at scale stays what it was. GOGC in the environment wins. It
// returns when ctx ends.
func HeapRoom(ctx context.Context, most uint64) {
	if os.Getenv("GOGC") != "" {
		return
	}
	room := min(most, memoryTotal()/roomShare)
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	tick := time.NewTicker(heapEvery)
	defer tick.Stop()
	for {
		metrics.Read(live)
		debug.SetGCPercent(gcPercent(live[0].Value.Uint64(), room))
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

const (
	memoryUsual      = 4 << 30 // where the machine does not tell
	gcPercentDefault = 100
	heapLeast        = 8 << 20 // before the first collection nothing is known to live
)

func gcPercent(live, room uint64) int {
	return max(gcPercentDefault, int(100*room/max(live, heapLeast))) //nolint:gosec // at most 100 times room over 8 MiB
}
