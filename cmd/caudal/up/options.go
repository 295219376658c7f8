// Package up is the composition of one installation: the embedded parts as child processes, every role, the HTTP API.
// It decides nothing about money; it starts things in order, keeps them running and ends them in reverse.
package up

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/caudalpay/caudal/cmd/caudal/rails"
	"github.com/caudalpay/caudal/ingest/iso8583"
	wire "github.com/caudalpay/caudal/schemas/rails/iso8583"
	"github.com/caudalpay/caudal/sinks/rails/cards"
)

// Options of `caudal up`.
type Options struct {
	Data              string   // folder of everything that is kept
	HTTP              string   // address of the API
	ClickHouseHTTP    string   // address of the embedded ClickHouse's HTTP interface, for people and their tools
	ClickHouseAnyPort bool     // where that address is taken, a free port will do: nobody asked for this one
	Brokers           []string // external brokers; empty: embedded
	Postgres          string   // external DSN; empty: embedded
	ClickHouse        string   // external DSN; empty: embedded
	Partitions        int32
	Replication       int16
	Roles             []string // ingress, streams, sinks; empty: all
	Workers           int      // streams workers, which share the partitions
	State             string   // StateDisk or StateMemory: where the workers keep what lies beside their cells
	Streams           StreamsOptions
	Rails             string // file of the rails whose connectors run here; empty: none
	CardFeed          CardFeed
	ReplyPartition    int32 // of ingress.replies.v1, this process's own

	Sample  bool // load the sample day
	Seed    uint64
	Once    bool   // load, wait until both stores hold everything, prove, end
	Import  string // CSV to load instead of the sample day
	Mapping string
	Output  string // table or json

	Pprof string // address of the profiles of this process, the workers and the broker; empty: none
}

// CardFeed is the door of acquirers.
type CardFeed struct {
	Address  string // empty: closed
	Header   string // of frames: binary or ascii
	TLS      iso8583.TLS
	Deadline time.Duration // for the core's decision
	AnyPort  bool          // where the address is taken, a free port will do: nobody asked for this one

	listener net.Listener // from the first moment on, so that nobody takes it between
}

func (f CardFeed) config() (iso8583.Config, error) {
	header, err := wire.ParseFrameHeader(f.Header)
	if err != nil {
		return iso8583.Config{}, fmt.Errorf("--iso8583-header: %w", err)
	}
	config := iso8583.Config{Address: f.Address, Frames: wire.Frames{Header: header}, TLS: f.TLS, Deadline: f.Deadline}
	if err := config.Validate(); err != nil {
		return config, fmt.Errorf("--iso8583: %w", err)
	}
	return config, nil
}

// Where the state of the streams workers lies; the changelogs hold all of it either way.
const (
	StateDisk   = "disk"   // in the data folder, so that a start reads little; memory is bounded
	StateMemory = "memory" // a start reads all of it
)

// The roles of an installation.
const (
	roleIngress = "ingress"
	roleStreams = "streams"
	roleSinks   = "sinks"
)

func roles() []string { return []string{roleIngress, roleStreams, roleSinks} }

func (o *Options) runs(role string) bool { return len(o.Roles) == 0 || slices.Contains(o.Roles, role) }

// Validate says what contradicts itself and makes the data folder absolute.
func (o *Options) Validate() error {
	var errs []error
	if o.Data == "" {
		errs = append(errs, errors.New("--data is empty: name the folder to keep everything in"))
	}
	errs = append(errs, o.addresses()...)
	if o.Partitions < 1 || o.Partitions > 64 {
		errs = append(errs, fmt.Errorf("--partitions is %d: choose 1 to 64", o.Partitions))
	} else {
		errs = append(errs, o.sharing()...)
	}
	if o.Replication < 1 {
		errs = append(errs, fmt.Errorf("--replication is %d: at least one broker keeps each topic", o.Replication))
	}
	if o.CardFeed.Address != "" {
		if _, err := o.CardFeed.config(); err != nil {
			errs = append(errs, err)
		}
	}
	if o.State != StateDisk && o.State != StateMemory {
		errs = append(errs, fmt.Errorf("--state is %q: choose %s or %s", o.State, StateDisk, StateMemory))
	}
	if (o.Import == "") != (o.Mapping == "") {
		errs = append(errs, errors.New("--import and --mapping go together"))
	}
	if o.Import != "" && o.Sample {
		errs = append(errs, errors.New("--import and --sample exclude each other"))
	}
	if o.Rails != "" {
		if err := tryRails(o.Rails); err != nil {
			errs = append(errs, fmt.Errorf("--rails: %w", err))
		}
	}
	for _, file := range []string{o.Import, o.Mapping, o.CardFeed.TLS.Certificate, o.CardFeed.TLS.Key, o.CardFeed.TLS.ClientCA, o.CardFeed.TLS.Acquirers} {
		if file == "" {
			continue
		}
		if _, err := os.Stat(file); err != nil {
			errs = append(errs, fmt.Errorf("reading %s: %w", file, err))
		}
	}
	for _, r := range o.Roles {
		if !slices.Contains(roles(), r) {
			errs = append(errs, fmt.Errorf("--roles %s: choose from %s", r, strings.Join(roles(), ", ")))
		}
	}
	if o.Output != "table" && o.Output != "json" {
		errs = append(errs, fmt.Errorf("-o %q: choose table or json", o.Output))
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	var err error
	if o.Data, err = filepath.Abs(o.Data); err != nil {
		return fmt.Errorf("resolving --data: %w", err)
	}
	return nil
}

// addresses is what is wrong with where this installation serves.
func (o *Options) addresses() []error {
	var errs []error
	taken := map[string]string{} // the flag, by the address
	for _, a := range []struct{ flag, address string }{
		{"--http", o.HTTP}, {"--iso8583", o.CardFeed.Address}, {"--clickhouse-http", o.ClickHouseHTTP},
	} {
		_, port, err := net.SplitHostPort(a.address)
		switch {
		case a.flag == "--iso8583" && a.address == "", a.flag == "--clickhouse-http" && o.ClickHouse != "":
		case err != nil:
			errs = append(errs, fmt.Errorf("%s %q is not HOST:PORT: %w", a.flag, a.address, err))
		case port == "0":
		case taken[a.address] != "":
			errs = append(errs, fmt.Errorf("%s is %s, as %s is: each needs an address of its own", a.flag, a.address, taken[a.address]))
		default:
			taken[a.address] = a.flag
		}
	}
	return errs
}

// sharing is what contradicts the number of partitions.
func (o *Options) sharing() []error {
	var errs []error
	if o.ReplyPartition < 0 || o.ReplyPartition >= o.Partitions {
		errs = append(errs, fmt.Errorf("--reply-partition is %d: choose 0 to %d", o.ReplyPartition, o.Partitions-1))
	}
	if o.Workers < 1 || o.Workers > int(o.Partitions) {
		errs = append(errs, fmt.Errorf("--workers is %d: choose 1 to %d, the number of partitions", o.Workers, o.Partitions))
	}
	if err := o.Streams.validate(o.Partitions); err != nil {
		errs = append(errs, fmt.Errorf("--sessions, --session-timeout, --transaction-timeout: %w", err))
	}
	return errs
}

// tryRails reads all that the file of rails names, before anything is started that would need it.
func tryRails(path string) error {
	if _, err := rails.Load(path, cards.DefaultConfig()); err != nil {
		return err //nolint:wrapcheck // it names the file
	}
	_, err := rails.Webhooks(path)
	return err //nolint:wrapcheck // as above
}

// doorsFree says at once, and not after everything else has started, that an address cannot be had. Port 0 becomes a free
// one: the loader, the printed lines and addresses.json name it.
func (o *Options) doorsFree(ctx context.Context) error {
	if !o.runs(roleIngress) {
		return nil
	}
	ln, err := listen(ctx, &o.HTTP)
	if err != nil {
		return fmt.Errorf("trying the API's address (--http chooses another): %w", err)
	}
	if err := ln.Close(); err != nil || o.CardFeed.Address == "" {
		return err
	}
	f := &o.CardFeed
	f.listener, err = listen(ctx, &f.Address)
	if errors.Is(err, syscall.EADDRINUSE) && f.AnyPort {
		host, _, _ := net.SplitHostPort(f.Address) // Validate has tried it
		f.Address = net.JoinHostPort(host, "0")
		f.listener, err = listen(ctx, &f.Address)
	}
	if err != nil {
		return fmt.Errorf("trying the acquirers' address (--iso8583 chooses another): %w", err)
	}
	return nil
}

// listen gives an address its port where it has none.
func listen(ctx context.Context, address *string) (net.Listener, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", *address)
	if err != nil {
		return nil, err
	}
	host, _, _ := net.SplitHostPort(*address) // Validate has tried it
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	*address = net.JoinHostPort(host, port)
	return ln, nil
}
