package client_test

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caudalpay/caudal/cmd/caudal/client"
)

// An address that nothing can be sent to is told at once, and not after two minutes of trying.
func TestAddressThatCannotBeMeant(t *testing.T) {
	for _, base := range []string{"nonsense", "127.0.0.1:8080", "http://", "ftp://127.0.0.1", "http://127.0.0.1:port", ""} {
		c := client.New(base, "token", 1).Within(time.Minute)
		began := time.Now()
		if _, err := c.Do(t.Context(), client.Request{Method: http.MethodGet, Path: "/healthz"}); !errors.Is(err, client.ErrAddress) || time.Since(began) > 10*time.Second {
			t.Errorf("%q: after %v: %v", base, time.Since(began), err)
		}
	}
}

// Whoever waits is told at once for what, once for each time that nobody answers.
func TestWaitingIsTold(t *testing.T) {
	var down atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if down.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	var said strings.Builder
	c := client.New(server.URL, "token", 1).Within(200 * time.Millisecond).Telling(&said)
	ask := func(path string) { _, _ = c.Do(t.Context(), client.Request{Method: http.MethodGet, Path: path}) } // what is said of it counts
	for _, at := range []struct {
		path string
		down bool
	}{{"/up", false}, {"/down", true}, {"/still", true}, {"/again", false}, {"/other", true}} {
		down.Store(at.down)
		ask(at.path)
	}
	lines := strings.Split(strings.TrimSpace(said.String()), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], "/down") || !strings.Contains(lines[0], "200ms") || !strings.Contains(lines[1], "/other") {
		t.Errorf("%q", lines)
	}
}

// Where nobody listens, patience says how long that is borne.
func TestPatience(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	c := client.New("http://"+l.Addr().String(), "token", 1).Within(200 * time.Millisecond)
	began := time.Now()
	if _, err := c.Do(t.Context(), client.Request{Method: http.MethodGet, Path: "/healthz"}); err == nil || time.Since(began) > 10*time.Second {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
}
