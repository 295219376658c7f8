package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/caudalpay/caudal/streams/engine/enginebench"
)

// lane is a contestant on a backlog; a round gives each lane one turn.
type lane struct {
	entrant entrant
	backlog *backlog
	span    span
}

// rounds gives every lane one turn in each of n rounds, and turns the order round each time (A B C C B A): each pair of lanes
// is then interleaved A B B A, and a drift of the machine hits both. It returns the rates by lane, none for a lane that is void.
func (c *contest) rounds(ctx context.Context, what string, n int, lanes []lane) ([][]float64, error) {
	turns, err := c.takeTurns(ctx, what, n, lanes)
	if err != nil {
		return nil, err
	}
	rates := make([][]float64, len(lanes))
	for at := range lanes {
		if len(turns[at]) == 0 {
			continue
		}
		for _, t := range turns[at] {
			rates[at] = append(rates[at], t.Rate)
		}
		c.report.Turns = append(c.report.Turns, summary(turns[at]))
	}
	return rates, nil
}

// takeTurns are the rounds. A contestant that fails, or leaves what is wrong, is out: none of its turns counts, and the
// report says why. The first lane is this engine: without it there is nothing to compare.
func (c *contest) takeTurns(ctx context.Context, what string, n int, lanes []lane) ([][]Turn, error) {
	turns, void := make([][]Turn, len(lanes)), make([]bool, len(lanes))
	for i := range n {
		c.say("%s, round %d of %d", what, i+1, n)
		order := make([]int, len(lanes))
		for at := range order {
			order[at] = at
		}
		if i%2 == 1 {
			slices.Reverse(order)
		}
		for _, at := range order {
			if void[at] {
				continue
			}
			t, err := c.turn(ctx, lanes[at].entrant, lanes[at].backlog, lanes[at].span)
			if err != nil && (at == 0 || ctx.Err() != nil) {
				return nil, fmt.Errorf("%s, round %d: %w", what, i+1, err)
			}
			if err != nil {
				void[at], turns[at] = true, nil
				c.report.Void = append(c.report.Void, fmt.Sprintf("%s, round %d: %v", what, i+1, err))
				c.say("OUT: %v", err)
				continue
			}
			turns[at] = append(turns[at], t)
		}
	}
	return turns, nil
}

// throughput is P5, P10 and P16, and how far raw franz-go is: all in the same rounds.
func (c *contest) throughput(ctx context.Context) error {
	lanes := []lane{{native(enginebench.Engine, "this engine"), c.uniform, c.span()}}
	index := map[string]int{}
	add := func(name string, l lane) {
		index[name] = len(lanes)
		lanes = append(lanes, l)
	}
	if chosen(c.options.Only, "P16") {
		best, err := c.bestStreams(ctx)
		if err != nil {
			return err
		}
		add("P16", lane{best, c.uniform, span{warm: streamsWarm, length: c.length()}})
	}
	if chosen(c.options.Only, "P10") {
		skewed, err := c.fill(ctx, "hot", enginePartitions, fewKeys, hot(fewKeys), int64(0.6*c.rate*c.options.Seconds))
		if err != nil {
			return err
		}
		// The whole of it: towards its end only the hot partition has records left, and this is part of what it takes.
		add("P10", lane{native(enginebench.Engine, "this engine, hot key"), skewed, span{drain: true}})
	}
	if chosen(c.options.Only, "P5") {
		add("P5", lane{native(enginebench.GokaMemory, "stock Goka, memory"), c.uniform, c.span()})
		add("P5L", lane{native(enginebench.GokaLevelDB, "stock Goka, LevelDB"), c.uniform, c.span()})
		if c.onFake() {
			add(enginebench.EngineDefault, lane{native(enginebench.EngineDefault, "this engine, its default bound on a commit"), c.uniform, c.span()})
			add("P5T", lane{native(enginebench.GokaTuned, "tuned Goka, memory"), c.uniform, c.span()})
		}
	}
	add(enginebench.EngineTwo, lane{native(enginebench.EngineTwo, "this engine, two sessions"), c.uniform, c.span()})
	add(enginebench.EnginePlain, lane{native(enginebench.EnginePlain, "this engine, two sessions, no compression"), c.uniform, c.span()})
	add(enginebench.Loop, lane{native(enginebench.Loop, "franz-go by hand, exactly once"), c.uniform, c.span()})
	add(enginebench.Pass, lane{native(enginebench.Pass, "franz-go pass-through, at least once"), c.uniform, c.span()})
	rates, err := c.rounds(ctx, "throughput", c.options.Pairs, lanes)
	if err != nil {
		return err
	}
	own := rates[0]
	c.rate = median(slices.Sorted(slices.Values(own)))
	for _, id := range []string{"P5", "P5L", "P5T"} {
		if at, ok := index[id]; ok {
			c.report.compare(engineTargets()[id], id, rates[at], own)
		}
	}
	// Kafka Streams is fastest with two threads here, each with transactions of its own.
	two := rates[index[enginebench.EngineTwo]]
	if at, ok := index["P16"]; ok {
		c.report.compare(engineTargets()["P16"], "P16", rates[at], two)
		c.report.compare(target{what: "engine with one session over Kafka Streams", unit: times}, "P16/1", rates[at], own)
	}
	if at, ok := index["P10"]; ok {
		c.report.compare(engineTargets()["P10"], "P10", own, rates[at])
	}
	for _, name := range []string{enginebench.EngineDefault, enginebench.Loop, enginebench.Pass} {
		if at, ok := index[name]; ok {
			c.report.compare(target{what: "engine over " + lanes[at].entrant.label, unit: percent}, "engine/"+name, rates[at], own)
		}
	}
	c.report.compare(target{what: "engine with two sessions over one", unit: percent}, "sessions", own, two)
	c.report.compare(target{what: "engine with two sessions, without compression over with it", unit: percent}, "plain", two, rates[index[enginebench.EnginePlain]])
	c.report.compare(target{what: "franz-go by hand over pass-through", unit: percent}, "loop/pass", rates[index[enginebench.Pass]], rates[index[enginebench.Loop]])
	return nil
}

const streamsCacheMiB = 64

// bestStreams runs Kafka Streams in every setting, on machines that are warm, there and back, and returns the fastest.
func (c *contest) bestStreams(ctx context.Context) (entrant, error) {
	const parallel, g1 = "ParallelGC", "G1GC"
	const snappy = "snappy" // as franz-go and Goka compress
	settings := []setting{
		{parallel, "memory", streamsCacheMiB, 1, snappy},
		{parallel, "memory", streamsCacheMiB, 2, snappy},
		{parallel, "memory", 0, 1, snappy},
		{parallel, "memory", 0, 2, snappy},
		{parallel, "memory", 0, 2, "none"},
		{parallel, "rocksdb", streamsCacheMiB, 2, snappy},
		{g1, "memory", 0, 2, snappy},
	}
	short := span{warm: streamsWarm, length: min(c.length(), 2*time.Second)}
	c.say("warming up the virtual machines of Kafka Streams")
	// With and without the cache, so that both ways are compiled.
	for _, s := range []setting{settings[0], settings[3], settings[len(settings)-1]} {
		if _, err := c.turn(ctx, c.app.entrant(s), c.uniform, span{warm: c.streamsStart(), length: short.length}); err != nil {
			return entrant{}, err
		}
	}
	c.say("looking for its best setting")
	var lanes []lane
	for _, s := range settings {
		lanes = append(lanes, lane{c.app.entrant(s), c.uniform, short})
	}
	turns, err := c.takeTurns(ctx, "Kafka Streams", 2, lanes)
	if err != nil {
		return entrant{}, err
	}
	best, most := settings[0], 0.0
	for at, s := range settings {
		if len(turns[at]) == 0 {
			continue
		}
		t := summary(turns[at])
		c.report.Settings = append(c.report.Settings, t)
		if t.Rate > most {
			best, most = s, t.Rate
		}
	}
	for name, r := range c.staying {
		if name != c.app.entrant(best).name {
			r.close()
			delete(c.staying, name)
		}
	}
	c.say("its best: %s", best)
	return c.app.entrant(best), nil
}

// streamsWarm is how long a turn of Kafka Streams goes on before it counts: its second thread joins after the first.
const streamsWarm = 2 * time.Second

// streamsStart is how long a virtual machine works before the first turn that counts at all.
func (c *contest) streamsStart() time.Duration { return min(10*time.Second, 2*c.length()) }

// manyKeys is P5 with 300 k keys, in fewer rounds. Storage in memory sorts all keys at each new one, so stock Goka is still
// taking in keys while it is measured: that is what it does with them.
func (c *contest) manyKeys(ctx context.Context) error {
	if !c.onFake() {
		return nil // the broker makes no difference to it
	}
	b, err := c.fill(ctx, "many", enginePartitions, manyKeys, uniform(manyKeys), int64(c.rate*(c.options.Seconds+1)*1.3))
	if err != nil {
		return err
	}
	lanes := []lane{
		{native(enginebench.Engine, "this engine, 300 k keys"), b, c.span()},
		{native(enginebench.GokaMemory, "stock Goka, memory, 300 k keys"), b, c.span()},
		{native(enginebench.GokaLevelDB, "stock Goka, LevelDB, 300 k keys"), b, c.span()},
	}
	rates, err := c.rounds(ctx, "300 k keys", max(1, min(c.options.Pairs, 3)), lanes)
	if err != nil {
		return err
	}
	c.report.compare(engineTargets()["P5M"], "P5M", rates[1], rates[0])
	c.report.compare(engineTargets()["P5ML"], "P5ML", rates[2], rates[0])
	return c.drop(ctx, b)
}

func (c *contest) drop(ctx context.Context, b *backlog) error {
	deleted, err := c.admin.DeleteTopics(ctx, b.topic)
	if err == nil {
		err = deleted.Error()
	}
	if err != nil {
		return fmt.Errorf("deleting %s: %w", b.topic, err)
	}
	return nil
}

// restoreRecords are enough that the start of a process hardly counts.
const restoreRecords = 3_000_000

// restore is P11: a processor that starts where all its state must be read, against a plain consumer of the same changelog.
func (c *contest) restore(ctx context.Context) error {
	n := int64(restoreRecords)
	if c.options.Quick {
		n /= 10
	}
	b, err := c.fill(ctx, "restore", enginePartitions, manyKeys, uniform(manyKeys), n)
	if err != nil {
		return err
	}
	e := native(enginebench.Engine, "this engine")
	w, err := c.work(ctx, e, b)
	if err != nil {
		return err
	}
	c.say("writing a changelog")
	if err := c.drained(ctx, e, w, b); err != nil {
		return err
	}
	records := 0.0
	var reading []float64 // seconds, as the engine counts them
	timed := func(name string) func() (float64, error) {
		return func() (float64, error) {
			r, err := c.startRival(ctx, native(name, name))
			if err != nil {
				return 0, err
			}
			defer r.close()
			notes, err := r.ask(ctx, "run "+w.String(), "ready", drainLimit)
			if err != nil {
				return 0, err
			}
			if name == enginebench.Consume {
				records = number(notes, "records")
			} else {
				told, err := r.ask(ctx, "metrics", "metrics", readyLimit)
				if err != nil {
					return 0, err
				}
				reading = append(reading, number(told, "caudal_streams_restore_seconds"))
			}
			if _, err := r.ask(ctx, "stop", "stopped", stopLimit); err != nil {
				return 0, err
			}
			return records / number(notes, "seconds"), nil
		}
	}
	consume := timed(enginebench.Consume)
	if _, err := consume(); err != nil { // warm, and the records are counted before the first restore
		return fmt.Errorf("reading the changelog: %w", err)
	}
	base, own, err := c.pairs("P11", consume, timed(enginebench.Engine))
	if err != nil {
		return err
	}
	if _, err := c.audit(ctx, e, w, b); err != nil {
		return fmt.Errorf("auditing what was restored: %w", err)
	}
	c.report.add(engineTargets()["P11"].figure("P11", base, own))
	own = slices.Sorted(slices.Values(own))
	slices.Sort(reading)
	c.report.note("P11: the changelog holds %.0f records of %d keys; a restore is timed from the start of the processor until it is ready (%.2f s at the median, "+
		"of which it counts %.2f s as restore), a consume likewise", records, manyKeys, records/median(own), median(reading))
	return errors.Join(c.forget(ctx, e, w), c.drop(ctx, b))
}

// drained lets the engine work to the end of a backlog.
func (c *contest) drained(ctx context.Context, e entrant, w enginebench.Work, b *backlog) error {
	r, err := c.startRival(ctx, e)
	if err != nil {
		return err
	}
	defer r.close()
	if err := r.order(e.order(w)); err != nil {
		return err
	}
	if _, err := c.watch(ctx, r, w, b.total, span{drain: true}); err != nil {
		return fmt.Errorf("draining %s: %w", b.topic, err)
	}
	_, err = r.ask(ctx, "stop", "stopped", stopLimit)
	return err
}

// sweepCounts are the partition counts of the sweep.
func sweepCounts() []int32 { return []int32{8, 16, 32, 64} }

// sweep lets the engine drain the same records over more and more partitions, there and back.
func (c *contest) sweep(ctx context.Context) error {
	var lanes []lane
	for _, n := range sweepCounts() {
		b, err := c.fill(ctx, fmt.Sprintf("sweep.%d", n), n, fewKeys, uniform(fewKeys), int64(c.rate*(c.options.Seconds+1)*1.3))
		if err != nil {
			return err
		}
		lanes = append(lanes, lane{native(enginebench.Engine, fmt.Sprintf("this engine, %d partitions", n)), b, c.span()})
	}
	if _, err := c.rounds(ctx, "sweep", 2, lanes); err != nil {
		return err
	}
	for _, l := range lanes {
		if err := c.drop(ctx, l.backlog); err != nil {
			return err
		}
	}
	return nil
}

// pairs is bench.pairs for what is no turn.
func (c *contest) pairs(id string, baseline, system func() (float64, error)) (base, own []float64, err error) {
	b := &bench{options: Options{Pairs: c.options.Pairs}, stderr: c.stderr}
	return b.pairs(id, baseline, system)
}
