package engine

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
)

// KeepOverlayOnAbort makes an engine wrong on purpose: what an aborted transaction wrote stays. Offsets are taken back as they
// should be, so that only an audit of the state can notice.
func (e *Engine) KeepOverlayOnAbort() { e.rollback = keepOverlay }

func keepOverlay(p *partition) {
	p.cells.commit()
	p.side.commit()
	p.next = p.applied
}

// SpoilOnAbort leaves memory in a state that was never committed, as if the abort had been a commit after all.
func (e *Engine) SpoilOnAbort() {
	e.rollback = func(p *partition) {
		p.rollback()
		p.cells.base.set("acc-0", []byte("spoilt!!"))
		p.applied = 1 << 40
	}
}

// OnCommit is called with the duration of each commit, between two transactions.
func (e *Engine) OnCommit(took func(time.Duration)) {
	e.metrics.commitTime = observed{e.metrics.commitTime, took}
}

type observed struct {
	prometheus.Histogram
	took func(time.Duration)
}

func (o observed) Observe(seconds float64) {
	o.took(time.Duration(seconds * float64(time.Second)))
	o.Histogram.Observe(seconds)
}

// TrustCallbacks makes an engine wrong on purpose: state that was here once counts as that of any later assignment.
func (e *Engine) TrustCallbacks() {
	e.retained = func(*partition, int64) bool { return true }
}

// StopAtAnyFence makes an engine wrong on purpose: a restore ends at the first fence.
func (e *Engine) StopAtAnyFence() {
	e.reaches = func(string, string) bool { return true }
}

// TrustDoubt makes an engine wrong on purpose: what it wrote in a transaction whose outcome is unknown counts as committed. The
// client refuses to go on from there by itself: the engine makes it.
func (e *Engine) TrustDoubt() {
	e.doubt = func(s *session, _ int, _ error) error {
		for _, p := range s.running {
			keepOverlay(p)
		}
		ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
		defer cancel()
		_, err := s.tx.End(ctx, kgo.TryAbort)
		return err
	}
}

// TrustRestores makes an engine wrong on purpose: a restored state is good whatever it has applied.
func (e *Engine) TrustRestores() {
	e.verdict = func(_ *session, a arrival, _, after int64) error {
		a.part.applied, a.part.next = after, after
		return nil
	}
}
