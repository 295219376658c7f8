package engine

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"
)

// errMoved: the group's offset changed while the partition was restored, so somebody else works on it.
var errMoved = errors.New("partition is worked on elsewhere")

// arrival asks for the state of a partition that was assigned at an offset; restored is the end of it.
type arrival struct {
	part   *partition
	at     offsets
	leaves bool // it does not arrive: its state is to be let go
}

type restored struct {
	part *partition
	err  error
}

// restorer rebuilds arriving partitions beside the running ones, as many at once as have arrived.
func (s *session) restorer(ctx context.Context) {
	var fences fencer
	defer fences.join()
	for {
		var batch []arrival
		select {
		case batch = <-s.queue:
		case <-ctx.Done():
			return
		}
		for more := true; more; {
			select {
			case b := <-s.queue:
				batch = append(batch, b...)
			default:
				more = false
			}
		}
		batch = s.letGo(batch)
		ends, err := s.restore(ctx, &fences, batch)
		if ctx.Err() != nil {
			return
		}
		moved := false
		for i, a := range batch {
			end := err
			if err == nil {
				end = ends[i]
			}
			moved = moved || errors.Is(end, errMoved)
			s.restored <- restored{part: a.part, err: end} // has room for every partition
		}
		s.nudge()
		if moved { // until the client notices
			select {
			case <-time.After(assessBackoff):
			case <-ctx.Done():
			}
		}
	}
}

// letGo closes the state of what leaves, and returns what arrives.
func (s *session) letGo(batch []arrival) (arriving []arrival) {
	for _, a := range batch {
		if !a.leaves {
			arriving = append(arriving, a)
			continue
		}
		a.part.reset()
		s.cfg.Logger.Info("state let go", "group", s.cfg.Group, "partition", a.part.id)
		s.restored <- restored{part: a.part, err: errMoved}
	}
	return arriving
}

// restore rebuilds partitions, those that disagree with what was on disk a second time without that.
func (s *session) restore(ctx context.Context, fences *fencer, batch []arrival) ([]error, error) {
	ends, err := s.restoreOnce(ctx, fences, batch)
	if err != nil {
		return nil, err
	}
	var again []arrival
	var at []int
	for i, a := range batch {
		_, torn := errors.AsType[*TornError](ends[i])
		if a.part.local && (torn || errors.Is(ends[i], errDoubt)) {
			a.part.wipe(ends[i])
			again, at = append(again, a), append(at, i)
		}
	}
	second, err := s.restoreOnce(ctx, fences, again)
	for i, end := range second {
		ends[at[i]] = end
	}
	return ends, err
}

// restoreOnce rebuilds partitions from what is on disk and their changelogs behind that, or all of them. It reads read_committed up to a fence record: neither the high-water
// mark nor the last stable offset tells by itself that the markers of the last commit have arrived everywhere, a record
// behind them does. State and offsets were written by the same transactions: if nobody committed meanwhile, they agree.
func (s *session) restoreOnce(ctx context.Context, fences *fencer, batch []arrival) ([]error, error) {
	if len(batch) == 0 {
		return nil, nil
	}
	parts := make([]*partition, len(batch))
	for i, a := range batch {
		parts[i] = a.part
	}
	kept := s.standby.release(parts)
	progress := newProgress(s.metrics)
	defer progress.end()
	before, err := s.committedOffsets(ctx, parts)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	fence, err := fences.write(ctx, s.cfg, parts)
	if err != nil {
		return nil, err
	}
	s.metrics.fences.Inc()
	if err := s.joins.open(ctx, parts); err != nil {
		return nil, err
	}
	var logs map[changelog]extent
	if s.folder != nil || s.standby != nil {
		if logs, err = s.extents(ctx); err != nil {
			return nil, err
		}
	}
	workers := min(max(2, runtime.GOMAXPROCS(0)), len(parts))
	g, gctx := errgroup.WithContext(ctx)
	for w := range workers {
		g.Go(func() error {
			var mine []*partition
			for i := w; i < len(parts); i += workers {
				mine = append(mine, parts[i])
			}
			for _, p := range mine {
				if s.standby.resume(kept[p.id], p.extents(logs)) {
					continue
				}
				if err := p.fetch(p.extents(logs)); err != nil {
					return err
				}
			}
			return s.restoreSome(gctx, mine, fence, progress)
		})
	}
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("restoring: %w", err)
	}
	after, err := s.committedOffsets(ctx, parts)
	if err != nil {
		return nil, err
	}
	ends := make([]error, len(parts))
	for i, a := range batch {
		if ends[i] = a.part.doubts(); ends[i] == nil {
			ends[i] = s.verdict(a, before[a.part.id], after[a.part.id])
		}
		if ends[i] == nil {
			ends[i] = a.part.save(began)
		}
	}
	s.metrics.restoreTime.Set(time.Since(progress.started).Seconds())
	s.cfg.Logger.Info("restored", "group", s.cfg.Group, "partitions", len(parts), "local", countLocal(parts),
		"records", progress.records, "took", time.Since(progress.started))
	return ends, nil
}

// doubts are what came up about the state on disk, or on standby, during a restore.
func (p *partition) doubts() error {
	if p.disk != nil && p.disk.err() != nil {
		return errors.Join(errDoubt, p.disk.err())
	}
	return p.doubt
}

func countLocal(parts []*partition) (n int) {
	for _, p := range parts {
		if p.local {
			n++
		}
	}
	return n
}

// verdict on a restored partition, with the group's offset before and after its restore.
func (s *session) verdict(a arrival, before, after offsets) error {
	p := a.part
	if err := p.checkGraph(s.cfg); err != nil {
		return err
	}
	switch {
	case !slices.Equal(before, after):
		return fmt.Errorf("partition %d: the group went from %v to %v: %w", p.id, before, after, errMoved)
	case !s.engine.believed(p, after):
		return tornAt(s.cfg, p, after)
	case !s.engine.retained(p, a.at):
		// The assignment is one of the past, and the client does not know yet.
		return fmt.Errorf("partition %d: assigned at %v, the group is at %v: %w", p.id, a.at, after, errMoved)
	}
	return nil
}

// tornAt names the first input that differs.
func tornAt(cfg *Config, p *partition, committed offsets) *TornError {
	i := 0
	for i < len(committed)-1 && p.applied[i] == committed[i] {
		i++
	}
	return &TornError{Group: cfg.Group, Topic: p.inputs[i], Partition: p.id, Applied: p.applied[i], Committed: committed[i]}
}

// progress of one restore, shared by its workers.
type progress struct {
	metrics *metrics
	behind  share
	started time.Time

	mu       sync.Mutex
	records  int64
	left     map[changelog]int64
	reported time.Time
}

type changelog struct {
	topic     string
	partition int32
}

func newProgress(m *metrics) *progress {
	return &progress{metrics: m, behind: share{of: m.restoreLeft}, started: time.Now(), reported: time.Now(), left: map[changelog]int64{}}
}

// read notes records of a changelog and how many offsets are behind them.
func (p *progress) read(log changelog, records int, left int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.records += int64(records)
	p.left[log] = left
	p.metrics.restored.Add(float64(records))
	p.behind.set(float64(p.sum()))
	p.metrics.restoreTill.Set(p.till().Seconds())
}

// till is the time left, at the rate so far.
func (p *progress) till() time.Duration {
	return time.Duration(float64(time.Since(p.started)) * float64(p.sum()) / float64(max(1, p.records)))
}

func (p *progress) sum() (n int64) {
	for _, l := range p.left {
		n += l
	}
	return n
}

// line is due every few seconds.
func (p *progress) line() (records, left int64, till time.Duration, due bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.reported) < 5*time.Second {
		return 0, 0, 0, false
	}
	p.reported = time.Now()
	return p.records, p.sum(), p.till(), true
}

func (p *progress) end() {
	p.behind.set(0)
	p.metrics.restoreTill.Set(0)
}

// fencer commits fence records. It has a transactional id of its own because a transaction of the session that carries no
// offsets takes half a second to end, and because fences must not wait for the running partitions' transactions.
type fencer struct {
	client *kgo.Client
	closed chan struct{} // after the end of write's context
}

// join waits for the end of the client, once write's context has ended.
func (f *fencer) join() {
	if f.client != nil {
		<-f.closed
	}
}

// write commits a fence and returns what names it. ctx is the same at every call.
func (f *fencer) write(ctx context.Context, cfg *Config, parts []*partition) (nonce string, err error) {
	if f.client == nil {
		f.client, err = kgo.NewClient(append(cfg.clientOptions(),
			kgo.TransactionalID(cfg.TransactionalID+"-fence"), kgo.TransactionTimeout(cfg.TransactionTimeout),
			kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0))...)
		if err != nil {
			return "", fmt.Errorf("opening fence client: %w", err)
		}
		// A record that may have reached the broker is waited for whatever the context of its call says, until its client closes.
		f.closed = make(chan struct{})
		context.AfterFunc(ctx, func() {
			f.client.Close()
			close(f.closed)
		})
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	nonce = rand.Text()
	var fences []*kgo.Record
	for _, topic := range []string{cfg.Table, cfg.Side} {
		for _, p := range parts {
			fences = append(fences, &kgo.Record{Topic: topic, Partition: p.id, Key: []byte(fenceKey), Value: []byte(nonce)})
		}
	}
	if err := f.client.BeginTransaction(); err != nil {
		return "", fmt.Errorf("beginning fence: %w", err)
	}
	if err := f.client.ProduceSync(ctx, fences...).FirstErr(); err != nil {
		return "", fmt.Errorf("writing fence: %w", err)
	}
	if err := f.client.EndTransaction(ctx, kgo.TryCommit); err != nil {
		return "", fmt.Errorf("committing fence: %w", err)
	}
	return nonce, nil
}

func (s *session) restoreSome(ctx context.Context, parts []*partition, fence string, progress *progress) error {
	from := map[string]map[int32]kgo.Offset{s.cfg.Table: {}, s.cfg.Side: {}}
	for _, p := range parts {
		for log, offset := range p.readFrom() {
			from[p.logs[log]][p.id] = offset
		}
	}
	client, err := kgo.NewClient(append(s.cfg.clientOptions(), kgo.ConsumePartitions(from),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()), // what is not there any more must not be passed over
		kgo.FetchIsolationLevel(kgo.ReadCommitted()))...)
	if err != nil {
		return fmt.Errorf("opening restore client: %w", err)
	}
	defer client.Close()
	passed := map[changelog]bool{}
	for len(passed) < len(parts)*2 {
		if records, left, till, due := progress.line(); due {
			s.cfg.Logger.Info("restoring", "group", s.cfg.Group, "records", records, "left", left, "time_left", till)
		}
		fetches := client.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			return err
		}
		var failed error
		fetches.EachError(func(topic string, p int32, err error) {
			failed = errors.Join(failed, fmt.Errorf("reading %s partition %d: %w", topic, p, err))
		})
		fetches.EachPartition(func(fp kgo.FetchTopicPartition) {
			log := changelog{fp.Topic, fp.Partition}
			if failed == nil && len(fp.Records) > 0 && !passed[log] {
				passed[log], failed = s.restoreFetched(fp, fence, progress)
				if !passed[log] {
					delete(passed, log)
				}
			}
		})
		if failed != nil {
			return failed
		}
	}
	return nil
}

// restoreFetched applies records up to the fence and tells whether it is among them.
func (s *session) restoreFetched(fp kgo.FetchTopicPartition, fence string, progress *progress) (passed bool, err error) {
	p, records, left := s.parts[fp.Partition], 0, int64(0)
	log := p.logOf(fp.Topic)
	p.compare(log, fp.Records[0])
	for _, r := range fp.Records {
		if err := p.restoreRecord(log, r); err != nil {
			return false, err
		}
		if !IsFence(r.Key) {
			records++
		} else if passed = s.engine.reaches(string(r.Value), fence); passed {
			break
		}
	}
	p.tidy()
	if !passed {
		left = fp.HighWatermark - fp.Records[len(fp.Records)-1].Offset - 1
	}
	progress.read(changelog{fp.Topic, fp.Partition}, records, left)
	return passed, nil
}
