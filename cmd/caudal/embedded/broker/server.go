// Package broker runs an embedded Kafka broker as a supervised child process: kfake, one node, for trying
// and for tests; not crash-atomic.
//
// Its data is on disk. Its port is chosen free at the first start and recorded in the data folder, so
// that clients find it again after a second start. The broker's own death inside a commit can tear that
// transaction: kill workers rather than the broker, and use Apache Kafka for anything that matters.
//
// This process owns the listener and hands it to each incarnation of the child: requests made while the
// child restarts wait instead of being refused.
package broker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/child"
)

// Banner has to be shown wherever the embedded broker is started.
const Banner = "embedded broker: kfake, one node, for trying and for tests; not crash-atomic"

// Config of a broker.
type Config struct {
	Data    string // folder of everything the broker keeps; made if missing
	Addr    string // default: the recorded port, at first a free one, on 127.0.0.1
	LogFile string // default: Data/broker.log
	Logger  *slog.Logger

	// ReserveBytes of disk stay free: below, the broker takes no records. Default: ReserveDefault.
	ReserveBytes int64

	Profiles string // unix socket on which the child shows its profiles; default: none
}

func (c *Config) setDefaults() (err error) {
	if c.Data == "" {
		return errors.New("embedded broker: Data is required")
	}
	if c.Data, err = filepath.Abs(c.Data); err != nil {
		return fmt.Errorf("resolving Data: %w", err)
	}
	if c.LogFile == "" {
		c.LogFile = filepath.Join(c.Data, "broker.log")
	}
	if c.ReserveBytes == 0 {
		c.ReserveBytes = ReserveDefault
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Server is a running broker.
type Server struct {
	*child.Process

	lock     *os.File
	listener *net.TCPListener
	inherit  *os.File // the listener as the children get it
	data     string
	reserve  int64
}

// Start starts the broker and returns when it answers. ctx bounds the start; the broker then runs until
// Stop or the end of this process.
func Start(ctx context.Context, cfg Config) (_ *Server, err error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(cfg.Data, "logs"), 0o700); err != nil {
		return nil, fmt.Errorf("making data folder: %w", err)
	}
	s := &Server{data: cfg.Data, reserve: cfg.ReserveBytes}
	defer func() {
		if err != nil {
			s.release()
		}
	}()
	if s.lock, err = child.Lock(ctx, filepath.Join(cfg.Data, "lock"), 10*time.Second); err != nil {
		return nil, fmt.Errorf("owning data folder: %w", err)
	}
	if err := s.listen(ctx, cfg); err != nil {
		return nil, err
	}
	args := []string{Command, filepath.Join(cfg.Data, "logs"), strconv.FormatInt(cfg.ReserveBytes, 10)}
	if cfg.Profiles != "" {
		args = append(args, cfg.Profiles)
	}
	s.Process, err = child.Supervise(ctx, child.Spec{
		Name: "broker", Args: args,
		ExtraFiles: []*os.File{s.inherit}, LogFile: cfg.LogFile, Logger: cfg.Logger, StopTimeout: 25 * time.Second,
		PauseMax: 2 * time.Second, // every payment waits for it
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// listen opens the address and records it.
func (s *Server) listen(ctx context.Context, cfg Config) error {
	record := filepath.Join(cfg.Data, "address")
	addr := cfg.Addr
	if addr == "" {
		recorded, err := os.ReadFile(record) //nolint:gosec // the path is configuration
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("reading recorded address: %w", err)
		}
		if addr = strings.TrimSpace(string(recorded)); addr == "" {
			addr = "127.0.0.1:0"
		}
	}
	var err error
	if s.listener, err = child.Listen(ctx, addr); err != nil {
		return fmt.Errorf("listening for Kafka clients (the address is recorded in %s): %w", record, err)
	}
	if s.inherit, err = s.listener.File(); err != nil {
		return fmt.Errorf("copying listener: %w", err)
	}
	if err := os.WriteFile(record, []byte(s.listener.Addr().String()+"\n"), 0o600); err != nil {
		return fmt.Errorf("recording address: %w", err)
	}
	return nil
}

// Addrs are the seed brokers for a Kafka client.
func (s *Server) Addrs() []string { return []string{s.listener.Addr().String()} }

// Ready returns nil while the broker runs and has room to take records.
func (s *Server) Ready() error {
	if err := s.Process.Ready(); err != nil {
		return err
	}
	return enough(s.data, s.reserve)
}

// Stop lets the broker write its state and end.
func (s *Server) Stop(ctx context.Context) error {
	err := s.Process.Stop(ctx)
	s.release()
	return err
}

func (s *Server) release() {
	if s.inherit != nil {
		_ = s.inherit.Close()
	}
	if s.listener != nil {
		_ = s.listener.Close()
	}
	if s.lock != nil {
		_ = s.lock.Close()
	}
}
