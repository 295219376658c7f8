package engine_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/streams/engine"
)

const (
	// childBrokers makes this test binary a worker on the brokers it names.
	childBrokers = "CAUDAL_ENGINE_TEST_BROKERS"
	// childMember makes it that member of several.
	childMember = "CAUDAL_ENGINE_TEST_MEMBER"
	// childBrokerAssigns makes it leave the assignment to the broker.
	childBrokerAssigns = "CAUDAL_ENGINE_TEST_BROKER_ASSIGNS"
)

func TestMain(m *testing.M) {
	if addrs := os.Getenv(childBrokers); addrs != "" {
		os.Exit(work(strings.Split(addrs, ",")))
	}
	code := m.Run()
	leaveNoBinary()
	os.Exit(code)
}

// work runs the engine until it is killed, or its parent is.
func work(addrs []string) int {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // ends when the parent does
		cancel()
	}()
	cfg, callback := testConfig(addrs), engine.Callback(count)
	if member, err := strconv.Atoi(os.Getenv(childMember)); err == nil {
		cfg = memberConfig(addrs, member)
		cfg.BrokerAssigns = os.Getenv(childBrokerAssigns) != ""
		callback = countBy(cfg.InstanceID)
	}
	cfg.RecordsMax = 300 // many transactions to be killed in
	e, err := engine.New(cfg, callback)
	if err == nil {
		err = e.Run(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		return 3
	}
	return 0
}

type worker struct {
	cmd   *exec.Cmd
	stdin io.Closer
	ended chan error
}

func spawn(t *testing.T, addrs []string, env ...string) *worker {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), childBrokers+"="+strings.Join(addrs, ",")), env...)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	w := &worker{cmd: cmd, stdin: stdin, ended: make(chan error, 1)}
	go func() { w.ended <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return w
}

// TestKill9 kills the worker in mid-run, again and again, and audits every input and every key.
func TestKill9(t *testing.T) {
	const (
		records = 40_000
		kills   = 8
	)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	c := newCluster(t)
	feeding := make(chan error, 1)
	go func() {
		client := c.Client(kgo.ProducerLinger(time.Millisecond))
		for i, r := range inputs(records, 500) {
			client.Produce(t.Context(), r, nil)
			if i%100 == 0 {
				time.Sleep(15 * time.Millisecond) // spread over the kills
			}
		}
		feeding <- client.Flush(t.Context())
	}()
	w := spawn(t, c.Addrs)
	killed, progress := 0, c.Applied(group, input)
	deadline := time.Now().Add(60 * time.Second)
	fed := false
	for !fed || c.Lag(group, input) > 0 {
		select {
		case err := <-feeding:
			if err != nil {
				t.Fatal(err)
			}
			fed = true
		case err := <-w.ended:
			t.Fatalf("worker ended by itself: %v", err)
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("not done after %d kills: %d of %d", killed, c.Applied(group, input), records)
		}
		if killed < kills && c.Applied(group, input) > progress {
			time.Sleep(time.Duration(random.IntN(300)) * time.Millisecond)
			if err := w.cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := <-w.ended; err == nil {
				t.Fatal("a killed worker ended in order")
			}
			killed++
			progress = c.Applied(group, input)
			w = spawn(t, c.Addrs)
		}
	}
	if err := w.stdin.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-w.ended; err != nil {
		t.Fatalf("worker's orderly end: %v", err)
	}
	if killed < kills {
		t.Fatalf("only %d kills", killed)
	}
	if wrong := audit(c); len(wrong) > 0 {
		t.Fatalf("after %d kills: %d things wrong, first %s", killed, len(wrong), wrong[0])
	}
	if n := c.Applied(group, input); n != records {
		t.Fatalf("%d of %d inputs committed", n, records)
	}
}
