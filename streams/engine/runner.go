package engine

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// batchesMax is how many batches of records may wait for a partition.
const batchesMax = 64

// runner works on the records of every partition in the order they were polled, one goroutine each. What it costs to hand
// records over is paid per batch: what one poll brought of one partition.
type runner struct {
	parts    []*partition
	batches  []chan []*kgo.Record
	workers  sync.WaitGroup
	pending  atomic.Int64  // batches handed over and not done
	idle     chan struct{} // has a token after pending came to 0
	fatal    chan error    // the first failure
	stopping atomic.Bool   // nothing of the open transaction will be kept
	watchdog watchdog
}

func newRunner(parts []*partition, callbackTimeout time.Duration) *runner {
	r := &runner{
		parts: parts, batches: make([]chan []*kgo.Record, len(parts)),
		idle: make(chan struct{}, 1), fatal: make(chan error, 1), watchdog: newWatchdog(callbackTimeout, len(parts)),
	}
	for i, p := range parts {
		r.batches[i] = make(chan []*kgo.Record, batchesMax)
		r.workers.Go(func() { r.work(p, r.batches[i]) })
	}
	return r
}

// work is one partition's goroutine.
func (r *runner) work(p *partition, batches <-chan []*kgo.Record) {
	for batch := range batches {
		for _, record := range batch {
			if r.stopping.Load() {
				break
			}
			p.work(record)
			if err := p.handle(record, string(record.Key)); err != nil {
				r.fail(err)
			}
		}
		p.handling.Store(0)
		if r.pending.Add(-1) == 0 {
			select {
			case r.idle <- struct{}{}:
			default:
			}
		}
	}
}

// hand gives records to their partition.
func (r *runner) hand(partition int32, records []*kgo.Record) error {
	r.pending.Add(1)
	for {
		select {
		case r.batches[partition] <- records:
			return nil
		case err := <-r.fatal:
			return err
		case <-r.watchdog.tick():
			if err := r.watchdog.check(r.parts); err != nil {
				return err
			}
		}
	}
}

// busy tells whether records are still being worked on.
func (r *runner) busy() bool { return r.pending.Load() != 0 }

// wait returns when everything handed over is done, or has failed.
func (r *runner) wait() error {
	for r.busy() {
		select {
		case <-r.idle:
		case err := <-r.fatal:
			return err
		case <-r.watchdog.tick():
			if err := r.watchdog.check(r.parts); err != nil {
				return err
			}
		}
	}
	return r.failure()
}

// failure is the first one, nil if there is none.
func (r *runner) failure() error {
	select {
	case err := <-r.fatal:
		return err
	default:
		return nil
	}
}

// fail stops the work from another goroutine; the first failure counts.
func (r *runner) fail(err error) {
	r.stopping.Store(true)
	select {
	case r.fatal <- err:
	default:
	}
}

// stop ends the goroutines once each has returned from its callback.
func (r *runner) stop() {
	r.stopping.Store(true)
	for _, b := range r.batches {
		close(b)
	}
	r.workers.Wait()
	r.watchdog.stop()
}
