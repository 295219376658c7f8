package decisionlog_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	schema "github.com/caudalpay/caudal/schemas/sql"
	"github.com/caudalpay/caudal/sinks/decisionlog"
)

// What waiting mends is tried again; what it does not mend ends the run, whether the store or the log says it.
func TestRunEndsOnlyForWhatIsFinal(t *testing.T) {
	own := errors.New("the store's own")
	for _, last := range []error{own, schema.ErrNewer, decisionlog.ErrUndecodable, decisionlog.ErrLogShort} {
		t.Run(last.Error(), func(t *testing.T) {
			opened := 0
			sink := decisionlog.NewSink(decisionlog.Config{Logger: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry()}, decisionlog.Store{
				Name: "tested", Final: []error{own},
				Open: func(context.Context) (decisionlog.Session, error) {
					if opened++; opened == 1 {
						return nil, errors.New("away")
					}
					return nil, fmt.Errorf("opening: %w", last)
				},
			})
			if err := sink.Run(t.Context()); !errors.Is(err, last) || opened != 2 {
				t.Errorf("after %d sessions: %v", opened, err)
			}
			if err := sink.Ready(); !errors.Is(err, decisionlog.ErrNotReady) || !errors.Is(err, last) {
				t.Errorf("ready after the end: %v", err)
			}
		})
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	sink := decisionlog.NewSink(decisionlog.Config{Logger: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry()}, decisionlog.Store{
		Name: "tested", Open: func(context.Context) (decisionlog.Session, error) { cancel(); return nil, errors.New("away") },
	})
	if err := sink.Run(ctx); err != nil {
		t.Error(err)
	}
}
