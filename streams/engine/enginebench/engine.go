package enginebench

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/schemas/topics"
	"github.com/caudalpay/caudal/streams/engine"
)

// engineVariants are the ways to run this engine, as changes to its configuration: each is a contestant. One that keeps its
// state elsewhere than in memory belongs here, with Work.Dir as its folder.
func engineVariants() map[string]func(*engine.Config, Work) {
	// As many records as come in a commit interval: with its default bound the engine commits every few milliseconds.
	full := func(c *engine.Config, _ Work) { c.RecordsMax, c.BytesMax = 20_000, 64<<20 }
	two := func(c *engine.Config, w Work) {
		full(c, w)
		c.Sessions = 2
	}
	return map[string]func(*engine.Config, Work){
		Engine:        full,
		EngineDefault: func(*engine.Config, Work) {},
		EngineTwo:     two,
		EnginePlain: func(c *engine.Config, w Work) {
			two(c, w)
			c.Options = append(c.Options, kgo.ProducerBatchCompression()) // none; a list would be shared, and each session's client writes to it
		},
	}
}

func engineWith(change func(*engine.Config, Work)) contestant {
	return func(ctx context.Context, w Work, r *runtimeOf) error {
		cfg := engineConfig(w, r)
		change(&cfg, w)
		output := w.Output()
		return runEngine(ctx, cfg, r, func(c *engine.Context, value []byte) error {
			n := uint64(0)
			if v := c.Value(); v != nil {
				n = binary.BigEndian.Uint64(v)
			}
			c.SetValue(binary.BigEndian.AppendUint64(nil, n+1))
			c.Emit(output, c.Key(), value)
			return nil
		})
	}
}

// SideBytes is the length of the value of a side record that Hold keeps, SideID of its id: about what a payment takes.
const (
	SideBytes = 130
	SideID    = 20
)

// hold keeps the value as the key's cell, and side records beside it. It emits nothing.
func hold(onDisk bool) contestant {
	return func(ctx context.Context, w Work, r *runtimeOf) error {
		cfg := engineConfig(w, r)
		if onDisk {
			cfg.Dir = w.Dir
		}
		return runEngine(ctx, cfg, r, func(c *engine.Context, value []byte) error {
			c.SetValue(value)
			side := c.Side(engine.ScopeKey)
			for i := range w.SideRecords {
				side.Put("held", fmt.Sprintf("%0*d", SideID, i), value[:SideBytes])
			}
			return nil
		})
	}
}

func engineConfig(w Work, r *runtimeOf) engine.Config {
	return engine.Config{
		Brokers: w.Brokers, Group: w.Group, Input: w.Input, Outputs: []string{w.Output()},
		Table: w.Table(), Side: w.Side(), DeadLetters: w.DeadLetters(), Partitions: w.Partitions,
		TransactionalID: w.Group + "-0", InstanceID: w.Group + "-0", Hasher: topics.Hasher,
		CommitInterval: w.CommitInterval, Registerer: r.metrics,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
}

// runEngine says that it is ready once it is: its state is restored.
func runEngine(ctx context.Context, cfg engine.Config, r *runtimeOf, callback engine.Callback) error {
	e, err := engine.New(cfg, callback)
	if err != nil {
		return fmt.Errorf("building the engine: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	for tick := time.NewTicker(time.Millisecond); ; {
		select {
		case err := <-ended:
			tick.Stop()
			if err != nil {
				return fmt.Errorf("running the engine: %w", err)
			}
			return nil
		case <-tick.C:
			if e.Ready() == nil {
				tick.Stop()
				r.ready(nil)
			}
		}
	}
}
