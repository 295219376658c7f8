// Package importer sends a bank's or merchant's CSV file through the front door, as a mapping says: batches, in the
// order of each account, each row under an idempotency key of its own. It rounds nothing and guesses nothing: a row
// that does not fit is written to a side file with its line and the reason.
//
// To resume is to run it again: rows that were sent before are answered as repeats and move nothing, as long as the
// payments' records are kept (retention of the policy). There is no state file that could be lost or lie.
package importer

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/caudalpay/caudal/cmd/caudal/client"
	"github.com/caudalpay/caudal/cmd/caudal/progress"
)

const (
	workersDefault = 8
	batchMax       = 1000 // of POST /payments:batch
	openAtOnce     = 8    // accounts that a worker opens side by side
	digestChars    = 16   // of the file, in the keys of rows without one of their own
)

// Options of an import.
type Options struct {
	File     string
	Mapping  string
	URL      string // of the API
	Token    string
	Rejected string    // side file; empty: FILE.rejected.csv beside FILE.csv
	Workers  int       // requests in flight; 0: 8
	Batch    int       // rows of a request; 0: 1,000
	Progress io.Writer // a bar is drawn where it is a terminal
}

// Run imports a file. The result counts what was done, also where the error tells why it stopped early.
func Run(ctx context.Context, o Options) (result Result, err error) {
	if o.Workers == 0 {
		o.Workers = workersDefault
	}
	if o.Batch == 0 {
		o.Batch = batchMax
	}
	if o.Workers < 1 || o.Batch < 1 || o.Batch > batchMax {
		return Result{}, fmt.Errorf("importing: %d workers and batches of %d: at least 1 of each, batches up to %d", o.Workers, o.Batch, batchMax)
	}
	if o.Rejected == "" {
		o.Rejected = strings.TrimSuffix(o.File, ".csv") + ".rejected.csv"
	}
	m, err := LoadMapping(o.Mapping)
	if err != nil {
		return Result{}, err
	}
	f, err := open(o.File, m.Delimiter)
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, f.closer.Close()) }()
	columns, err := f.columns()
	if err == nil {
		err = m.bind(columns)
	}
	if err != nil {
		return Result{}, fmt.Errorf("mapping %s onto %s: %w", o.Mapping, o.File, err)
	}
	api := client.New(strings.TrimSuffix(o.URL, "/"), o.Token, o.Workers*openAtOnce).Telling(o.Progress)
	defer api.Close()
	r := &run{
		options: o, mapping: m, file: f, api: api, bar: progress.New(o.Progress, "import", "rows", int64(f.lines)),
		rejects: &rejects{path: o.Rejected, header: f.header}, result: Result{Reasons: map[string]int{}},
	}
	if err := r.rejects.clear(); err != nil {
		return Result{}, err
	}
	began := time.Now()
	err = errors.Join(r.all(ctx), r.rejects.close())
	r.bar.Finish()
	return r.total(time.Since(began)), err
}

// run is one import under way.
type run struct {
	options Options
	mapping *Mapping
	file    *file
	api     *client.Client
	rejects *rejects

	mu     sync.Mutex // result and bar
	bar    *progress.Bar
	result Result
}

// all reads the file and deals its rows out. An account belongs to one worker, and a worker has one request under way:
// that keeps the order of each account.
func (r *run) all(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	lanes := make([]chan *row, r.options.Workers)
	for i := range lanes {
		lanes[i] = make(chan *row, 2*r.options.Batch)
		w := &worker{run: r, accounts: map[string]account{}}
		group.Go(func() error { return w.work(ctx, lanes[i]) })
	}
	group.Go(func() error {
		defer func() {
			for _, lane := range lanes {
				close(lane)
			}
		}()
		return r.deal(ctx, lanes)
	})
	return group.Wait()
}

func (r *run) deal(ctx context.Context, lanes []chan *row) error {
	for {
		next, why, err := r.file.next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("reading %s: %w", r.options.File, err)
		}
		if why == nil {
			why = r.mapping.convert(next, r.file.digest[:digestChars])
		}
		if why != nil {
			if err := r.refuse(next, *why); err != nil {
				return err
			}
			continue
		}
		hash := fnv.New32a()
		_, _ = hash.Write([]byte(next.account())) // never fails
		select {
		case lanes[hash.Sum32()%uint32(len(lanes))] <- next: //nolint:gosec // a small count
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// refuse counts a row that was not taken and writes it to the side file.
func (r *run) refuse(next *row, why refused) error {
	r.count(func(result *Result) {
		result.Rejected++
		result.Reasons[why.code]++
	})
	return r.rejects.add(next.line, why, next.cells)
}

// count notes the end of one row.
func (r *run) count(note func(*Result)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	note(&r.result)
	r.result.Rows++
	r.bar.Add(1)
}

func (r *run) total(took time.Duration) Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	result := r.result
	result.Seconds = took.Seconds()
	if took > 0 {
		result.PerSecond = float64(result.Rows) / took.Seconds()
	}
	if result.Rejected > 0 {
		result.RejectedFile = r.options.Rejected
	}
	return result
}
