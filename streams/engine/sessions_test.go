package engine_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/caudalpay/caudal/streams/engine"
)

// slowConn holds back requests.
type slowConn struct {
	net.Conn
	hold func(key kmsg.Key, request []byte) time.Duration
}

func (c slowConn) Write(b []byte) (int, error) {
	if len(b) > 6 {
		time.Sleep(c.hold(kmsg.Key(binary.BigEndian.Uint16(b[4:])), b))
	}
	return c.Conn.Write(b)
}

// slowly dials connections that hold back requests for as long as they are told.
func slowly(hold func(key kmsg.Key, request []byte) time.Duration) kgo.Opt {
	return kgo.Dialer(func(ctx context.Context, network, host string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, host)
		return slowConn{conn, hold}, err
	})
}

// TestSessionsWorkOnWhileOneCommits: a commit that hangs holds up the partitions of its session and no others. With one
// session it holds up all.
func TestSessionsWorkOnWhileOneCommits(t *testing.T) {
	const hold = 500 * time.Millisecond
	for _, sessions := range []int{1, 2} {
		c := newCluster(t)
		o := observe(c)
		f := feed(c, 5*time.Millisecond, 8, 2000)
		reg := prometheus.NewRegistry()
		r := startMember(t, c, 0, func(cfg *engine.Config) {
			cfg.Sessions, cfg.Registerer = sessions, reg
			id := append([]byte{byte(len(cfg.TransactionalID) + 1)}, cfg.TransactionalID...) // a compact string
			cfg.Options = []kgo.Opt{slowly(func(key kmsg.Key, request []byte) time.Duration {
				if key == kmsg.EndTxn && bytes.Contains(request, id) {
					return hold
				}
				return 0
			})}
		})
		r.eventually("all partitions", func() bool { return r.engine.Ready() == nil && r.engine.Partitions() == partitions })
		if n := gathered(t, reg)["caudal_streams_partitions"]; n != partitions {
			t.Errorf("the metric tells %v partitions", n)
		}
		time.Sleep(2 * time.Second) // members that join share out what there is
		o.forget()
		time.Sleep(3 * time.Second)
		slow := 0
		for p := range int32(partitions) {
			worst := o.pause(p)
			t.Logf("%d sessions: partition %d paused for %v at most", sessions, p, worst)
			if worst >= hold {
				slow++
			}
		}
		if want := partitions / sessions; slow != want {
			t.Errorf("%d sessions: %d partitions were held up, not %d", sessions, slow, want)
		}
		f.stop(t)
		finish(t, c, r)
	}
}

// TestNumberOfSessionsChanges: state and order stay right when a process comes back with more sessions, or fewer, and the
// state of those that are no more does not stay on disk.
func TestNumberOfSessionsChanges(t *testing.T) {
	onDisk(t)
	c := newCluster(t)
	dir := memberConfig(c.Addrs, 0).Dir
	for _, sessions := range []int{1, 3, 2, 1} {
		c.Produce(inputs(500, 60)...)
		r := startMember(t, c, 0, func(cfg *engine.Config) { cfg.Sessions = sessions })
		r.ready()
		r.caughtUp(c)
		r.stop()
		names, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		further := slices.DeleteFunc(names, func(e os.DirEntry) bool { return !strings.HasPrefix(e.Name(), "session.") })
		if len(further) != sessions-1 {
			t.Errorf("%d sessions: %s holds %v", sessions, filepath.Base(dir), further)
		}
	}
	if wrong := oracle(c); len(wrong) > 0 {
		t.Fatalf("%d things wrong, first %s", len(wrong), wrong[0])
	}
}

// TestSessionBeginsAnew: where one of two sessions fails, the other's partitions do not pause, and it begins anew in the
// same process; one that fails again and again ends the process, as a single one does at once.
func TestSessionBeginsAnew(t *testing.T) {
	c := newFake(t)
	o := observe(c)
	f := feed(c, 5*time.Millisecond, 8, 2000)
	log, reg := newJournal(), prometheus.NewRegistry()
	r := startMember(t, c, 0, func(cfg *engine.Config) {
		cfg.Sessions, cfg.Registerer, cfg.Logger = 2, reg, slog.New(log)
	})
	r.eventually("all partitions", func() bool { return r.engine.Ready() == nil && r.engine.Partitions() == partitions })
	time.Sleep(2 * time.Second) // members that join share out what there is
	o.forget()
	fails := func(times int) {
		c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, TxnID: "tx-0.1", Err: kerr.GroupAuthorizationFailed, Count: times})
	}
	fails(1)
	r.eventually("a session anew", func() bool {
		return len(log.with("session begins anew", "worker-0.1")) == 1 && r.engine.Partitions() == partitions
	})
	time.Sleep(200 * time.Millisecond)
	calm := 0
	for p := range int32(partitions) {
		worst := o.pause(p)
		t.Logf("partition %d paused for %v at most", p, worst)
		if worst < 100*time.Millisecond {
			calm++
		}
	}
	if calm < partitions/2 {
		t.Errorf("%d partitions went on, not %d", calm, partitions/2)
	}
	if told := gathered(t, reg); told["caudal_streams_session_restarts_total"] != 1 || told["caudal_streams_partitions"] != partitions {
		t.Errorf("the metrics tell of %v restarts and %v partitions", told["caudal_streams_session_restarts_total"], told["caudal_streams_partitions"])
	}
	fails(-1)
	if err := r.wait(); !errors.Is(err, engine.ErrUnknownCommit) {
		t.Errorf("a session that fails for ever ends its process with %v", err)
	}
	f.stop(t)
}

// TestSessionThatTakesTooLong: a transaction over its timeout is ended by the broker, which then speaks of another producer;
// it costs the session and no more.
func TestSessionThatTakesTooLong(t *testing.T) {
	c := newFake(t)
	log := newJournal()
	cfg := memberConfig(c.Addrs, 0)
	cfg.Sessions, cfg.Logger, cfg.CallbackTimeout = 2, slog.New(log), 5*time.Second
	var slow atomic.Bool
	counts := countBy(cfg.InstanceID)
	r := start(t, cfg, func(ctx *engine.Context, value []byte) error {
		if slow.CompareAndSwap(true, false) {
			time.Sleep(2 * cfg.TransactionTimeout)
		}
		return counts(ctx, value)
	})
	r.eventually("all partitions", func() bool { return r.engine.Ready() == nil && r.engine.Partitions() == partitions })
	slow.Store(true)
	c.Produce(inputs(400, 40)...)
	r.caughtUp(c)
	if len(log.with("session begins anew")) == 0 {
		t.Errorf("the session went on: %q", log.with(""))
	}
	finish(t, c, r)
}

// TestSessionFailsInARestore: what it told of the restore ends with it.
func TestSessionFailsInARestore(t *testing.T) {
	c := newFake(t)
	c.Produce(inputs(20_000, 4000)...)
	first := startMember(t, c, 0)
	first.caughtUp(c)
	first.stop()
	log, reg := newJournal(), prometheus.NewRegistry()
	var fetched atomic.Int64
	c.Fault(kfake.Fault{
		Keys: []kmsg.Key{kmsg.Fetch}, Topic: side, Err: kerr.TopicAuthorizationFailed, Count: 1,
		When: func(kmsg.Request) bool { return fetched.Add(1) > 12 },
	})
	r := startMember(t, c, 0, func(cfg *engine.Config) {
		cfg.Sessions, cfg.Registerer, cfg.Logger = 2, reg, slog.New(log)
		cfg.Options = []kgo.Opt{kgo.FetchMaxPartitionBytes(20_000), kgo.FetchMaxBytes(60_000)} // many of them
	})
	r.eventually("all partitions", func() bool { return r.engine.Ready() == nil && r.engine.Partitions() == partitions })
	if len(log.with("session begins anew", "restoring")) != 1 {
		t.Fatalf("no restore failed: %q", log.with(""))
	}
	if left := gathered(t, reg)["caudal_streams_restore_remaining_records"]; left != 0 {
		t.Errorf("nothing is restored, and the metric tells of %v records to be read", left)
	}
	finish(t, c, r)
}
