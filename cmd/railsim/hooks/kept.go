package hooks

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// kept remembers which entries of the journal were told.
type kept struct {
	mu   sync.Mutex
	file *os.File // nil: nothing is kept
	told map[int64]bool
}

func openKept(dir string) (*kept, error) {
	k := &kept{told: map[int64]bool{}}
	if dir == "" {
		return k, nil
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("making the data folder: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "delivered.ndjson"), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600) //nolint:gosec // the operator's folder
	if err != nil {
		return nil, fmt.Errorf("opening the list of delivered webhooks: %w", err)
	}
	size := int64(0)
	r := bufio.NewReader(f)
	for {
		line, err := r.ReadString('\n')
		if errors.Is(err, io.EOF) {
			break // what has no end was not written: it is told again
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("reading the list of delivered webhooks: %w", err), f.Close())
		}
		size += int64(len(line))
		if seq, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64); err == nil {
			k.told[seq] = true
		}
	}
	if err := f.Truncate(size); err != nil {
		return nil, errors.Join(fmt.Errorf("cutting a torn line off the list of delivered webhooks: %w", err), f.Close())
	}
	k.file = f
	return k, nil
}

func (k *kept) has(seq int64) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.told[seq]
}

func (k *kept) add(seq int64) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.file == nil {
		return nil
	}
	if _, err := fmt.Fprintln(k.file, seq); err != nil {
		return fmt.Errorf("writing the list of delivered webhooks: %w", err)
	}
	return nil
}

func (k *kept) close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.file == nil {
		return nil
	}
	if err := k.file.Close(); err != nil {
		return fmt.Errorf("closing the list of delivered webhooks: %w", err)
	}
	k.file = nil
	return nil
}
