package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// ViewConfig says what a view follows.
type ViewConfig struct {
	Brokers []string
	Topic   string    // compacted; a group table will do
	Options []kgo.Opt // appended to the client's options: TLS, SASL, dialer
}

// View is a compacted topic in memory, every partition of it, followed read committed. It can be read by any goroutine.
type View struct {
	cfg     ViewConfig
	current atomic.Pointer[lookups] // nil unless it has been read to its end
}

// NewView checks the configuration; it asks no broker.
func NewView(cfg ViewConfig) (*View, error) {
	if len(cfg.Brokers) == 0 || cfg.Topic == "" {
		return nil, errors.New("validating view config: Brokers and Topic must be given")
	}
	return &View{cfg: cfg}, nil
}

// ErrViewNotReady means that a view does not run, or has not read its topic to the end yet.
var ErrViewNotReady = errors.New("view is not ready")

// Run follows the topic until ctx ends, then it returns nil. After an error it may be called again; it then starts with no rows.
func (v *View) Run(ctx context.Context) error {
	tables := newLookups([]string{v.cfg.Topic})
	if err := tables.open((&Config{Brokers: v.cfg.Brokers, Options: v.cfg.Options}).clientOptions()); err != nil {
		return err
	}
	defer tables.close()
	run, cancel := context.WithCancel(ctx)
	defer cancel()
	begun := make(chan error, 1)
	go func() {
		err := v.begin(run, tables)
		if err != nil {
			cancel()
		}
		begun <- err
	}()
	err := tables.follow(run)
	cancel()
	err = errors.Join(err, unlessStopped(run, <-begun))
	v.current.Store(nil)
	return err
}

// begin makes the view readable once it is known up to the end, however long that takes. The topic may still be in the making.
func (v *View) begin(ctx context.Context, tables *lookups) error {
	for made := time.After(startTimeout); ; {
		err := tables.catchUp(ctx, v.cfg.Topic)
		if err == nil {
			v.current.Store(tables)
			return nil
		}
		if !kerr.IsRetriable(err) {
			return fmt.Errorf("following %s to its end: %w", v.cfg.Topic, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-made:
			return fmt.Errorf("following %s to its end (is it created?): %w", v.cfg.Topic, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (v *View) table() (*lookups, error) {
	if t := v.current.Load(); t != nil {
		return t, nil
	}
	return nil, fmt.Errorf("reading %s: %w", v.cfg.Topic, ErrViewNotReady)
}

// Ready returns nil while the view can be read.
func (v *View) Ready() error {
	_, err := v.table()
	return err
}

// CatchUp returns when the view knows all that was committed before the call.
func (v *View) CatchUp(ctx context.Context) error {
	t, err := v.table()
	if err != nil {
		return err
	}
	return t.catchUp(ctx, v.cfg.Topic)
}

// Get returns the row of a key, nil if there is none, as far as the view knows. The bytes must not be changed.
func (v *View) Get(key string) ([]byte, error) {
	t, err := v.table()
	if err != nil {
		return nil, err
	}
	row, _ := t.get(v.cfg.Topic, key)
	return row, nil
}

// Row is a row of a view.
type Row struct {
	Key   string
	Value []byte
}

// Rows returns the rows with from <= key < to in the order of their keys, as they all stood at one moment of this view; an
// empty to has no upper bound. The bytes must not be changed.
func (v *View) Rows(from, to string) ([]Row, error) {
	t, err := v.table()
	if err != nil {
		return nil, err
	}
	return t.table(v.cfg.Topic).sorted(from, to), nil
}

func (t *followed) sorted(from, to string) []Row {
	t.mu.RLock()
	var rows []Row
	for k, v := range t.rows {
		if k >= from && (to == "" || k < to) && k != fenceKey {
			rows = append(rows, Row{Key: k, Value: v})
		}
	}
	t.mu.RUnlock()
	slices.SortFunc(rows, func(a, b Row) int { return strings.Compare(a.Key, b.Key) })
	return rows
}
