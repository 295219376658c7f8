package bench

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/broker"
	"github.com/caudalpay/caudal/streams/engine/enginebench"
	"github.com/caudalpay/caudal/streams/streamtest/kafkad"
)

// The work that contestants are compared on.
const (
	enginePartitions = 8
	commitInterval   = 50 * time.Millisecond
	fewKeys          = 10_000
	manyKeys         = 300_000
	// backlogPerSecond is more than any contestant has been seen to do on two cores; a backlog that ends early only shortens
	// the turn of the fastest.
	backlogPerSecond = 700_000
)

// EngineOptions of `caudal bench engine`.
type EngineOptions struct {
	Pairs   int
	Seconds float64 // of each turn
	Only    []string
	Report  string // folder of the markdown; empty: none
	What    string // ends its name
	Work    string // folder of the broker and the logs; empty: a temporary one, removed at the end
	Brokers []string
	Kafka   int // brokers of an Apache Kafka of its own; 0: kfake
	Quick   bool
	Rate    float64 // of half load, records/s; 0: half of what the engine is found to sustain
	Profile string  // folder of profiles; empty: none
	Output  string  // table or json
	Command string  // as it was called
	Streams string  // folder of the Kafka Streams application
}

// Latency and sweep are measured beside the targets that have a number.
const (
	idLatency = "latency"
	idSweep   = "sweep"
)

func engineTargets() map[string]target {
	return map[string]target{
		"P5":   {"engine over stock Goka, storage in memory, 10 k keys", times, 2, 3, 4.5},
		"P5L":  {"engine over stock Goka, LevelDB (its default), 10 k keys", times, 3, 4.5, 7},
		"P5T":  {what: "engine over tuned Goka, storage in memory, 10 k keys", unit: times},
		"P5M":  {"engine over stock Goka, storage in memory, 300 k keys", times, 2, 3, 4.5},
		"P5ML": {"engine over stock Goka, LevelDB, 300 k keys", times, 3, 4.5, 7},
		"P10":  {"hot account (70 % of all on one key) over uniform keys", percent, 25, 40, 60},
		"P11":  {"restore of state, records/s, over raw consume of the same changelog", percent, 30, 50, 70},
		"P14":  {"kill -9 of the processor at half load until lag is normal", "s", 30, 10, 5},
		"P15":  {"resident memory per million keys with ten side records each, these on disk, as the house keeps them", "MB", 2000, 1000, 500},
		"P15M": {what: "the same, all of it in memory", unit: "MB"},
		"P16":  {"engine, two sessions, over Kafka Streams with exactly_once_v2, its best setting", times, 1.3, 2, 3},
	}
}

func engineIDs() []string {
	return []string{"P5", "P10", "P11", "P14", "P15", "P16", idLatency, idSweep}
}

// Validate says what cannot be meant, and fills in what is measured where nothing is named.
func (o *EngineOptions) Validate() error {
	if o.Quick {
		o.Pairs, o.Seconds = 2, 2
	}
	var errs []error
	if o.Pairs < 1 || o.Seconds < 1 {
		errs = append(errs, fmt.Errorf("%d pairs of %v s measure nothing: one pair of 1 s is the least", o.Pairs, o.Seconds))
	}
	if o.Rate < 0 {
		errs = append(errs, fmt.Errorf("--rate %v: records a second, or none to have it found", o.Rate))
	}
	for _, id := range o.Only {
		if !slices.ContainsFunc(engineIDs(), func(known string) bool { return strings.EqualFold(id, known) }) {
			errs = append(errs, fmt.Errorf("--only %s: choose from %s", id, strings.Join(engineIDs(), ", ")))
		}
	}
	if !slices.Contains([]int{0, 1, 3}, o.Kafka) {
		errs = append(errs, fmt.Errorf("--kafka %d: choose 1 or 3 brokers", o.Kafka))
	}
	if o.Kafka > 0 && len(o.Brokers) > 0 {
		errs = append(errs, errors.New("--kafka starts brokers and --brokers names others: choose one"))
	}
	if o.Output != "table" && o.Output != "json" {
		errs = append(errs, fmt.Errorf("-o %q: choose table or json", o.Output))
	}
	if len(o.Only) == 0 {
		// Kafka Streams needs Apache Kafka; what memory the state takes does not depend on the broker.
		o.Only = []string{"P5", "P10", "P11", "P14", "P15", idLatency}
		if o.Kafka > 0 || len(o.Brokers) > 0 {
			o.Only = []string{"P16", "P5", "P10", "P11", "P14", idLatency}
		}
	}
	if chosen(o.Only, "P16") && o.Kafka == 0 && len(o.Brokers) == 0 {
		errs = append(errs, errors.New("P16 is measured on Apache Kafka: add --kafka 1, --kafka 3 or --brokers"))
	}
	return errors.Join(errs...)
}

// contest is one run of the command.
type contest struct {
	options     EngineOptions
	report      *EngineReport
	stderr      io.Writer
	samples     samples
	brokers     []string
	brokerPIDs  []int // none: they are not ours
	replication int16
	client      *kgo.Client
	admin       *kadm.Client
	serial      int
	staying     map[string]*rival
	app         *streamsApp // nil: P16 is not measured
	uniform     *backlog    // 10 k keys
	rate        float64     // of the engine, once known
	half        float64     // load for latency and P14, records/s, once known
}

// ServeContestant is the process of a contestant.
func ServeContestant(ctx context.Context, name string) error {
	return enginebench.Serve(ctx, name, os.Stdin, os.Stdout)
}

// RunEngine measures the engine against others, and reports. It fails where a contestant's results are wrong: then no figure
// of it counts, and where it is the engine itself, none at all. A missed target is no failure.
func RunEngine(ctx context.Context, o EngineOptions, stdout, stderr io.Writer) (err error) {
	if err := o.Validate(); err != nil {
		return err
	}
	if o.Work == "" {
		if o.Work, err = os.MkdirTemp("", "caudal-bench-engine-"); err != nil {
			return fmt.Errorf("making a folder: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(o.Work)) }()
	}
	c := &contest{options: o, stderr: stderr, samples: newSamples(), staying: map[string]*rival{}, report: newEngineReport(o)}
	if chosen(o.Only, "P16") { // what is missing is better known before all else is measured
		if c.app, err = c.installStreams(ctx); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel() // contestants that are left end with it
		for _, r := range c.staying {
			r.close()
		}
	}()
	stop, err := c.startBroker(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	if c.client, err = kgo.NewClient(kgo.SeedBrokers(c.brokers...), kgo.MetadataMinAge(metadataMinAge)); err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	defer c.client.Close()
	c.admin = kadm.NewClient(c.client)
	if err := c.all(ctx); err != nil {
		return err
	}
	c.report.Seconds = time.Since(c.report.At).Seconds()
	if err := c.report.publish(stdout); err != nil {
		return err
	}
	if len(c.report.Void) > 0 {
		return fmt.Errorf("contestants are out, and their figures with them: %s", strings.Join(c.report.Void, "; "))
	}
	return nil
}

// onFake tells whether the broker is kfake.
func (c *contest) onFake() bool { return c.options.Kafka == 0 && len(c.options.Brokers) == 0 }

func (c *contest) say(format string, args ...any) { sayTo(c.stderr, format, args...) }

func (c *contest) length() time.Duration {
	return time.Duration(c.options.Seconds * float64(time.Second))
}

// span of an ordinary turn. The first second takes in the keys and fills caches.
func (c *contest) span() span { return span{warm: time.Second, length: c.length()} }

// startBroker starts what the options ask for, in processes of its own.
func (c *contest) startBroker(ctx context.Context) (stop func() error, err error) {
	c.replication = 1
	switch {
	case len(c.options.Brokers) > 0:
		c.brokers = c.options.Brokers
		c.replication = -1 // as the cluster has it
		return func() error { return nil }, nil
	case c.options.Kafka > 0:
		cluster, err := kafkad.Start(ctx, kafkad.Config{Dir: filepath.Join(c.options.Work, "kafka"), Brokers: c.options.Kafka, Progress: c.stderr})
		if err != nil {
			return nil, fmt.Errorf("starting Apache Kafka: %w", err)
		}
		c.brokers, c.replication = cluster.Addrs(), int16(c.options.Kafka) //nolint:gosec // 1 or 3
		c.brokerPIDs, err = kafkaChildren()
		return func() error { cluster.Kill(); return nil }, err
	default:
		server, err := broker.Start(ctx, broker.Config{Data: filepath.Join(c.options.Work, "broker")})
		if err != nil {
			return nil, fmt.Errorf("starting the broker: %w", err)
		}
		c.brokers, c.brokerPIDs = server.Addrs(), []int{server.PID()}
		return func() error {
			ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
			defer cancel()
			return server.Stop(ending)
		}, nil
	}
}

// kafkaChildren are the brokers among the children of this process.
func kafkaChildren() (pids []int, err error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("reading /proc: %w", err)
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if parent, _, err := ticksOf(pid); err != nil || parent != os.Getpid() {
			continue
		}
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err == nil && bytes.Contains(line, []byte("kafka.Kafka")) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// createTopics creates topics and waits until all their partitions answer: creation goes on behind the broker's answer.
func (c *contest) createTopics(ctx context.Context, partitions int32, names ...string) error {
	made, err := c.admin.CreateTopics(ctx, partitions, c.replication, nil, names...)
	if err == nil {
		err = made.Error()
	}
	if err != nil {
		return fmt.Errorf("creating topics %v: %w", names, err)
	}
	for until := time.Now().Add(readyLimit); ; time.Sleep(sampleEvery) {
		ends, err := c.admin.ListEndOffsets(ctx, names...)
		if err == nil {
			err = ends.Error()
		}
		answering := 0
		ends.Each(func(kadm.ListedOffset) { answering++ })
		if err == nil && answering == int(partitions)*len(names) {
			return nil
		}
		if err := cmp.Or(ctx.Err(), err); time.Now().After(until) || ctx.Err() != nil {
			return fmt.Errorf("waiting for topics %v: %w", names, err)
		}
	}
}

// all measures what was chosen. The broker and the machine are warm before the first figure.
func (c *contest) all(ctx context.Context) (err error) {
	few := int64(backlogPerSecond * (c.options.Seconds + 1))
	if c.uniform, err = c.fill(ctx, "uniform", enginePartitions, fewKeys, uniform(fewKeys), few); err != nil {
		return err
	}
	if err := c.createTopics(ctx, enginePartitions, rawOut); err != nil {
		return err
	}
	c.say("warming up")
	warm, err := c.turn(ctx, native(enginebench.Engine, "this engine"), c.uniform, span{warm: time.Second, length: min(c.length(), 4*time.Second)})
	if err != nil {
		return err
	}
	c.rate = warm.Rate
	if err := c.temperature(ctx); err != nil {
		return err
	}
	for _, part := range []struct {
		ids     []string
		measure func(context.Context) error
	}{
		{[]string{"P5", "P10", "P16"}, c.throughput},
		{[]string{"P5"}, c.manyKeys},
		{[]string{"P11"}, c.restore},
		{[]string{"P14", idLatency}, c.halfLoad},
		{[]string{"P15"}, c.memory},
		{[]string{idSweep}, c.sweep},
	} {
		if chosen(c.options.Only, part.ids...) {
			if err := part.measure(ctx); err != nil {
				return err
			}
		}
	}
	if err := c.profile(ctx); err != nil {
		return err
	}
	return c.temperature(ctx)
}

// temperature is a second of raw produce and the load of the machine.
func (c *contest) temperature(ctx context.Context) error {
	t := Temperature{At: time.Now().UTC(), Load: loadAverage()}
	var err error
	if t.ProducePerS, err = c.samples.produceFor(ctx, c.brokers, rawOut, time.Second, 1<<40); err != nil {
		return err
	}
	c.report.Temperatures = append(c.report.Temperatures, t)
	c.say("thermometer: %.0f raw records/s, load %s", t.ProducePerS, t.Load)
	return nil
}

// profile takes one of the engine at full load.
func (c *contest) profile(ctx context.Context) error {
	if c.options.Profile == "" {
		return nil
	}
	c.say("profiling the engine")
	if err := os.MkdirAll(c.options.Profile, 0o755); err != nil { //nolint:gosec // documents
		return fmt.Errorf("making the folder of profiles: %w", err)
	}
	file, err := filepath.Abs(filepath.Join(c.options.Profile, "engine.pprof"))
	if err != nil {
		return fmt.Errorf("naming the profile: %w", err)
	}
	s := c.span()
	s.profile = file
	if _, err := c.turn(ctx, native(enginebench.Engine, "this engine, profiled"), c.uniform, s); err != nil {
		return err
	}
	c.report.Profiles = append(c.report.Profiles, Profile{Part: "the engine at full load", Top: showProfile(ctx, file, "-top")})
	return nil
}

func number(notes url.Values, name string) float64 {
	n, err := strconv.ParseFloat(notes.Get(name), 64)
	if err != nil {
		return 0
	}
	return n
}
