package bench

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/streams/engine/enginebench"
)

func newContest(t *testing.T) *contest {
	t.Helper()
	fake, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.Close)
	c := &contest{
		options: EngineOptions{Work: t.TempDir()}, stderr: io.Discard, samples: newSamples(), brokers: fake.ListenAddrs(), replication: 1,
		staying: map[string]*rival{},
	}
	if c.client, err = kgo.NewClient(kgo.SeedBrokers(c.brokers...)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.client.Close)
	c.admin = kadm.NewClient(c.client)
	return c
}

// left is what a contestant leaves behind, to be spoilt.
type left struct {
	outputs, counters []*kgo.Record
	done              map[int32]int64
}

// TestAuditNoticesWhatIsWrong: a rate of a contestant that loses or doubles work must not count.
func TestAuditNoticesWhatIsWrong(t *testing.T) {
	const keys, records, partitions = 20, 2_000, 2
	for name, test := range map[string]struct {
		spoil func(l *left)
		tells string // empty: nothing is wrong
	}{
		"nothing":              {func(*left) {}, ""},
		"an output is missing": {func(l *left) { l.outputs = l.outputs[1:] }, "outputs of 1 keys are wrong, 1 missing and 0 too many"},
		"an output is there twice": {func(l *left) {
			again := *l.outputs[0]
			l.outputs = append(l.outputs, &again)
		}, "0 missing and 1 too many"},
		"a counter stayed behind":   {func(l *left) { l.counters[3].Value = binary.BigEndian.AppendUint64(nil, 1) }, "counters of 1 keys are wrong"},
		"a counter is missing":      {func(l *left) { l.counters = l.counters[1:] }, "counters of 1 keys are wrong"},
		"a counter is no counter":   {func(l *left) { l.counters[0].Value = []byte("seven") }, "a counter of 5 bytes"},
		"less is committed":         {func(l *left) { l.done[1]-- }, "too many"},
		"a commit beyond the input": {func(l *left) { l.done[0]++ }, "is committed, and it holds"},
		"an output of another key":  {func(l *left) { l.outputs[0].Key = []byte("intruder") }, "no key of ours"},
		"an output is cut short":    {func(l *left) { l.outputs[0].Value = []byte("short") }, "has 5 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newContest(t)
			b, err := c.fill(t.Context(), "in", partitions, keys, uniform(keys), records)
			if err != nil {
				t.Fatal(err)
			}
			e := native(enginebench.Engine, "test")
			w, err := c.work(t.Context(), e, b)
			if err != nil {
				t.Fatal(err)
			}
			l := right(b, w)
			test.spoil(l)
			l.write(t, c, w)
			n, err := c.audit(t.Context(), e, w, b)
			switch {
			case test.tells == "" && (err != nil || n != records):
				t.Errorf("%d records, %v", n, err)
			case test.tells != "" && (err == nil || !strings.Contains(err.Error(), test.tells)):
				t.Errorf("it tells %v, not %q", err, test.tells)
			}
		})
	}
}

// right is what must come of a backlog.
func right(b *backlog, w enginebench.Work) *left {
	l := &left{done: map[int32]int64{}}
	counts := map[int]uint64{}
	for p, keys := range b.sequence {
		l.done[int32(p)] = int64(len(keys))
		for _, key := range keys {
			counts[int(key)]++
			l.outputs = append(l.outputs, &kgo.Record{Topic: w.Output(), Key: b.space.text[key], Value: make([]byte, recordBytes)})
		}
	}
	for key, n := range counts {
		l.counters = append(l.counters, &kgo.Record{Topic: w.Table(), Key: b.space.text[key], Value: binary.BigEndian.AppendUint64(nil, n)})
	}
	return l
}

func (l *left) write(t *testing.T, c *contest, w enginebench.Work) {
	t.Helper()
	if err := c.client.ProduceSync(t.Context(), append(l.outputs, l.counters...)...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	offsets := kadm.Offsets{}
	for p, at := range l.done {
		offsets.AddOffset(w.Input, p, at, -1)
	}
	if err := c.admin.CommitAllOffsets(t.Context(), w.Group, offsets); err != nil {
		t.Fatal(err)
	}
}

// TestTurnTime: what counts is the time between two changes of the committed offsets.
func TestTurnTime(t *testing.T) {
	at := time.Now()
	var turn Turn
	if err := turn.take([]sample{
		{at: at, done: 1_000, own: 10, broker: 5}, {at: at.Add(time.Second), done: 2_000, own: 60, broker: 6}, {at: at.Add(2 * time.Second), done: 5_000, own: 210, broker: 25},
	}); err != nil {
		t.Fatal(err)
	}
	if turn.Rate != 2_000 || turn.Seconds != 2 || turn.Own != 500 || turn.Broker != 50 {
		t.Errorf("%+v", turn)
	}
	if err := turn.take([]sample{{at: at, done: 7}, {at: at.Add(time.Second), done: 7}}); err == nil {
		t.Error("a turn in which nothing was committed counts")
	}
}

func TestBacklogsAreTheSameInEveryRun(t *testing.T) {
	c := newContest(t)
	first, err := c.fill(t.Context(), "a", 4, 100, hot(100), 5_000)
	if err != nil {
		t.Fatal(err)
	}
	again, err := c.fill(t.Context(), "b", 4, 100, hot(100), 5_000)
	if err != nil {
		t.Fatal(err)
	}
	ends, err := c.admin.ListEndOffsets(context.WithoutCancel(t.Context()), first.topic)
	if err != nil {
		t.Fatal(err)
	}
	done := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) { done[o.Partition] = o.Offset })
	x, err1 := first.expected(done)
	y, err2 := again.expected(done)
	if err1 != nil || err2 != nil || differ("keys", x, y) != nil {
		t.Fatalf("%v %v %v", err1, err2, differ("keys", x, y))
	}
	var all uint64
	for _, n := range x {
		all += n
	}
	if share := float64(x[0]) / float64(all); all != 5_000 || share < 0.65 || share > 0.75 {
		t.Errorf("%d records, %.2f of them with the hot key", all, share)
	}
}

func TestStampsAreRead(t *testing.T) {
	meant := time.Unix(1_800_000_000, 123_456_789)
	value := stamp(newSamples().values[7], meant)
	if got, err := stamped(value); err != nil || !got.Equal(meant) || len(value) != recordBytes {
		t.Errorf("%v, %v, %d bytes", got, err, len(value))
	}
}

// TestOnlyTheWindowCounts: what was meant to be sent in it, however late it comes.
func TestOnlyTheWindowCounts(t *testing.T) {
	o, value := newObserver(), newSamples().values[0]
	at := func(ms int64) time.Time { return time.UnixMilli(1_800_000_000_000 + ms) }
	note := func(meant, seen int64) {
		t.Helper()
		if err := o.note(stamp(value, at(meant)), at(seen)); err != nil {
			t.Fatal(err)
		}
	}
	note(0, 9_000) // no window yet
	o.from.Store(at(1_000).UnixNano())
	note(999, 9_000)
	note(1_000, 1_010)
	o.until.Store(at(2_000).UnixNano())
	note(1_999, 61_999) // a minute late
	note(2_000, 9_000)
	if n, most := o.late.TotalCount(), o.late.Max(); n != 2 || most < 59_900_000 || most > 60_100_000 || o.seen.Load() != 5 {
		t.Errorf("%d count, the latest by %d us, %d seen", n, most, o.seen.Load())
	}
}

func TestEngineVerdicts(t *testing.T) {
	for name, c := range map[string]struct {
		id            string
		baseline, own []float64
		verdict       string
	}{
		"twice is the floor":        {"P5", []float64{100, 100, 100}, []float64{190, 200, 210}, verdictFloor},
		"less is missed":            {"P5", []float64{100, 100, 100}, []float64{190, 199, 210}, verdictMissed},
		"far beyond":                {"P16", []float64{100}, []float64{310}, verdictStretch},
		"a baseline that varies":    {"P16", []float64{100, 151}, []float64{500, 500}, verdictInconclusive},
		"less memory is better":     {"P15", nil, []float64{900}, verdictGoal},
		"recovery too long":         {"P14", nil, []float64{31, 32, 1}, verdictMissed},
		"a share is in per cent":    {"P10", []float64{200}, []float64{90}, verdictGoal},
		"without target no verdict": {"P5T", []float64{200}, []float64{90}, ""},
	} {
		f := engineTargets()[c.id].figure(c.id, c.baseline, c.own)
		if f.Verdict != c.verdict {
			t.Errorf("%s: %s with median %v", name, f.Verdict, f.Median)
		}
	}
}

func TestEngineOptions(t *testing.T) {
	good := EngineOptions{Pairs: 7, Seconds: 5, Output: "table"}
	if err := good.Validate(); err != nil || chosen(good.Only, "P16") || !chosen(good.Only, "P15") {
		t.Errorf("on kfake: %v, %v", good.Only, err)
	}
	kafka := EngineOptions{Pairs: 7, Seconds: 5, Output: "table", Kafka: 1}
	if err := kafka.Validate(); err != nil || !chosen(kafka.Only, "P16") {
		t.Errorf("on Kafka: %v, %v", kafka.Only, err)
	}
	for name, o := range map[string]EngineOptions{
		"no turns":             {Pairs: 0, Seconds: 5, Output: "table"},
		"turns of no time":     {Pairs: 1, Output: "table"},
		"an unknown id":        {Pairs: 1, Seconds: 1, Output: "table", Only: []string{"P99"}},
		"two brokers":          {Pairs: 1, Seconds: 1, Output: "table", Kafka: 2},
		"two kinds of broker":  {Pairs: 1, Seconds: 1, Output: "table", Kafka: 1, Brokers: []string{"b"}},
		"Streams on kfake":     {Pairs: 1, Seconds: 1, Output: "table", Only: []string{"P16"}},
		"an output of its own": {Pairs: 1, Seconds: 1, Output: "xml"},
	} {
		if err := o.Validate(); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

// TestMain: contestants are processes of this binary.
func TestMain(m *testing.M) {
	if len(os.Args) == 5 && slices.Equal(os.Args[1:4], []string{"bench", "engine", "--contestant"}) {
		if err := ServeContestant(context.Background(), os.Args[4]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// TestContestantsThatFailAreOut: the others go on, and nothing of the one that failed is reported as a figure.
func TestContestantsThatFailAreOut(t *testing.T) {
	c := newContest(t)
	c.report = &EngineReport{}
	b, err := c.fill(t.Context(), "in", 2, 50, uniform(50), 300_000) // a second or two, so that a starved test sees it half done
	if err != nil {
		t.Fatal(err)
	}
	dead := entrant{name: "dead", label: "one that ends", table: "-table", command: func(ctx context.Context) (*exec.Cmd, error) {
		return exec.CommandContext(ctx, "sh", "-c", "echo out of order >&2; exit 1"), nil
	}}
	lanes := []lane{
		{native(enginebench.Engine, "engine"), b, span{drain: true}}, {dead, b, span{drain: true}}, {native(enginebench.Loop, "by hand"), b, span{drain: true}},
	}
	rates, err := c.rounds(t.Context(), "test", 2, lanes)
	if err != nil {
		t.Fatal(err)
	}
	if len(rates[0]) != 2 || len(rates[1]) != 0 || len(rates[2]) != 2 {
		t.Errorf("rates are %v", rates)
	}
	if len(c.report.Void) != 1 || !strings.Contains(c.report.Void[0], "out of order") {
		t.Errorf("out are %q", c.report.Void)
	}
	for _, turn := range c.report.Turns {
		if turn.Records != 2*b.total || turn.Rate <= 0 {
			t.Errorf("%+v", turn)
		}
	}
	c.report.compare(engineTargets()["P5"], "P5", rates[1], rates[0])
	if len(c.report.Figures) > 0 {
		t.Errorf("a contestant that is out has a figure: %+v", c.report.Figures)
	}
	if _, err := c.rounds(t.Context(), "test", 1, lanes[1:]); err == nil {
		t.Error("rounds without the engine are reported")
	}
}
