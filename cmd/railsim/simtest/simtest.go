// Package simtest serves the simulator to tests, in their own process.
package simtest

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/caudalpay/caudal/cmd/railsim/server"
)

// Config is a quick simulator that keeps nothing and says nothing. A test changes what it is about.
func Config() server.Config {
	return server.Config{
		Seed: 1, Day: 24 * time.Hour, BankDelay: 5 * time.Millisecond, HookRetry: 5 * time.Millisecond, HookWorkers: 4,
		Log: slog.New(slog.DiscardHandler),
	}
}

// Serve serves a simulator until the test ends, and gives its address. One that ends with an error fails the test.
func Serve(t testing.TB, cfg server.Config) (s *server.Server, url string) {
	t.Helper()
	s, err := server.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background()) // the test's own ends before its cleanups
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the simulator ended: %v", err)
		}
	})
	return s, "http://" + l.Addr().String()
}
