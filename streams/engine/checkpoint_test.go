package engine_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/streams/engine"
	"github.com/caudalpay/caudal/streams/streamtest"
)

// childState makes the engines of tests keep their state below that folder, those of child processes too.
const childState = "CAUDAL_ENGINE_TEST_STATE"

// stateDir is the folder of a member on a cluster; empty: state in memory.
func stateDir(addrs []string, instance string) string {
	root := os.Getenv(childState)
	if root == "" {
		return ""
	}
	return filepath.Join(root, strings.ReplaceAll(addrs[0], ":", "-"), instance)
}

// onDisk makes engines keep their state on disk until the test ends.
func onDisk(t *testing.T) {
	t.Helper()
	root, err := os.MkdirTemp("", "engine-state-") //nolint:usetesting // what a broken engine left open may still write there
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	t.Setenv(childState, root)
}

// TestOnDisk: what holds of engines with their state in memory holds of those with it on disk.
func TestOnDisk(t *testing.T) {
	for _, c := range []struct {
		name string
		test func(*testing.T)
	}{
		{"EveryInputHasOneOutputAcrossStarts", TestEveryInputHasOneOutputAcrossStarts},
		{"AbortDropsTheOverlay", TestAbortDropsTheOverlayAndTheInputIsReadAgain},
		{"AuditNoticesAKeptOverlay", TestAuditNoticesAKeptOverlay},
		{"RetainedStateThatDoesNotMatch", TestRetainedStateThatDoesNotMatchTheOffsetsIsRestored},
		{"ProduceFailureAborts", TestProduceFailureAborts},
		{"Retry", TestRetryEndsTheRunAndLosesNothing},
		{"OwnTopicEmissionAndTicks", TestOwnTopicEmissionAndTicks},
		{"EndOfTransactionFails", TestEndOfTransactionFails},
		{"Redrive", TestRedriveOfWhatCanBeDecodedNow},
		{"Discard", TestDiscard},
		{"ValueThatWasLeftInTheInput", TestValueThatWasLeftInTheInputIsRedriven},
		{"Kill9WhileRedriving", TestKill9WhileRedriving},
		{"Parking", TestFailedKeyIsParkedAndItsLaterRecordsQueueInOrder},
		{"MembersComeAndGo", TestMembersComeAndGo},
		{"KeptPartitionsAreNotRestoredAgain", TestKeptPartitionsAreNotRestoredAgain},
		{"OracleCatchesMutants", TestOracleCatchesMutants},
		{"ChangedGraph", TestChangedGraphIsRefused},
		{"UnknownStateVersion", TestUnknownStateVersionIsRefused},
		{"StateWithoutAGraph", TestStateWithoutAGraphIsTaken},
		{"TornCommit", TestTornCommitStopsTheStart},
		{"Kill9", TestKill9},
		{"CutConnections", TestCutConnections},
		{"Standby", TestStandby},
		{"StandbyBeginsAnew", TestStandbyBeginsAnew},
		{"Visit", TestVisit},
		{"Joins", TestJoins},
	} {
		t.Run(c.name, func(t *testing.T) {
			onDisk(t)
			if !slices.Contains([]string{"Kill9", "CutConnections", "Parking"}, c.name) { // on Apache Kafka each takes long
				t.Setenv(streamtest.KafkaEnv, "")
			}
			c.test(t)
		})
	}
}

// journal keeps what an engine logs.
type journal struct {
	slog.Handler
	mu    sync.Mutex
	lines []string
}

func newJournal() *journal {
	return &journal{Handler: slog.NewTextHandler(bytes.NewBuffer(nil), nil)}
}

func (j *journal) WithAttrs([]slog.Attr) slog.Handler { return j }
func (j *journal) Handle(_ context.Context, r slog.Record) error {
	line := r.Message
	r.Attrs(func(a slog.Attr) bool {
		line += " " + a.String()
		return true
	})
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line)
	return nil
}

// with are the lines that have all the words.
func (j *journal) with(words ...string) (found []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
lines:
	for _, l := range j.lines {
		for _, w := range words {
			if !strings.Contains(l, w) {
				continue lines
			}
		}
		found = append(found, l)
	}
	return found
}

// fromDisk is how many partitions were restored from there.
func (j *journal) fromDisk() (sum int) {
	for _, l := range j.with("restored", "local=") {
		var n int
		if _, err := fmt.Sscanf(l[strings.Index(l, "local="):], "local=%d", &n); err != nil {
			panic(err)
		}
		sum += n
	}
	return sum
}

// stored is a group whose state was kept on disk, then went on, and has the older files again.
type stored struct {
	t   *testing.T
	c   *streamtest.Cluster
	cfg engine.Config
	log *journal
	// told is what the metrics said before the last run ended.
	told map[string]float64
}

const storedKeys = 300

// countAndLook counts, and reads what it wrote before.
func countAndLook(ctx *engine.Context, value []byte) error {
	if n := len(ctx.Side(engine.ScopeKey).Scan("seen", "", "", 0)); ctx.Value() != nil && n != int(binary.BigEndian.Uint64(ctx.Value())) {
		return fmt.Errorf("%d records seen, %d counted", n, binary.BigEndian.Uint64(ctx.Value()))
	}
	return count(ctx, value)
}

// newStored handles two batches of records, and puts the files back to where they were after the first one: what is on disk
// is an older state, as it is after a crash or an absence, and the changelogs go on behind it.
func newStored(t *testing.T, cluster func(testing.TB) *streamtest.Cluster) *stored {
	t.Helper()
	onDisk(t)
	c := cluster(t)
	s := &stored{t: t, c: c, cfg: testConfig(c.Addrs), log: newJournal()}
	s.cfg.Logger = slog.New(s.log)
	s.run(6_000)
	s.run(0) // the next start writes what is left in logs into tables
	s.behind(func() { s.run(1_000) })
	s.log.mu.Lock()
	s.log.lines = nil
	s.log.mu.Unlock()
	return s
}

// behind puts the files back to where they were before the work.
func (s *stored) behind(work func()) {
	s.t.Helper()
	older := filepath.Join(s.t.TempDir(), "older")
	if err := os.CopyFS(older, os.DirFS(s.cfg.Dir)); err != nil {
		s.t.Fatal(err)
	}
	work()
	if err := os.RemoveAll(s.cfg.Dir); err != nil {
		s.t.Fatal(err)
	}
	if err := os.CopyFS(s.cfg.Dir, os.DirFS(older)); err != nil {
		s.t.Fatal(err)
	}
}

// run handles so many more records, in as many starts as that takes.
func (s *stored) run(records int, spoil ...func(*engine.Engine)) {
	s.t.Helper()
	if records > 0 {
		s.c.Produce(inputs(records, storedKeys)...)
	}
	for starts := 0; ; starts++ {
		if starts > 5 {
			s.t.Fatalf("no end: %q", s.log.with(""))
		}
		e, err := engine.New(s.cfg, countAndLook)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, f := range spoil {
			f(e)
		}
		r := startEngine(s.t, e)
		for err == nil && (e.Ready() != nil || s.c.Lag(group, input) > 0) {
			select {
			case err = <-r.ended:
			case <-time.After(5 * time.Millisecond):
			}
		}
		if err == nil {
			if reg, ok := s.cfg.Registerer.(*prometheus.Registry); ok {
				s.told = s.weighed(reg)
			}
			r.stop()
			return
		}
		s.t.Logf("ended: %v", err)
		r.cancel()
	}
}

// weighed gives the metrics when the state was weighed, which it is behind the commit that the lag tells of.
func (s *stored) weighed(reg *prometheus.Registry) map[string]float64 {
	s.t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if told := gathered(s.t, reg); told["caudal_streams_state_bytes"] > 0 || time.Now().After(end) {
			return told
		}
	}
}

func (s *stored) spoil(edit func(*engine.StoredState)) {
	s.t.Helper()
	for p := range int32(partitions) {
		st, err := engine.OpenStored(s.cfg.Dir, p)
		if err != nil {
			s.t.Fatal(err)
		}
		edit(st)
		if err := st.Save(); err != nil {
			s.t.Fatal(err)
		}
	}
}

// files of the databases, by the end of their names.
func (s *stored) files(ending string) []string {
	s.t.Helper()
	found, err := filepath.Glob(filepath.Join(s.cfg.Dir, "partition-*", "*"+ending))
	if err != nil || len(found) == 0 {
		s.t.Fatalf("no files *%s: %v", ending, err)
	}
	return found
}

func TestOlderStateIsCaughtUp(t *testing.T) {
	s := newStored(t, newCluster)
	reg := prometheus.NewRegistry()
	s.cfg.Registerer = reg
	s.run(500)
	if n := s.log.fromDisk(); n != partitions {
		t.Errorf("%d partitions restored from disk: %q", n, s.log.with(""))
	}
	if gone := s.log.with("removed"); len(gone) > 0 {
		t.Errorf("state was removed: %q", gone)
	}
	// Of the 1,000 behind the files each wrote a side record, a cell and at most one of the engine's own. Before were 6,000.
	if n := s.told["caudal_streams_restored_records_total"]; n < 1_000 || n > 3_100 {
		t.Errorf("%v records were read", n)
	}
	if n := s.told["caudal_streams_state_bytes"]; n < 1_000 {
		t.Errorf("the state has %v bytes", n)
	}
	if n := gathered(t, reg)["caudal_streams_state_bytes"]; n != 0 {
		t.Errorf("an engine that has ended has %v bytes of state", n)
	}
	if wrong := audit(s.c); len(wrong) > 0 {
		t.Errorf("%d things wrong, first %s", len(wrong), wrong[0])
	}
}

// TestDoubtfulStateIsRestoredInFull: each of these is noticed, said, and costs no more than a longer start.
func TestDoubtfulStateIsRestoredInFull(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*stored)
		says  string // of every partition; empty: it may be noticed or not matter
	}{
		"older than deletions are kept": {func(s *stored) {
			s.spoil(func(st *engine.StoredState) { st.Age(13 * time.Hour) })
		}, "deletions are only kept"},
		"from the future": {func(s *stored) { s.spoil(func(st *engine.StoredState) { st.Age(-13 * time.Hour) }) }, "deletions are only kept"},
		"of other topics": {func(s *stored) { s.spoil(func(st *engine.StoredState) { st.Origin("elsewhere") }) }, "it is of elsewhere"},
		"beyond the end":  {func(s *stored) { s.spoil(func(st *engine.StoredState) { st.Shift(1 << 40) }) }, "of a changelog that goes from"},
		// Two back, over the marker of the last commit, is another record than the one that was written at the position.
		"another log": {func(s *stored) { s.spoil(func(st *engine.StoredState) { st.Shift(-2) }) }, "is not the record that was written there"},
		"interrupted": {func(s *stored) { s.spoil((*engine.StoredState).Unmark) }, "no mark"},
		"not applied": {func(s *stored) { // the side changelog is taken to have been read
			last := lastOf(s.c, side)
			for tellsApplied(last) { // reading it alone would be reading enough
				s.behind(func() { s.run(storedKeys) })
				last = lastOf(s.c, side)
			}
			p := int32(0)
			s.spoil(func(st *engine.StoredState) { st.ClaimSide(last[p]); p++ })
		}, "torn commit"},
		"table flipped": {func(s *stored) { flip(s.t, s.files(".sst")) }, ""},
		"table gone": {func(s *stored) {
			for _, f := range s.files(".sst") {
				remove(s.t, f)
			}
		}, ""},
		"log flipped":  {func(s *stored) { flip(s.t, s.files(".log")) }, ""},
		"manifest cut": {func(s *stored) { cut(s.t, s.files("*")) }, ""},
		"folder is no folder": {func(s *stored) {
			for p := range partitions {
				dir := filepath.Join(s.cfg.Dir, fmt.Sprintf("partition-%d", p))
				if err := errors.Join(os.RemoveAll(dir), os.WriteFile(dir, []byte("x"), 0o600)); err != nil {
					s.t.Fatal(err)
				}
			}
		}, "removed"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStored(t, func(tb testing.TB) *streamtest.Cluster { return newFake(tb) }) // the files are what matters here
			c.spoil(s)
			s.run(500)
			s.run(500)
			if said := s.log.with("removed", c.says); c.says != "" && len(said) != partitions {
				t.Errorf("%d of %d partitions: %q", len(said), partitions, s.log.with(""))
			}
			if name == "table flipped" || name == "table gone" {
				if len(s.log.with("removed")) == 0 {
					t.Errorf("nobody noticed: %q", s.log.with(""))
				}
			}
			if wrong := audit(s.c); len(wrong) > 0 {
				t.Errorf("%d things wrong, first %s", len(wrong), wrong[0])
			}
		})
	}
}

// tellsApplied: the offset that a state has applied is one of its records, in no order with the others of a commit.
func tellsApplied(last map[int32]*kgo.Record) bool {
	for _, r := range last {
		if k, err := engine.DecodeSideKey(r.Key); err == nil && k.Kind == engine.AppliedKind {
			return true
		}
	}
	return false
}

// lastOf is the last record of each partition that carries state.
func lastOf(c *streamtest.Cluster, topic string) map[int32]*kgo.Record {
	last := map[int32]*kgo.Record{}
	for _, r := range c.ReadCommitted(topic) {
		if !engine.IsFence(r.Key) {
			last[r.Partition] = r
		}
	}
	return last
}

// flip changes a byte in every 512.
func flip(t *testing.T, files []string) {
	t.Helper()
	for _, f := range files {
		b, err := os.ReadFile(f)
		for i := 100; i < len(b); i += 512 {
			b[i] ^= 0x40
		}
		if err == nil {
			err = os.WriteFile(f, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func remove(t *testing.T, file string) {
	t.Helper()
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
}

// cut takes the second half of the manifests away.
func cut(t *testing.T, files []string) {
	t.Helper()
	for _, f := range files {
		if !strings.HasPrefix(filepath.Base(f), "MANIFEST") {
			continue
		}
		info, err := os.Stat(f)
		if err == nil {
			err = os.Truncate(f, info.Size()/2)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestAuditCatchesWrongPositions: state that claims to have more of a changelog than it has makes the books wrong.
func TestAuditCatchesWrongPositions(t *testing.T) {
	for name, c := range map[string]struct {
		spoil   func(*stored)
		mutants []func(*engine.Engine)
	}{
		"position stored too far": {spoil: func(s *stored) {
			newest := map[string]*kgo.Record{}
			for _, r := range s.c.ReadCommitted(table) {
				newest[string(r.Key)] = r
			}
			p := int32(0)
			s.spoil(func(st *engine.StoredState) {
				var behind []*kgo.Record // the newest cells of keys that are not in the files
				from, _ := st.Positions()
				for _, r := range newest {
					if r.Partition == p && r.Offset > from && !engine.IsFence(r.Key) {
						behind = append(behind, r)
					}
				}
				slices.SortFunc(behind, func(a, b *kgo.Record) int { return cmp.Compare(a.Offset, b.Offset) })
				st.ClaimTable(behind[len(behind)/2])
				p++
			})
		}},
		"tail not read": {spoil: func(s *stored) {
			cells, sides, p := lastOf(s.c, table), lastOf(s.c, side), int32(0)
			s.spoil(func(st *engine.StoredState) { st.ClaimTable(cells[p]); st.ClaimSide(sides[p]); p++ })
		}, mutants: []func(*engine.Engine){(*engine.Engine).TrustAnything}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStored(t, newCluster)
			c.spoil(s)
			s.run(600, c.mutants...)
			if s.log.fromDisk() != partitions {
				t.Fatalf("not restored from disk: %q", s.log.with(""))
			}
			if len(audit(s.c)) == 0 {
				t.Error("the audit found nothing")
			}
		})
	}
}

// TestAuditCatchesStateStoredBeforeItsCommit: a transaction whose end fails was stored already.
func TestAuditCatchesStateStoredBeforeItsCommit(t *testing.T) {
	for name, mutant := range map[string]func(*engine.Engine){"right": nil, "stored unconfirmed": (*engine.Engine).StoreUnconfirmed} {
		t.Run(name, func(t *testing.T) {
			onDisk(t)
			c := newFake(t)
			c.Produce(inputs(2_000, storedKeys)...)
			cfg := testConfig(c.Addrs)
			cfg.RecordsMax = 100
			fault := refuse(c.Cluster, 3)
			e, err := engine.New(cfg, count)
			if err != nil {
				t.Fatal(err)
			}
			if mutant != nil {
				mutant(e)
			}
			r := startEngine(t, e)
			r.caughtUp(c)
			r.stop()
			if fault.Hits() != 1 {
				t.Fatalf("%d commits were refused", fault.Hits())
			}
			if wrong := audit(c); (len(wrong) > 0) != (mutant != nil) {
				t.Errorf("%d things wrong: %q", len(wrong), wrong)
			}
		})
	}
}

func TestNegativeCacheIsRefused(t *testing.T) {
	cfg := testConfig([]string{"127.0.0.1:1"})
	cfg.CacheBytes = -1
	if _, err := engine.New(cfg, count); err == nil || !strings.Contains(err.Error(), "CacheBytes is -1") {
		t.Errorf("New says %v", err)
	}
}

// TestFolderIsTakenOnce: two processes on one folder would spoil it.
func TestFolderIsTakenOnce(t *testing.T) {
	onDisk(t)
	c := newCluster(t)
	c.Produce(inputs(400, 40)...)
	r := startMember(t, c, 0)
	r.caughtUp(c)
	err := startMember(t, c, 1, func(cfg *engine.Config) { cfg.Dir = stateDir(c.Addrs, "worker-0") }).wait()
	if err == nil || !strings.Contains(err.Error(), "needs a Dir of its own") {
		t.Errorf("a second member on the folder ended with %v", err)
	}
	// And another process: the lock of this one is not enough.
	w := spawn(t, c.Addrs, childMember+"=0")
	if err := <-w.ended; err == nil {
		t.Error("a second process on the folder ended in order")
	}
	c.Produce(inputs(400, 40)...)
	finish(t, c, r)
}

// TestStateOutlivesAHungCallback: a callback that wakes up after its engine has given up finds its state still there.
func TestStateOutlivesAHungCallback(t *testing.T) {
	onDisk(t)
	c := newCluster(t)
	cfg := testConfig(c.Addrs)
	cfg.CallbackTimeout = 200 * time.Millisecond
	wake, woken := make(chan struct{}), make(chan error, 1)
	c.Produce(record("acc-1", "a"))
	r := start(t, cfg, count)
	r.caughtUp(c)
	r.stop()
	c.Produce(record("acc-1", "b"))
	err := start(t, cfg, func(ctx *engine.Context, _ []byte) (err error) {
		defer func() {
			if v := recover(); v != nil {
				err = fmt.Errorf("panic: %v", v)
			}
			woken <- err
		}()
		<-wake
		if n := len(ctx.Side(engine.ScopeKey).Scan("seen", "", "", 0)); n != 1 {
			return fmt.Errorf("%d side records", n)
		}
		return nil
	}).wait()
	if !errors.Is(err, engine.ErrCallbackDeadline) {
		t.Fatalf("ended with %v", err)
	}
	time.Sleep(100 * time.Millisecond) // for what must not happen
	close(wake)
	if err := <-woken; err != nil {
		t.Fatal(err)
	}
}

// TestReturnIsCaughtUpFromDisk: partitions that moved to another member and come back are restored from what they left.
func TestReturnIsCaughtUpFromDisk(t *testing.T) {
	onDisk(t)
	c := newCluster(t)
	log := newJournal()
	c.Produce(inputs(2_000, 200)...)
	first := startMember(t, c, 0, func(cfg *engine.Config) { cfg.Logger = slog.New(log) })
	first.caughtUp(c)
	second := startMember(t, c, 1)
	holdEventually(t, []*running{first, second}, []int{2, 2})
	c.Produce(inputs(500, 200)...)
	second.caughtUp(c)
	first.eventually("the state of what moved away being let go", func() bool { return len(log.with("let go")) > 0 })
	c.Produce(inputs(500, 200)...)
	second.caughtUp(c)
	second.stop()
	holdEventually(t, []*running{first}, []int{4})
	c.Produce(inputs(500, 200)...)
	first.caughtUp(c)
	if log.fromDisk() != 2 {
		t.Errorf("what came back was not restored from disk: %q", log.with(""))
	}
	finish(t, c, first)
}
