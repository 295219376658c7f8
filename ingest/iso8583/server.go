package iso8583

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caudalpay/caudal/schemas/rails/iso8583"
)

// Server is the door of acquirers.
type Server struct {
	cfg       Config
	ports     Ports
	tls       *tls.Config
	acquirers acquirers
	codec     *iso8583.Codec
	metrics   *metrics
	reversals *reversals
	twins     twins
	inFlight  atomic.Int64
	serving   atomic.Bool

	mu          sync.Mutex
	connections map[*connection]struct{}
	ending      bool
	handlers    sync.WaitGroup // of connections

	life    context.Context //nolint:containedctx // of what is in flight, which outlives the context that ends the serving
	abandon context.CancelFunc
}

// New checks and builds; Run or Serve opens the door.
func New(cfg Config, ports Ports) (*Server, error) {
	known, secure, err := cfg.checked()
	if err != nil {
		return nil, err
	}
	if err := ports.validate(); err != nil {
		return nil, err
	}
	s := &Server{
		cfg: cfg.withDefaults(), ports: ports, tls: secure, acquirers: known, codec: iso8583.NewCodec(), connections: make(map[*connection]struct{}),
	}
	s.twins.first = make(map[string]*twin)
	s.metrics = newMetrics(ports.Metrics)
	s.reversals = newReversals(s)
	s.life, s.abandon = context.WithCancel(context.Background())
	return s, nil
}

// Run listens on Config.Address and serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", s.cfg.Address)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	return s.Serve(ctx, ln)
}

// Serve answers on ln until ctx ends; then what has been read is answered within the grace time. It closes ln. Once only.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	defer s.abandon()
	if !s.known(ctx) {
		return ln.Close()
	}
	var trying sync.WaitGroup
	trying.Go(func() { s.reversals.run(s.life) })
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() }) // the listener has no other use for its error
	defer stop()
	s.serving.Store(true)
	err := s.accept(ctx, ln)
	s.serving.Store(false)
	_ = ln.Close() // twice at the end, where that says so
	s.drain()
	s.reversals.finish(s.cfg.Grace)
	s.abandon()
	trying.Wait()
	return err
}

// known waits until the directories have read what stood there; false where ctx ends before.
func (s *Server) known(ctx context.Context) bool {
	for {
		ready := true
		for _, k := range s.ports.Known {
			ready = ready && k() == nil
		}
		if ready {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// accept takes connections until ctx ends. Where none can be had for a while (too many files are open), it tries again.
func (s *Server) accept(ctx context.Context, ln net.Listener) error {
	for {
		conn, err := ln.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = conn.Close() // nothing was said yet
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accepting: %w", err)
		case err != nil:
			s.ports.Log.Error("accepting", "error", err)
			time.Sleep(10 * time.Millisecond)
		default:
			s.take(conn) //nolint:contextcheck // a connection outlives ctx: what was read from it is answered
		}
	}
}

// take gives a connection its goroutines, or closes it where there are too many.
func (s *Server) take(conn net.Conn) {
	c := newConnection(s, conn)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ending || len(s.connections) >= s.cfg.ConnectionsMax {
		s.metrics.closed.WithLabelValues("too_many").Inc()
		_ = conn.Close() // nothing was said yet
		return
	}
	s.connections[c] = struct{}{}
	s.metrics.open.Inc()
	s.handlers.Go(func() {
		why := c.run()
		s.mu.Lock()
		delete(s.connections, c)
		s.mu.Unlock()
		s.metrics.open.Dec()
		s.metrics.closed.WithLabelValues(why).Inc()
	})
}

// drain ends the reading of every connection, and the connections themselves once they have answered or the grace is over.
func (s *Server) drain() {
	s.mu.Lock()
	s.ending = true
	for c := range s.connections {
		c.hush()
	}
	s.mu.Unlock()
	answered := make(chan struct{})
	go func() {
		s.handlers.Wait()
		close(answered)
	}()
	grace := time.NewTimer(s.cfg.Grace)
	defer grace.Stop()
	select {
	case <-answered:
		return
	case <-grace.C:
	}
	s.abandon()
	s.mu.Lock()
	for c := range s.connections {
		_ = c.conn.Close() // its reader and writer see it
	}
	s.mu.Unlock()
	<-answered
}

// Ready is nil while connections are taken.
func (s *Server) Ready() error {
	if !s.serving.Load() {
		return errors.New("not serving")
	}
	return nil
}
