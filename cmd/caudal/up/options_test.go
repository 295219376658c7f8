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

// Invariant: what cannot work is named before anything starts, each mistake once.
func TestOptionsThatCannotWork(t *testing.T) {
	folder := t.TempDir()
	rails := filepath.Join(folder, "rails.yaml")
	if err := os.WriteFile(rails, []byte("kind: rails\nversion: 1\nroutes: routes.yaml\nbanks: [{name: b}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*up.Options)
		says   string
	}{
		"no partitions":     {func(o *up.Options) { o.Partitions = 0 }, "--partitions is 0"},
		"no copies":         {func(o *up.Options) { o.Replication = 0 }, "--replication is 0"},
		"rails without all": {func(o *up.Options) { o.Rails = rails }, "routes.yaml"},
		"doors in one place": {func(o *up.Options) {
			o.HTTP, o.CardFeed = "127.0.0.1:18599", up.CardFeed{Address: "127.0.0.1:18599", Header: "binary"}
		}, "--iso8583 is 127.0.0.1:18599, as --http is"},
		"ClickHouse in a door": {func(o *up.Options) { o.HTTP, o.ClickHouseHTTP = "127.0.0.1:18599", "127.0.0.1:18599" }, "--clickhouse-http is 127.0.0.1:18599, as --http is"},
		"ClickHouse nowhere":   {func(o *up.Options) { o.ClickHouseHTTP = "nonsense" }, `--clickhouse-http "nonsense" is not HOST:PORT`},
		"too many workers":     {func(o *up.Options) { o.Workers = 17 }, "--workers is 17"},
	} {
		o := up.Options{
			Data: filepath.Join(folder, "data"), HTTP: "127.0.0.1:0", ClickHouseHTTP: "127.0.0.1:0", Partitions: 16, Workers: 1,
			State: up.StateDisk, Replication: 1, Output: "table",
		}
		c.change(&o)
		err := up.Run(t.Context(), o, io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(o.Data); err == nil {
			t.Fatalf("%s: something was started", name)
		}
	}
}
