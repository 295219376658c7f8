package broker

import (
	"fmt"
	"sync"
	"syscall"
	"time"
)

// ReserveDefault is how much disk stays free: the broker takes no records when there is less. Commits in work, which write
// little, still find room. kfake itself would lose the markers of a commit that meets a full disk.
const ReserveDefault = 64 << 20

// FreeBytes is what may still be written to the disk that holds path.
func FreeBytes(path string) (int64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(path, &st); err != nil {
		return 0, fmt.Errorf("measuring free disk space: %w", err)
	}
	return int64(st.Bavail) * int64(st.Bsize), nil //nolint:gosec,unconvert // the types differ between systems
}

// enough is nil while there is room.
func enough(path string, reserve int64) error {
	free, err := FreeBytes(path)
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
