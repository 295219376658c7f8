package up

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"sync"
	"time"

	ch "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/caudalpay/caudal/cmd/caudal/rails"
	"github.com/caudalpay/caudal/ingest/directory"
	"github.com/caudalpay/caudal/ingest/http"
	"github.com/caudalpay/caudal/ingest/iso8583"
	"github.com/caudalpay/caudal/ingest/producer"
	"github.com/caudalpay/caudal/ingest/reference"
	"github.com/caudalpay/caudal/ingest/ticker"
	"github.com/caudalpay/caudal/ingest/webhooks"
	"github.com/caudalpay/caudal/schemas/seal"
	"github.com/caudalpay/caudal/sinks/clickhouse"
	"github.com/caudalpay/caudal/sinks/decisionlog"
	"github.com/caudalpay/caudal/sinks/postgres"
	"github.com/caudalpay/caudal/sinks/rails/cards"
	"github.com/caudalpay/caudal/sinks/sagas"
)

// running is an installation that is up.
type running struct {
	options  Options
	log      *slog.Logger
	registry *prometheus.Registry
	token    string
	parts    *Parts
	workers  workers

	postgres   *postgres.Sink
	clickhouse *clickhouse.Sink
	probe      driver.Conn // of ClickHouse
	sinks      stage
	following  stage // what doors and connectors share, in both directions of a command
	ingress    stage
	measuring  stage
	door       stage // the API and the card feed alone: they close first, while what they call still works
	watching   sync.WaitGroup
	followed   followed
	store      *http.PostgresStore
	checks     []http.Check
	failed     chan error // the first role that ended by itself
}

// component is what every role looks like.
type component interface {
	Run(ctx context.Context) error
}

// stage is a group of roles that start and stop together.
type stage struct {
	cancel context.CancelFunc
	wait   sync.WaitGroup
}

// launch runs components until the stage stops. One that ends by itself ends the installation: it has retried all that
// waiting can mend.
func (in *running) launch(ctx context.Context, s *stage, components map[string]component) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // stages stop in their own order
	s.cancel = cancel
	for name, c := range components {
		s.wait.Go(func() {
			var err error
			pprof.Do(ctx, pprof.Labels("role", name), func(ctx context.Context) { err = c.Run(ctx) })
			if ctx.Err() != nil && err == nil {
				return
			}
			if err == nil {
				err = errors.New("ended by itself")
			}
			in.log.Error("role ended", "role", name, "error", err)
			in.fail(fmt.Errorf("running %s: %w", name, err))
		})
	}
}

// fail ends the installation; the first reason counts.
func (in *running) fail(err error) {
	select {
	case in.failed <- err:
	default:
	}
}

func (s *stage) stop() {
	if s.cancel != nil {
		s.cancel()
		s.wait.Wait()
	}
}

func newRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

func (in *running) partitions() []int32 {
	all := make([]int32, in.options.Partitions)
	for i := range all {
		all[i] = int32(i)
	}
	return all
}

func (in *running) decisionLog(recordsMax int, linger time.Duration) decisionlog.Config {
	return decisionlog.Config{
		Brokers: in.parts.Brokers, Partitions: in.partitions(), RecordsMax: recordsMax, Linger: linger,
		Logger: in.log, Registry: in.registry,
	}
}

func (in *running) startSinks(ctx context.Context) (err error) {
	in.postgres, err = postgres.New(postgres.Config{
		DSN: in.parts.Postgres, Config: in.decisionLog(postgres.DefaultRecordsMax, postgres.DefaultLinger),
	})
	if err != nil {
		return err
	}
	in.clickhouse, err = clickhouse.New(clickhouse.Config{
		ClickHouse: *in.parts.ClickHouseOptions,
		Config:     in.decisionLog(clickhouse.DefaultRecordsMax, clickhouse.DefaultLinger),
	})
	if err != nil {
		return err
	}
	probe, err := ch.Open(in.parts.ClickHouseOptions)
	if err != nil {
		return fmt.Errorf("opening ClickHouse: %w", err)
	}
	in.probe = probe
	in.checks = append(in.checks, http.Check{Name: "postgres", Ready: in.postgres.Ready}, http.Check{Name: "clickhouse", Ready: in.clickhouseReady})
	stuck, err := sagas.NewWatcher(sagas.Config{DSN: in.parts.Postgres, Every: sagas.DefaultEvery, Logger: in.log, Registry: in.registry})
	if err != nil {
		return err
	}
	components := map[string]component{"postgres sink": in.postgres, "clickhouse sink": in.clickhouse, "stuck sagas": stuck}
	if in.options.Rails != "" {
		connectors, err := in.connectors()
		if err != nil {
			return err
		}
		for name, runner := range connectors {
			in.checks = append(in.checks, http.Check{Name: name, Ready: runner.Ready})
			components[name] = runner
		}
	}
	in.launch(ctx, &in.sinks, components)
	return nil
}

// connectors execute the orders of payments by card and by bank. They are part of the sinks: what leaves the house.
func (in *running) connectors() (map[string]*cards.Runner, error) {
	f := in.followed
	config := cards.DefaultConfig()
	config.Brokers, config.Partitions, config.Instance, config.Open = in.parts.Brokers, in.options.Partitions, "up", f.sealer.Open
	config.Disputes = &rails.Teller{PayIns: in.store, Commands: f.commands, Accounts: f.accounts, Pins: f.pins, Hash: f.sealer.AppendBodyHash, Now: time.Now}
	config.Logger, config.Registry = in.log, in.registry
	configs, err := rails.Load(in.options.Rails, config)
	if err != nil {
		return nil, err
	}
	runners := map[string]*cards.Runner{}
	for method, config := range configs {
		if runners[method+" connectors"], err = cards.New(config); err != nil {
			return nil, err
		}
	}
	return runners, nil
}

// followed is what doors and connectors follow in memory, and the producer they share.
type followed struct {
	commands *producer.Producer
	accounts *directory.Directory
	pins     *reference.Follower
	sealer   *seal.Keyring
}

// known are what a door has to have read before it can tell what is not there.
func (f *followed) known(issued *directory.Cards) []func() error {
	return []func() error{f.accounts.Ready, issued.Ready, f.pins.Ready}
}

// startFollowing starts what stands between the log and those who write commands: doors, and connectors that are told of disputes.
func (in *running) startFollowing(ctx context.Context) (err error) {
	brokers, f := in.parts.Brokers, &in.followed
	config := producer.DefaultConfig()
	config.Brokers, config.ReplyPartition, config.Log = brokers, in.options.ReplyPartition, in.log
	if f.commands, err = producer.New(config, in.registry); err != nil {
		return err
	}
	if f.accounts, err = directory.New(directory.Config{Brokers: brokers, Log: in.log}, in.registry); err != nil {
		return err
	}
	if f.pins, err = reference.NewFollower(reference.Config{Brokers: brokers, Log: in.log}); err != nil {
		return err
	}
	if f.sealer, err = seal.LoadOrCreate(filepath.Join(in.options.Data, sealFile)); err != nil {
		return err
	}
	if in.store, err = http.OpenPostgresStore(ctx, in.parts.Postgres); err != nil {
		return err
	}
	in.checks = append(in.checks, http.Check{Name: "broker", Ready: f.commands.Ready}, http.Check{Name: "reads", Ready: in.store.Ready},
		http.Check{Name: "directory", Ready: f.accounts.Ready}, http.Check{Name: "reference data", Ready: f.pins.Ready})
	in.launch(ctx, &in.following, map[string]component{"producer": f.commands, "directory": f.accounts, "reference data": f.pins})
	return nil
}

func (in *running) startIngress(ctx context.Context) error {
	f := in.followed
	issued, err := directory.NewCards(directory.Config{Brokers: in.parts.Brokers, Log: in.log}, in.registry)
	if err != nil {
		return err
	}
	ticks, err := ticker.New(ticker.Config{Brokers: in.parts.Brokers, Partitions: in.options.Partitions, Log: in.log}, in.registry)
	if err != nil {
		return err
	}
	keys, err := http.LoadKeys(filepath.Join(in.options.Data, keysFile))
	if err != nil {
		return err
	}
	if !keys.Knows(in.token) { // who has written keys of their own has no use for it
		in.token = ""
	}
	if in.parts.broker != nil {
		in.checks = append(in.checks, http.Check{Name: "embedded broker", Ready: in.parts.broker.Ready})
	}
	in.checks = append(in.checks, http.Check{Name: "cards", Ready: issued.Ready})
	hooks, err := in.webhooks(f.sealer)
	if err != nil {
		return err
	}
	doors := map[string]component{}
	if in.options.CardFeed.Address != "" {
		feed, err := in.cardFeed(f, issued)
		if err != nil {
			return err
		}
		doors["card feed"] = served{feed, in.options.CardFeed.listener}
		in.checks = append(in.checks, http.Check{Name: "card feed", Ready: feed.Ready})
	}
	doors["api"], err = http.New(http.Config{Address: in.options.HTTP}, http.Ports{
		Commands: f.commands, Accounts: f.accounts, Cards: issued, Pins: f.pins, Policies: f.pins, Sealer: f.sealer, Store: in.store, Keys: keys, Checks: in.checks,
		Webhooks: hooks, Known: f.known(issued),
		Now: time.Now, Log: in.log, Metrics: in.registry, Gatherer: in.gatherer(ctx),
	})
	if err != nil {
		return err
	}
	in.launch(ctx, &in.ingress, map[string]component{"cards": issued, "ticker": ticks, "webhooks": hooks})
	in.launch(ctx, &in.door, doors)
	return nil
}

// webhooks take what the processors of the file of rails notify. Without a file there is none that may.
func (in *running) webhooks(sealer webhooks.Sealer) (*webhooks.Receiver, error) {
	config := webhooks.DefaultConfig()
	config.Brokers, config.Partitions, config.Sealer = in.parts.Brokers, in.options.Partitions, sealer
	config.Log, config.Registry = in.log, in.registry
	if in.options.Rails != "" {
		var err error
		if config.Processors, err = rails.Webhooks(in.options.Rails); err != nil {
			return nil, err
		}
	}
	return webhooks.New(config)
}

// served is a door that has its listener already.
type served struct {
	door     *iso8583.Server
	listener net.Listener
}

func (s served) Run(ctx context.Context) error { return s.door.Serve(ctx, s.listener) }

// cardFeed is the door of acquirers.
func (in *running) cardFeed(f followed, issued *directory.Cards) (*iso8583.Server, error) {
	config, err := in.options.CardFeed.config()
	if err != nil {
		return nil, err
	}
	return iso8583.New(config, iso8583.Ports{
		Lane: f.commands, Accounts: f.accounts, Cards: issued, Pins: f.pins, Policies: f.pins, Sealer: f.sealer,
		Known: f.known(issued), Now: time.Now, Log: in.log, Metrics: in.registry,
	})
}

// clickhouseReady also asks the server itself: a sink that waits for an answer does not know yet that none will come.
func (in *running) clickhouseReady() error {
	if err := in.clickhouse.Ready(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := in.probe.Ping(ctx); err != nil {
		return fmt.Errorf("reaching clickhouse: %w", err)
	}
	return nil
}

// waitReady returns when every role can do its work. Who waits for long is told what for.
func (in *running) waitReady(ctx context.Context, stderr io.Writer) error {
	limit, long := time.After(2*time.Minute), time.After(10*time.Second)
	for {
		var waiting error
		for _, c := range in.checks {
			if err := c.Ready(); err != nil {
				waiting = errors.Join(waiting, fmt.Errorf("%s: %w", c.Name, err))
			}
		}
		if waiting == nil {
			return nil
		}
		select {
		case err := <-in.failed:
			return err
		case <-ctx.Done():
			return ctx.Err()
		case <-limit:
			return fmt.Errorf("not ready after two minutes: %w", waiting)
		case <-long:
			_, _ = fmt.Fprintf(stderr, "waiting, for two minutes at most, for\n%v\n", waiting) // the terminal may be gone
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// stop ends everything in reverse: nothing new comes in, what is in flight is decided, the stores take what they can.
func (in *running) stop(ctx context.Context) error {
	in.measuring.stop()
	in.door.stop()
	in.ingress.stop()
	in.following.stop()
	if in.store != nil {
		in.store.Close()
	}
	var errs []error
	errs = append(errs, in.workers.stop(ctx))
	in.watching.Wait()
	in.sinks.stop()
	if in.probe != nil {
		errs = append(errs, in.probe.Close())
	}
	if in.parts != nil {
		errs = append(errs, in.parts.Stop(ctx))
	}
	return errors.Join(errs...)
}

func (in *running) welcome(w io.Writer) {
	clickhouse := in.parts.analyst()
	if !in.options.runs(roleIngress) {
		_, _ = fmt.Fprintf(w, "\nUp: %s. Ctrl-C stops it.\n\n  data, logs   %s\n", strings.Join(in.options.Roles, ", "), in.options.Data) // the terminal may be gone
		return
	}
	token, none := "$(cat "+filepath.Join(in.options.Data, tokenFile)+")", "none of "+keysFile+" is in "+tokenFile+": take one that its keeper has given you"
	if in.token == "" {
		token = "TOKEN_OF_YOURS"
	}
	_, _ = fmt.Fprintf(w, `
Up. Ctrl-C stops all of it; the next start goes on with the same data.

  API          http://%[1]s        (openapi.json, readyz, metrics)
  acquirers    %[7]s        (ISO 8583, docs/card-feed.md)
  token        %[2]s
  Postgres     psql '%[3]s'
  ClickHouse   %[4]s
  data, logs   %[5]s

Try it:

  TOKEN=%[6]s
  curl -s http://%[1]s/accounts -H "Authorization: Bearer $TOKEN" -H "Idempotency-Key: open-maria" \
    -H "Content-Type: application/json" \
    -d '{"external_id":"maria-1","customer_id":"maria","kind":"person","currencies":["BRL"],"kyc_level":1,"policy":"standard"}'
  curl -s http://%[1]s/payins -H "Authorization: Bearer $TOKEN" -H "Idempotency-Key: in-1" \
    -H "Content-Type: application/json" \
    -d '{"account_id":"ACCOUNT_ID","amount":15000,"currency":"BRL","method":{"type":"cash"},"reference":"first deposit"}'
`, in.options.HTTP, cmp.Or(in.token, none), in.parts.Postgres, clickhouse, in.options.Data, token, cmp.Or(in.options.CardFeed.Address, "closed")) // the terminal may be gone
	if in.parts.clickhouse != nil { // who has given one knows how to ask it
		_, _ = fmt.Fprintf(w, "  curl -s '%s' --data-binary \"SELECT kind, outcome, count() FROM payment_facts GROUP BY ALL ORDER BY ALL FORMAT PrettyCompact\"\n", clickhouse) // likewise
	}
}
