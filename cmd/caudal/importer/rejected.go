package importer

import (
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
)

// rejects writes the rows that were not taken to a side file, made with the first of them. A run writes it anew: a
// repeated row is answered as it was the first time, so the file of the last run is complete.
type rejects struct {
	path   string
	header []string

	mu   sync.Mutex
	file *os.File
	csv  *csv.Writer
}

// clear removes the side file of an earlier run.
func (r *rejects) clear() error {
	if err := os.Remove(r.path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("removing the rejected rows of an earlier run: %w", err)
	}
	return nil
}

func (r *rejects) add(line int, why refused, cells []string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.file == nil {
		f, err := os.OpenFile(r.path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return fmt.Errorf("writing rejected rows: %w", err)
		}
		r.file, r.csv = f, csv.NewWriter(f)
		if err := r.csv.Write(guarded(append([]string{"line", "reason", "detail"}, r.header...))); err != nil {
			return fmt.Errorf("writing rejected rows: %w", err)
		}
	}
	if err := r.csv.Write(guarded(append([]string{strconv.Itoa(line), why.code, why.detail}, cells...))); err != nil {
		return fmt.Errorf("writing rejected rows: %w", err)
	}
	return nil
}

func (r *rejects) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.file == nil {
		return nil
	}
	r.csv.Flush()
	if err := errors.Join(r.csv.Error(), r.file.Close()); err != nil {
		return fmt.Errorf("writing rejected rows: %w", err)
	}
	return nil
}

// guarded keeps spreadsheets from running a cell as a formula.
func guarded(cells []string) []string {
	for i, c := range cells {
		if c != "" && strings.ContainsRune("=+-@\t\r", rune(c[0])) {
			cells[i] = "'" + c
		}
	}
	return cells
}
