package producer

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/ingest/door"
)

// flight is one submission on its way: it lands when the broker has answered for every record. Its records share one
// piece of memory, so it keeps its room in the buffer until then.
type flight struct {
	landed chan struct{}
	land   func(failed int)

	mu       sync.Mutex
	open     int
	failed   int
	answered []bool
	errs     []error
	at       time.Time // when it landed
}

func newFlight(n int, land func(failed int)) *flight {
	f := &flight{landed: make(chan struct{}), land: land, open: n, answered: make([]bool, n), errs: make([]error, n)}
	if n == 0 {
		close(f.landed)
	}
	return f
}

// answer notes what became of record i, once.
func (f *flight) answer(i int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answered[i], f.errs[i] = true, err
	if err != nil {
		f.failed++
	}
	if f.open--; f.open == 0 {
		f.at = time.Now()
		f.land(f.failed)
		close(f.landed)
	}
}

// wait returns one error or nil per record. A record without an answer at the end is unavailable, and may still arrive
// in the log: the client library does not take back what may have been written.
func (f *flight) wait(ctx context.Context, timeout time.Duration) []error {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	why := "no answer in time"
	select {
	case <-f.landed:
		return f.errs
	case <-timer.C:
	case <-ctx.Done():
		why = "the caller left"
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	errs := make([]error, len(f.errs))
	for i := range errs {
		if errs[i] = f.errs[i]; !f.answered[i] {
			errs[i] = fmt.Errorf("producing command: %w: %s", door.ErrUnavailable, why)
		}
	}
	return errs
}

// launch hands encoded records to the client in order; room for them is reserved already and given back at the end.
func (p *Producer) launch(client *kgo.Client, records []kgo.Record) *flight {
	var bytes int64
	for i := range records {
		bytes += weight(&records[i])
	}
	start := time.Now()
	f := newFlight(len(records), func(failed int) {
		p.buffer.release(int64(len(records)), bytes)
		p.metrics.acked.Add(float64(len(records) - failed))
		p.metrics.failed.Add(float64(failed))
		if failed == 0 {
			p.metrics.ackSeconds.Observe(time.Since(start).Seconds())
		}
	})
	for i := range records {
		client.TryProduce(p.lifetime, &records[i], func(_ *kgo.Record, err error) {
			if err != nil {
				err = fmt.Errorf("producing command: %w: %w", door.ErrUnavailable, err)
			}
			f.answer(i, err)
		})
	}
	return f
}

func weight(r *kgo.Record) int64 { return int64(len(r.Key) + len(r.Value) + recordOverhead) }
