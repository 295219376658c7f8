package engine

import (
	"fmt"
	"hash"
	"hash/fnv"
	"log/slog"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func emptyPartition() *partition {
	return newPartition(0, &Config{
		Input: "in", Group: "g", Table: "g-table", Side: "g-side", DeadLetters: "d", Partitions: 1,
		Hasher: func() hash.Hash32 { return fnv.New32a() }, Logger: slog.New(slog.DiscardHandler),
	}, nil, nil)
}

// TestStandbyThatNeverReachesTheEnd: where a changelog is written all the time a standby is always behind its end by a little,
// and misses nothing all the same.
func TestStandbyThatNeverReachesTheEnd(t *testing.T) {
	const keeps = time.Minute
	begun := wallClock()
	k := &kept{partition: emptyPartition(), at: begun, goal: goal{asked: begun}}
	for second := range 600 {
		now := goal{asked: begun.Add(time.Duration(second) * time.Second)}
		now.ends = [changelogs]int64{int64(1000*second + 1000), int64(1000*second + 1000)}
		k.next = [changelogs]int64{int64(1000*second + 990), int64(1000*second + 990)}
		if err := k.look(now, keeps); err != nil {
			t.Fatalf("after %d s: %v", second, err)
		}
		if gap := now.asked.Sub(k.at); gap > 2*time.Second {
			t.Fatalf("after %d s: what was deleted in the last %v may be missing", second, gap)
		}
	}
	if err := k.look(goal{ends: [changelogs]int64{1 << 40, 0}, asked: begun.Add(20 * time.Minute)}, keeps); err == nil {
		t.Error("ten minutes without a look, and nothing may be missing")
	}
}

// TestStandbyTakesNoMoreThanTheState: cells that change and change do not pile up where no commit tidies them.
func TestStandbyTakesNoMoreThanTheState(t *testing.T) {
	p := emptyPartition()
	cells := p.cells.base.(*memory)
	for i := range 1_000_000 {
		key := fmt.Sprintf("hot-%d", i%50)
		if i%20 == 0 {
			key = fmt.Sprintf("new-%d", i)
		}
		if err := p.restoreRecord(tableLog, &kgo.Record{Offset: int64(i), Key: []byte(key), Value: make([]byte, 100)}); err != nil {
			t.Fatal(err)
		}
		if i%2000 == 0 {
			p.tidy()
		}
	}
	if cells.used > 3*cells.live+cells.most {
		t.Errorf("%d bytes are held for %d that live", cells.used, cells.live)
	}
}
