package engine_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/streams/engine"
	"github.com/caudalpay/caudal/streams/streamtest"
)

// TestBrokersDie kills each broker once, by kill -9 and in mid-run, and audits every input and every key.
func TestBrokersDie(t *testing.T) {
	const records = 20_000
	c := newCluster(t)
	if c.Kafka == nil {
		t.Skip("kfake is not crash-atomic: a broker's death is for Apache Kafka (make test-kafka)")
	}
	feeding := make(chan error, 1)
	go func() {
		client := c.Client()
		for i, r := range inputs(records, 300) {
			client.Produce(t.Context(), r, nil)
			if i%20 == 0 {
				time.Sleep(10 * time.Millisecond) // ten seconds of records
			}
		}
		feeding <- client.Flush(t.Context())
	}()
	killed := make(chan struct{})
	killing := errors.New("the killing did not come to an end")
	go func() {
		defer close(killed)
		killing = killEachBroker(t, c)
	}()
	t.Cleanup(func() { <-killed }) // before the brokers end with the test
	fed := false
	done := func() bool {
		select {
		case <-killed:
		default:
			return false
		}
		return fed && c.Lag(group, input) == 0
	}
	cfg := testConfig(c.Addrs)
	cfg.RecordsMax = 200
	lives := 0
	for deadline := time.Now().Add(4 * time.Minute); !done(); lives++ {
		if time.Now().After(deadline) {
			t.Fatalf("not done after %d starts: %d of %d", lives, c.Applied(group, input), records)
		}
		runUntilDone(t, cfg, func() bool {
			select {
			case err := <-feeding:
				if err != nil {
					t.Fatal(err)
				}
				fed = true
			default:
			}
			return done()
		})
	}
	if killing != nil {
		t.Fatal(killing)
	}
	t.Logf("%d brokers killed, %d starts of the engine", len(c.Addrs), lives)
	if wrong := audit(c); len(wrong) > 0 {
		t.Fatalf("%d things wrong, first %s", len(wrong), wrong[0])
	}
	if n := c.Applied(group, input); n != records {
		t.Fatalf("%d of %d inputs committed", n, records)
	}
}

// TestCommitsFollowEachOther: a produce that meets the markers of the last commit is refused (CONCURRENT_TRANSACTIONS) and
// tried again after a refresh of metadata, at most every 5 s unless the client is told otherwise. kfake has no such moment.
func TestCommitsFollowEachOther(t *testing.T) {
	const rounds, keys = 100, 40
	c := newCluster(t)
	e, err := engine.New(testConfig(c.Addrs), count)
	if err != nil {
		t.Fatal(err)
	}
	var commits []time.Duration
	e.OnCommit(func(took time.Duration) { commits = append(commits, took) }) // read after the engine's end
	r := startEngine(t, e)
	for i := range rounds {
		c.Produce(inputs(keys, keys)...)
		r.eventually("commit", func() bool { return c.Applied(group, input) == int64((i+1)*keys) })
	}
	r.stop()
	slow := 0
	for _, took := range commits {
		if took > time.Second {
			slow++
		}
	}
	if t.Logf("%d commits, slowest %v", len(commits), slices.Max(commits)); len(commits) < rounds || slow > 1 {
		t.Errorf("%d of %d commits took more than a second", slow, len(commits))
	}
	if wrong := audit(c); len(wrong) > 0 {
		t.Fatal(wrong)
	}
}

// killEachBroker lets records flow, kills one broker, lets what is left go on, and starts it again.
func killEachBroker(t *testing.T, c *streamtest.Cluster) error {
	ctx := t.Context()
	for i, addr := range c.Addrs {
		before := c.Applied(group, input)
		for c.Applied(group, input) < before+200 {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			time.Sleep(10 * time.Millisecond)
		}
		c.Kafka.KillBroker(i)
		time.Sleep(500 * time.Millisecond)
		if err := c.Kafka.RestartBroker(ctx, i); err != nil {
			return err
		}
		if err := awaitInSync(ctx, addr, len(c.Addrs)); err != nil {
			return err
		}
	}
	return nil
}

// awaitInSync asks the broker that came back: the others call it in sync until its session has expired.
func awaitInSync(ctx context.Context, addr string, replicas int) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.MetadataMinAge(100*time.Millisecond))
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	for {
		details, err := kadm.NewClient(client).ListTopics(ctx, input, output, table, side)
		behind := 0
		for _, d := range details {
			for _, p := range d.Partitions {
				if len(p.ISR) < replicas {
					behind++
				}
			}
		}
		if err == nil && behind == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d partitions are behind at %s: %w", behind, addr, errors.Join(err, ctx.Err()))
		case <-time.After(100 * time.Millisecond):
		}
	}
}
