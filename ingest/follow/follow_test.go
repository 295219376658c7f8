package follow_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/ingest/follow"
)

const topic = "followed"

func start(t *testing.T, cfg follow.Config, apply func(*kgo.Record)) *follow.Follower {
	t.Helper()
	cfg.Log = slog.New(slog.DiscardHandler)
	f, err := follow.New(cfg, apply)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if f.Ready() == nil {
			t.Error("ready after its end")
		}
	})
	return f
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

func produce(t *testing.T, brokers []string, texts ...string) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for _, text := range texts {
		if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Partition: 1, Value: []byte(text)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTailSeesOnlyWhatComesLater(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, topic))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	produce(t, c.ListenAddrs(), "old")
	seen := make(chan string, 10)
	f := start(t, follow.Config{Brokers: c.ListenAddrs(), Tail: &follow.Tail{Topic: topic, Partition: 1}}, func(r *kgo.Record) { seen <- string(r.Value) })
	eventually(t, "ready", func() bool { return f.Ready() == nil })
	produce(t, c.ListenAddrs(), "new")
	if got := <-seen; got != "new" {
		t.Fatalf("saw %q", got)
	}
}

func TestAPartitionThatIsNotThereIsNamed(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, topic))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	f := start(t, follow.Config{Brokers: c.ListenAddrs(), Tail: &follow.Tail{Topic: topic, Partition: 3}}, func(*kgo.Record) {})
	eventually(t, "named", func() bool {
		err := f.Ready()
		return err != nil && strings.Contains(err.Error(), "has no partition 3")
	})
}

// The broker goes and comes back on its data: nothing is missed, nothing is seen twice.
func TestBrokerAwayAndBack(t *testing.T) {
	dir := t.TempDir()
	open := func(opts ...kfake.Opt) *kfake.Cluster {
		c, err := kfake.NewCluster(append(opts, kfake.NumBrokers(1), kfake.DataDir(dir), kfake.SeedTopics(3, topic))...)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := open()
	addrs := c.ListenAddrs()
	produce(t, addrs, "0", "1")
	var next atomic.Int64
	f := start(t, follow.Config{Brokers: addrs, Topics: []string{topic}}, func(r *kgo.Record) {
		if want := fmt.Sprint(next.Load()); string(r.Value) != want {
			t.Errorf("saw %s, want %s", r.Value, want)
		}
		next.Add(1)
	})
	eventually(t, "ready", func() bool { return f.Ready() == nil })
	if next.Load() != 2 {
		t.Fatalf("ready after %d records", next.Load())
	}
	c.Close()
	time.Sleep(200 * time.Millisecond)
	var port int
	if _, err := fmt.Sscanf(addrs[0], "127.0.0.1:%d", &port); err != nil {
		t.Fatal(err)
	}
	again := open(kfake.Ports(port))
	t.Cleanup(again.Close)
	produce(t, addrs, "2", "3")
	eventually(t, "what came later", func() bool { return next.Load() == 4 })
}

func TestConfigIsChecked(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	for name, cfg := range map[string]follow.Config{
		"brokers": {Topics: []string{topic}, Log: log},
		"nothing": {Brokers: []string{"x:1"}, Log: log},
		"both":    {Brokers: []string{"x:1"}, Topics: []string{topic}, Tail: &follow.Tail{Topic: topic}, Log: log},
		"log":     {Brokers: []string{"x:1"}, Topics: []string{topic}},
	} {
		if _, err := follow.New(cfg, func(*kgo.Record) {}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
