package broker

import (
	"fmt"
	"sync"
	"time"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/child"
)

// ReserveDefault is how much disk stays free: the broker takes no records when there is less. Commits in work, which write
// little, still find room. kfake itself would lose the markers of a commit that meets a full disk.
const ReserveDefault = 64 << 20

// enough is nil while there is room.
func enough(path string, reserve int64) error {
	free, err := child.FreeBytes(path)
	if err != nil {
		return err
	}
	if free < reserve {
		return fmt.Errorf("disk almost full: %d MB free at %s, the broker takes records from %d MB up", free>>20, path, reserve>>20)
	}
	return nil
}

// gauge remembers for a moment whether there is room: kfake asks at every produce, and each look is a system call. What can
// be written within the moment is far below the reserve.
type gauge struct {
	path    string
	reserve int64

	mu    sync.Mutex
	until time.Time
	full  bool
}

const gaugeFor = 50 * time.Millisecond

func (g *gauge) isFull() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if now := time.Now(); now.After(g.until) {
		g.full, g.until = enough(g.path, g.reserve) != nil, now.Add(gaugeFor)
	}
	return g.full
}
