package engine

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/child"
)

// ClickHouse does not notice every write that a full disk refuses: a part, inserted or merged, can come out with empty
// files, be acknowledged, and make every query of its table fail until a start looks at all parts. That sets the broken
// ones aside and takes back what a broken merge was made of. So once a disk that was full has room again, this process ends and
// is started anew. What it cannot give back is an insert that was broken: whoever inserts repeats what is missing.
const (
	fullBelow = 32 << 20 // the engine's own reserve: see keep_free_space_bytes
	roomFrom  = 64 << 20
	lookEvery = 50 * time.Millisecond
)

var errDiskWasFull = errors.New("the disk was full and has room again: starting anew, which sets aside what was written wrongly meanwhile")

// watchDisk returns errDiskWasFull when that is so, nil when ctx ends.
func watchDisk(ctx context.Context, path string, log *slog.Logger) error {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	full := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
		}
		free, err := child.FreeBytes(path)
		switch {
		case err != nil:
			return err
		case full && free >= roomFrom:
			return errDiskWasFull
		case !full && free < fullBelow:
			full = true
			log.Warn("the disk is full", "free_mb", free>>20, "goes_on_from_mb", roomFrom>>20)
		}
	}
}
