package engine

import "context"

// Engine runs one group.
type Engine struct{}

// New checks the configuration; it asks no broker.
func New(cfg Config, cb Callback) (*Engine, error) {
	if err := cfg.withDefaults().Validate(); err != nil {
		return nil, err
	}
	return &Engine{}, nil
}

// Run consumes until ctx ends.
func (e *Engine) Run(ctx context.Context) error { panic("engine: not assembled") }

// Ready returns nil while records are being handled.
func (e *Engine) Ready() error { panic("engine: not assembled") }
