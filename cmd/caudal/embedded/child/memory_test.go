package child

import "testing"

func TestCollectorsAimFollowsTheHeap(t *testing.T) {
	const room = 256 << 20
	for live, want := range map[uint64]int{
		0:         3200, // as 8 MiB
		8 << 20:   3200,
		64 << 20:  400,
		256 << 20: 100,
		4 << 30:   100, // a large heap is collected as by default
	} {
		if got := gcPercent(live, room); got != want {
			t.Errorf("%d MiB live: %d %%, want %d %%", live>>20, got, want)
		}
	}
}
