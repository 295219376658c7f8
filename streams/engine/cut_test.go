package engine_test

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/caudalpay/caudal/streams/engine"
)

// cutter closes connections right after a request of a transaction was sent: the broker does it, the answer never comes.
type cutter struct {
	mu     sync.Mutex
	random *rand.Rand
	odds   map[kmsg.Key]float64
	cuts   map[kmsg.Key]int
	sent   map[kmsg.Key]int
}

func (c *cutter) dial(ctx context.Context, network, host string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, host)
	if err != nil {
		return nil, err
	}
	return cutConn{conn, c}, nil
}

func (c *cutter) hit(key kmsg.Key) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sent == nil {
		c.sent = map[kmsg.Key]int{}
	}
	c.sent[key]++
	if sure := c.sent[key] == 2; c.odds[key] == 0 || !sure && c.random.Float64() >= c.odds[key] { // chance may spare all
		return false
	}
	c.cuts[key]++
	return true
}

type cutConn struct {
	net.Conn
	cutter *cutter
}

// Write sees one request at a time: 4 bytes size, 2 bytes key.
func (c cutConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if err == nil && len(b) > 6 && c.cutter.hit(kmsg.Key(binary.BigEndian.Uint16(b[4:]))) {
		time.Sleep(time.Millisecond) // let the broker read it
		_ = c.Close()
	}
	return n, err
}

func TestCutConnections(t *testing.T) {
	const records = 10_000
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	cut := &cutter{
		random: rand.New(rand.NewPCG(seed, 2)),
		odds:   map[kmsg.Key]float64{kmsg.EndTxn: 0.1, kmsg.TxnOffsetCommit: 0.1, kmsg.Produce: 0.02},
		cuts:   map[kmsg.Key]int{},
	}
	c := newCluster(t)
	c.Produce(inputs(records, 300)...)
	cfg := testConfig(c.Addrs)
	cfg.RecordsMax = 200
	cfg.Options = []kgo.Opt{kgo.Dialer(cut.dial)}
	restarts := 0
	for deadline := time.Now().Add(60 * time.Second); c.Lag(group, input) > 0; restarts++ {
		if time.Now().After(deadline) {
			t.Fatalf("not done after %d starts: %d of %d", restarts, c.Applied(group, input), records)
		}
		runUntilDone(t, cfg, func() bool { return c.Lag(group, input) == 0 })
	}
	t.Logf("%d starts, cuts %v", restarts, cut.cuts)
	if cut.cuts[kmsg.EndTxn] == 0 || cut.cuts[kmsg.TxnOffsetCommit] == 0 {
		t.Fatal("nothing was cut")
	}
	if wrong := audit(c); len(wrong) > 0 {
		t.Fatalf("%d things wrong, first %s", len(wrong), wrong[0])
	}
}

// runUntilDone is one life of a supervised process: it may end with an error at any time.
func runUntilDone(t *testing.T, cfg engine.Config, done func() bool) {
	t.Helper()
	e, err := engine.New(cfg, count)
	if err != nil {
		t.Fatal(err)
	}
	r := startEngine(t, e)
	defer r.cancel()
	for {
		select {
		case err := <-r.ended:
			t.Logf("run ended: %v", err)
			return
		case <-time.After(10 * time.Millisecond):
		}
		if done() {
			r.cancel()
			if err := r.wait(); err != nil {
				t.Logf("run ended while stopping: %v", err)
			}
			return
		}
	}
}
