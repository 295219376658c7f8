package up_test

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caudalpay/caudal/cmd/caudal/up"
)

// Invariant: an address that somebody else has is named before anything starts, with the flag that chooses another.
func TestBusyAddress(t *testing.T) {
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }() // only held
	data := t.TempDir()
	err = up.Run(t.Context(), up.Options{
		Data: data, HTTP: ln.Addr().String(), ClickHouseHTTP: "127.0.0.1:0", Partitions: 16, Workers: 1, State: up.StateDisk, Replication: 1, Output: "table",
	}, io.Discard, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "--http") || !strings.Contains(err.Error(), ln.Addr().String()) {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(filepath.Join(data, "broker")); err == nil {
		t.Error("the broker was started")
	}
}
