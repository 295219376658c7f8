package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	ch "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/caudalpay/caudal/cmd/caudal/rig"
	"github.com/caudalpay/caudal/sinks/audit"
)

// Options of `caudal bench`.
type Options struct {
	Pairs    int
	Seconds  float64 // of each half of a pair
	Only     []string
	Accounts int
	Report   string // folder of the markdown; empty: none
	What     string // ends its name
	Work     string // folder of the data; empty: a temporary one, removed at the end
	Brokers  []string
	Quick    bool
	Profile  string // folder of profiles; empty: none
	Output   string // table or json
	Command  string // as it was called
}

// Validate says what cannot be meant.
func (o *Options) Validate() error {
	if o.Quick {
		o.Pairs, o.Seconds, o.Accounts = 2, 2, 1000
	}
	var errs []error
	if o.Pairs < 1 || o.Seconds <= 0 || o.Accounts < 10 {
		errs = append(errs, fmt.Errorf("%d pairs of %v s with %d accounts measure nothing", o.Pairs, o.Seconds, o.Accounts))
	}
	for _, id := range o.Only {
		if _, ok := targets()[strings.ToUpper(id)]; !ok {
			errs = append(errs, fmt.Errorf("--only %s: choose from P1, P3, P4, P8, P9, P13", id))
		}
	}
	if o.Output != "table" && o.Output != "json" {
		errs = append(errs, fmt.Errorf("-o %q: choose table or json", o.Output))
	}
	return errors.Join(errs...)
}

// bench is one run of the command.
type bench struct {
	options Options
	house   *system
	load    *workload
	report  *Report
	stderr  io.Writer
	most    float64 // P1's drained maximum
	samples samples
	passing int64 // records of the pass-through's input

	accepted, finals, repeats int64
}

func (b *bench) duration() time.Duration {
	return time.Duration(b.options.Seconds * float64(time.Second))
}
func (b *bench) warmUp() time.Duration { return min(2*time.Second, b.duration()) }

func (b *bench) say(format string, args ...any) { sayTo(b.stderr, format, args...) }

func sayTo(w io.Writer, format string, args ...any) {
	_, _ = fmt.Fprintf(w, "%s  "+format+"\n", append([]any{time.Now().UTC().Format(time.TimeOnly)}, args...)...) // the terminal may be gone
}

// Run measures what the options ask for and reports. It fails where the books do not close: then no figure counts. A
// missed target is no failure.
func Run(ctx context.Context, o Options, stdout, stderr io.Writer) (err error) {
	if err := o.Validate(); err != nil {
		return err
	}
	if o.Work == "" {
		if o.Work, err = os.MkdirTemp("", "caudal-bench-"); err != nil {
			return fmt.Errorf("making a folder: %w", err)
		}
		if err := os.Chmod(o.Work, 0o755); err != nil { //nolint:gosec // Postgres runs as another user and must enter
			return fmt.Errorf("opening the folder: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(o.Work)) }()
	}
	b := &bench{options: o, samples: newSamples(), stderr: stderr, report: newReport(o), load: &workload{run: fmt.Sprintf("b%d", time.Now().Unix())}}
	defer func() {
		if b.house != nil {
			err = errors.Join(err, b.house.stop())
		}
	}()
	if err := b.all(ctx); err != nil {
		return err
	}
	return b.report.publish(stdout)
}

func (b *bench) all(ctx context.Context) error {
	b.say("starting the house in %s", b.options.Work)
	if err := b.start(ctx); err != nil {
		return err
	}
	b.passing = min(passThroughRecords, int64(200_000*b.options.Seconds))
	if err := b.samples.prepareBaseline(ctx, b.house.Brokers, b.house.Partitions, b.passing); err != nil {
		return err
	}
	if err := b.measureTemperature(ctx); err != nil {
		return err
	}
	b.say("opening %d accounts", b.options.Accounts)
	began := time.Now()
	if _, err := b.watched(ctx, func(ctx context.Context, _ *load) (int64, error) {
		return b.load.open(ctx, b.house, b.options.Accounts)
	}); err != nil {
		return fmt.Errorf("opening accounts: %w", err)
	}
	b.report.OpenPerSecond = float64(b.options.Accounts) / time.Since(began).Seconds()
	if chosen(b.options.Only, "P1", "P8", "P9", "P13") {
		if err := b.whole(ctx); err != nil {
			return err
		}
	}
	if err := b.measureTemperature(ctx); err != nil {
		return err
	}
	if err := b.prove(ctx); err != nil {
		return err
	}
	if chosen(b.options.Only, "P3", "P4") {
		b.say("starting again with the ingress alone")
		if err := b.house.stop(); err != nil {
			return fmt.Errorf("stopping the house: %w", err)
		}
		b.house = nil
		if err := b.start(ctx, "--roles", "ingress"); err != nil {
			return err
		}
		if err := b.door(ctx); err != nil {
			return err
		}
		return b.measureTemperature(ctx)
	}
	return nil
}

func (b *bench) start(ctx context.Context, flags ...string) (err error) {
	if len(b.options.Brokers) > 0 {
		flags = append(flags, "--brokers", strings.Join(b.options.Brokers, ","))
	}
	if b.options.Profile != "" {
		address, err := rig.FreeAddress(ctx)
		if err != nil {
			return err
		}
		b.report.pprof = "http://" + address
		flags = append(flags, "--pprof", address)
	}
	b.house, err = startSystem(ctx, filepath.Join(b.options.Work, "house"), flags...)
	return err
}

func (b *bench) whole(ctx context.Context) error {
	if err := b.throughput(ctx); err != nil {
		return err
	}
	if chosen(b.options.Only, "P8", "P9") {
		if err := b.latency(ctx); err != nil {
			return err
		}
	}
	return b.redeliver(ctx)
}

// pairs runs baseline and system in the order A B B A A B B A ..., so that a drift of the machine hits both.
func (b *bench) pairs(id string, baseline, system func() (float64, error)) (base, own []float64, err error) {
	for i := range b.options.Pairs {
		var x, y float64
		if i%2 == 0 {
			if x, err = baseline(); err == nil {
				y, err = system()
			}
		} else {
			if y, err = system(); err == nil {
				x, err = baseline()
			}
		}
		if err != nil {
			return nil, nil, fmt.Errorf("measuring %s, pair %d: %w", id, i+1, err)
		}
		base, own = append(base, x), append(own, y)
		b.say("%s pair %d of %d: %.0f/s over %.0f/s = %.2f %%", id, i+1, b.options.Pairs, y, x, 100*y/x)
	}
	return base, own, nil
}

// prove is `caudal verify`, strict: no figure counts before the books close.
func (b *bench) prove(ctx context.Context) error {
	b.say("proving the books")
	options, err := ch.ParseDSN(b.house.ClickHouse)
	if err != nil {
		return fmt.Errorf("reading the ClickHouse address: %w", err)
	}
	var report audit.Report
	// A tick of the minute may fall between the reading of the log and of a store; a second proof then finds it there.
	for range 3 {
		report, err = audit.Verify(ctx, audit.Config{
			Brokers: b.house.Brokers, Partitions: b.house.Partitions, PostgresDSN: b.house.Postgres, ClickHouse: options,
			Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			return fmt.Errorf("proving the books: %w", err)
		}
		if report.Err() == nil {
			b.report.BooksClosed = true
			b.report.Accepted, b.report.Finals = b.accepted, b.finals
			return nil
		}
	}
	return report.Err()
}
