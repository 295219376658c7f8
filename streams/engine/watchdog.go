package engine

import (
	"fmt"
	"time"
)

// watchdog finds a callback that does not return, without reading the clock for every record: it looks now and then
// which record each partition works on.
type watchdog struct {
	timeout time.Duration
	ticker  *time.Ticker
	seen    []int64 // per partition: the record of the last look
	since   []time.Time
}

func newWatchdog(timeout time.Duration, partitions int) watchdog {
	return watchdog{
		timeout: timeout, ticker: time.NewTicker(max(timeout/8, time.Millisecond)),
		seen: make([]int64, partitions), since: make([]time.Time, partitions),
	}
}

func (w *watchdog) tick() <-chan time.Time { return w.ticker.C }
func (w *watchdog) stop()                  { w.ticker.Stop() }

func (w *watchdog) check(parts []*partition) error {
	now := time.Now()
	for i, p := range parts {
		record := p.handling.Load()
		if record == 0 || record != w.seen[i] {
			w.seen[i], w.since[i] = record, now
			continue
		}
		if now.Sub(w.since[i]) >= w.timeout {
			what := fmt.Sprintf("key number %d of a visit", -record)
			if record > 0 {
				what = p.inWork(record)
			}
			return fmt.Errorf("%w: partition %d, %s, %v", ErrCallbackDeadline, p.id, what, w.timeout)
		}
	}
	return nil
}
