package up

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	dto "github.com/prometheus/client_model/go"
	"golang.org/x/sync/errgroup"

	"github.com/caudalpay/caudal/cmd/caudal/client"
	"github.com/caudalpay/caudal/cmd/caudal/importer"
	"github.com/caudalpay/caudal/cmd/caudal/observe"
	"github.com/caudalpay/caudal/cmd/caudal/progress"
	"github.com/caudalpay/caudal/cmd/caudal/sample"
	"github.com/caudalpay/caudal/sinks/audit"
	"github.com/caudalpay/caudal/sinks/decisionlog"
)

// drainLimit is how long a load may take to be decided and stored after the last acknowledgement.
const drainLimit = 10 * time.Minute

// load sends the sample day or the file through the front door, waits until both stores hold everything, proves the
// books, and prints the summary. It reports whether the books close.
func (in *running) load(ctx context.Context, stdout, stderr io.Writer) (closed bool, err error) {
	marker := filepath.Join(in.options.Data, fmt.Sprintf("sample-%d.loaded", in.options.Seed))
	if _, err := os.Stat(marker); err == nil && in.options.Sample && !in.options.Once {
		_, _ = fmt.Fprintln(stderr, "the sample day of this seed was loaded before; nothing to load") // the terminal may be gone
		return true, nil
	}
	observer, err := observe.New(ctx, in.parts.Brokers)
	if err != nil {
		return false, err
	}
	watching, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	watch, watching := errgroup.WithContext(watching)
	watch.Go(func() error { return observer.Run(watching) })

	before := in.acknowledged()
	began := time.Now()
	var s Summary
	if in.options.Sample {
		err = in.loadSample(ctx, stderr, &s)
	} else {
		err = in.loadFile(ctx, stderr, &s)
	}
	if err != nil {
		return false, err
	}
	s.Accepted = in.acknowledged() - before
	if err := in.drain(ctx, observer, s.Accepted); err != nil {
		return false, err
	}
	s.Seconds = time.Since(began).Seconds()
	stopWatching()
	if err := watch.Wait(); err != nil {
		return false, err
	}
	s.take(observer.Snapshot())
	s.PerSecond = float64(s.Decided) / s.Seconds
	s.P50MS, s.P99MS = milliseconds(observer.Quantile(50)), milliseconds(observer.Quantile(99))
	report, err := in.prove(ctx, stderr)
	if err != nil {
		return false, err
	}
	s.Dead, s.Parked, s.TransitMinor = report.Dead, report.Parked, report.TransitMinor
	s.Balanced = report.Balanced
	s.PostgresEqual = report.PostgresEqual != nil && *report.PostgresEqual
	s.ClickHouseEqual = report.ClickHouseEqual != nil && *report.ClickHouseEqual
	if report.FirstDifference != nil {
		_, _ = fmt.Fprintln(stderr, "first difference:", report.FirstDifference) // the terminal may be gone
	}
	if in.options.Sample {
		if err := writeFile(marker, nil); err != nil {
			return false, fmt.Errorf("marking the sample day as loaded: %w", err)
		}
	}
	return s.Closed(), s.print(stdout, in.options.Output)
}

func (in *running) loadSample(ctx context.Context, stderr io.Writer, s *Summary) error {
	day := sample.Plan(in.options.Seed)
	bar := progress.New(stderr, "sample day", "commands", int64(day.Commands()))
	api := client.New("http://"+in.options.HTTP, in.token, 128)
	defer api.Close()
	loaded, err := sample.Load(ctx, api, day, bar.Add)
	if err != nil {
		return err
	}
	s.Refused = loaded.Refused
	bar.Finish()
	return nil
}

func (in *running) loadFile(ctx context.Context, stderr io.Writer, s *Summary) error {
	result, err := importer.Run(ctx, importer.Options{
		File: in.options.Import, Mapping: in.options.Mapping, URL: "http://" + in.options.HTTP, Token: in.token, Progress: stderr,
	})
	if err != nil {
		return err
	}
	s.RejectedRows = int64(result.Rejected)
	return nil
}

// drain returns when everything acknowledged is decided, no transfer is under way, and both stores hold all decisions.
func (in *running) drain(ctx context.Context, o *observe.Observer, accepted int64) error {
	ctx, cancel := context.WithTimeoutCause(ctx, drainLimit, errors.New("not drained in time"))
	defer cancel()
	for {
		if c := o.Snapshot(); c.Decided >= accepted && c.InTransit == 0 {
			break
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case err := <-in.failed:
			return err
		case <-ctx.Done():
			c := o.Snapshot()
			return fmt.Errorf("waiting for decisions (%d accepted, %d decided, %d transfers under way): %w", accepted, c.Decided, c.InTransit, context.Cause(ctx))
		}
	}
	ends, err := decisionlog.Ends(ctx, in.parts.Brokers)
	if err != nil {
		return err
	}
	if err := in.postgres.Drained(ctx, ends); err != nil {
		return fmt.Errorf("waiting for Postgres: %w", err)
	}
	if err := in.clickhouse.Drained(ctx, ends); err != nil {
		return fmt.Errorf("waiting for ClickHouse: %w", err)
	}
	return nil
}

// prove audits while ticks go on: what is decided meanwhile may not be in the stores yet, so lag is allowed.
func (in *running) prove(ctx context.Context, stderr io.Writer) (audit.Report, error) {
	report, err := audit.Verify(ctx, audit.Config{
		Brokers: in.parts.Brokers, Partitions: in.options.Partitions, PostgresDSN: in.parts.Postgres,
		ClickHouse: in.parts.ClickHouseOptions, AllowLag: true, Logger: in.log,
		Progress: progress.New(stderr, "proving the books", "records", progress.Unknown).Set,
	})
	if err != nil {
		return report, fmt.Errorf("proving the books: %w", err)
	}
	return report, nil
}

// acknowledged reads the producer's own count of commands the broker has acknowledged.
func (in *running) acknowledged() int64 {
	families, err := in.registry.Gather()
	if err != nil {
		in.log.Error("reading own metrics", "error", err)
	}
	for _, f := range families {
		if f.GetName() != "caudal_ingest_commands_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			if labelled(m, "outcome", "acknowledged") {
				return int64(m.GetCounter().GetValue())
			}
		}
	}
	return 0
}

func labelled(m *dto.Metric, name, value string) bool {
	for _, l := range m.GetLabel() {
		if l.GetName() == name && l.GetValue() == value {
			return true
		}
	}
	return false
}
