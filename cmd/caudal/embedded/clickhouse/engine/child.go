// Package engine is the ClickHouse child process: the engine as a shared library (libchdb), bound without
// cgo, behind ClickHouse's HTTP interface.
//
// It answers what clickhouse-go v2 with Protocol HTTP, curl and other HTTP clients send: statements,
// streaming inserts, parameters, settings, compression, typed errors. It refuses HTTP sessions, external
// tables and the native protocol.
package engine

import (
	"context"
	_ "embed" // the engine's configuration
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/child"
)

// Command is the hidden subcommand of the child. Arguments: the library file and the data folder. The
// listeners are inherited as descriptors 3 (unix socket) and 4 (TCP).
const Command = "__clickhouse"

// PasswordFile lies in the data folder.
const PasswordFile = "password"

//go:embed clickhouse.xml
var configuration []byte

// Main runs the child and returns its exit status.
func Main(args []string) int {
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	ctx := child.Lifeline(20 * time.Second)
	if err := run(ctx, args, log); err != nil {
		log.Error("clickhouse child ended", "error", err)
		return 1
	}
	return 0
}

func run(ctx context.Context, args []string, log *slog.Logger) error {
	if len(args) != 2 {
		return errors.New("want arguments: library file, data folder")
	}
	library, data := args[0], args[1]
	// The child of a parent that was just killed may still be finishing.
	lock, err := child.Lock(ctx, filepath.Join(data, "engine.lock"), 15*time.Second)
	if err != nil {
		return fmt.Errorf("owning data folder: %w", err)
	}
	defer func() { _ = lock.Close() }()
	password, err := os.ReadFile(filepath.Join(data, PasswordFile)) //nolint:gosec // the path is configuration
	if err != nil {
		return fmt.Errorf("reading password: %w", err)
	}
	listeners, err := inherit(3, 4)
	if err != nil {
		return err
	}
	lib, err := load(library, filepath.Join(data, "store"))
	if err != nil {
		return err
	}
	config := filepath.Join(data, "clickhouse.xml")
	if err := os.WriteFile(config, configuration, 0o600); err != nil {
		return fmt.Errorf("writing engine configuration: %w", err)
	}
	connections, err := newPool(lib, []string{
		"--config-file=" + config,
		"--async_insert=0", // an acknowledged insert is stored
		// The profiler's signals would arrive in threads of the Go runtime.
		"--query_profiler_real_time_period_ns=0", "--query_profiler_cpu_time_period_ns=0",
	}, log)
	if err != nil {
		return err
	}
	h, err := newHandler(connections, strings.TrimSpace(string(password)))
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	go func() { stop(watchDisk(ctx, data, log)) }()
	err = errors.Join(serve(ctx, h, listeners), closeWithin(ctx, connections.close, 10*time.Second))
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		err = errors.Join(cause, err)
	}
	return err
}

func inherit(descriptors ...uintptr) ([]net.Listener, error) {
	var all []net.Listener
	for _, fd := range descriptors {
		f := os.NewFile(fd, "listener")
		l, err := net.FileListener(f)
		if err != nil {
			return nil, fmt.Errorf("inheriting listener %d: %w", fd, err)
		}
		_ = f.Close() // FileListener has its own copy
		if u, ok := l.(*net.UnixListener); ok {
			u.SetUnlinkOnClose(false) // the socket is the parent's, and outlives this child
		}
		all = append(all, l)
	}
	return all, nil
}

// serve answers until ctx ends, then lets running requests finish.
func serve(ctx context.Context, h http.Handler, listeners []net.Listener) error {
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 5 * time.Minute, MaxHeaderBytes: 1 << 20}
	failed := make(chan error, len(listeners))
	var serving sync.WaitGroup
	for _, l := range listeners {
		serving.Go(func() { failed <- server.Serve(l) })
	}
	child.Announce()
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	err = errors.Join(err, closeWithin(ctx, server.Shutdown, 5*time.Second))
	serving.Wait()
	return err
}

// closeWithin gives f time of its own: ctx has ended already.
func closeWithin(ctx context.Context, f func(context.Context) error, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	return f(ctx)
}
