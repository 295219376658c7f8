package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/cmd/caudal/client"
	"github.com/caudalpay/caudal/cmd/caudal/embedded/broker"
	"github.com/caudalpay/caudal/cmd/caudal/embedded/child"
	"github.com/caudalpay/caudal/cmd/caudal/rig"
	"github.com/caudalpay/caudal/cmd/caudal/up"
	"github.com/caudalpay/caudal/schemas/topics"
	"github.com/caudalpay/caudal/streams/engine"
)

// worker is the process id of one of several streams workers. One that is just being started is waited for.
func (h *house) worker(instance int) int {
	h.t.Helper()
	for until := time.Now().Add(20 * time.Second); time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
		if pid, runs := rig.Worker(h.cmd.Process.Pid, instance); runs {
			return pid
		}
	}
	h.t.Fatalf("no worker %d: %s", instance, h.out)
	return 0
}

// byWorker is a metric of each worker that answers.
func (h *house) byWorker(name string) map[string]float64 {
	h.t.Helper()
	values := map[string]float64{}
	for _, m := range h.metrics()[name].GetMetric() {
		for _, l := range m.GetLabel() {
			if l.GetName() == "worker" {
				values[l.GetValue()] += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return values
}

// shared waits until every partition is worked on, and by all workers.
func (h *house) shared(workers int) map[string]float64 {
	h.t.Helper()
	for until := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		held, sum := h.byWorker("caudal_streams_partitions"), 0.0
		for _, n := range held {
			sum += n
		}
		if len(held) == workers && sum == topics.PartitionsDefault && !slices.Contains(slices.Collect(maps.Values(held)), 0) {
			return held
		}
		if time.Now().After(until) {
			h.t.Fatalf("%d partitions over %d workers: %v", topics.PartitionsDefault, workers, held)
		}
	}
}

// Invariant: a sample day closes with three workers of which one is killed in the middle of it.
func TestSampleDayWithThreeWorkers(t *testing.T) {
	h := &house{t: t, data: t.TempDir(), http: freeAddress(t), out: &bytes.Buffer{}}
	h.cmd = caudal(t, append([]string{
		"up", "--once", "-o", "json", "--data", h.data, "--http", h.http, "--clickhouse-http", "127.0.0.1:0", "--workers", "3", "--seed", "3",
	}, kafka(t)...)...)
	var summary bytes.Buffer
	h.cmd.Stdout, h.cmd.Stderr = &summary, h.out
	if err := child.Start(h.cmd, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.cmd.Process.Kill() }) // fails where it has ended, as it should have
	ended := make(chan error, 1)
	go func() { ended <- h.cmd.Wait() }()
	decided := func() float64 {
		resp, err := http.Get("http://" + h.http + "/readyz") //nolint:noctx // on loopback, in a test
		if err != nil {
			return 0 // not there yet
		}
		_ = resp.Body.Close() // only whether it answers counts
		return h.metric("caudal_streams_records_total")
	}
	for until := time.Now().Add(2 * time.Minute); decided() < 5_000; time.Sleep(10 * time.Millisecond) {
		select {
		case err := <-ended:
			t.Fatalf("ended before the day was under way: %v %s", err, h.out)
		default:
		}
		if time.Now().After(until) {
			t.Fatalf("the day does not begin: %s", h.out)
		}
	}
	h.signal(h.worker(1), syscall.SIGKILL)
	at := h.metric("caudal_ingest_commands_total")
	if err := <-ended; err != nil {
		t.Fatalf("%v\n%s\n%s", err, summary.Bytes(), h.out)
	}
	var s up.Summary
	if err := json.Unmarshal(summary.Bytes(), &s); err != nil || !s.Closed() {
		t.Fatalf("%v: the books do not close: %s", err, summary.Bytes())
	}
	if at >= float64(s.Accepted) {
		t.Errorf("the worker was killed when all %d commands had come in: nothing is shown", s.Accepted)
	}
	t.Logf("killed at command %.0f of %d; %.0f a second", at, s.Accepted, s.PerSecond)
	verifyStrictly(t, h.data)
}

// Invariant: while a worker sleeps, the others go on, and have its partitions when its session is over; when it wakes it
// takes part again, and what it had in hand took no effect twice.
func TestWorkerAsleep(t *testing.T) {
	t.Parallel()
	const session = 2 * time.Second
	h := startHouse(t, t.TempDir(), "--workers", "3", "--session-timeout", session.String(), "--transaction-timeout", "1s")
	api := h.api(t)
	defer api.Close()
	accounts := h.openAccounts(t, api, 60)
	h.shared(3)
	stopFlood := h.flooded(api, accounts)
	h.signal(h.worker(2), syscall.SIGSTOP)
	asleep := time.Now()
	longest, last := time.Duration(0), asleep
	// Every account is decided while the worker sleeps: it is woken only after.
	for i, account := range accounts {
		for until := time.Now().Add(time.Minute); !h.decidesOnce(api, account, i); {
			if time.Now().After(until) {
				t.Fatalf("account %d is not decided while a worker sleeps: %s", i, h.out)
			}
		}
		longest, last = max(longest, time.Since(last)), time.Now()
	}
	t.Logf("asleep for %v; the longest wait for a decision was %v, with a session of %v", time.Since(asleep), longest, session)
	if held := h.byWorker("caudal_streams_partitions"); held["0"]+held["1"] != topics.PartitionsDefault {
		t.Errorf("the others have not all partitions: %v", held)
	}
	h.signal(h.worker(2), syscall.SIGCONT)
	h.rises(time.Minute)
	h.shared(3)
	acknowledged := stopFlood()
	h.settle(t, api, accounts)
	h.stored(acknowledged)
	h.stop()
	verifyStrictly(t, h.data)
}

// decidesOnce tells whether a payment, the same at every try, is decided within seconds.
func (h *house) decidesOnce(api *client.Client, account string, serial int) bool {
	ctx, cancel := context.WithTimeout(h.t.Context(), 5*time.Second)
	defer cancel()
	answer, err := api.Do(ctx, client.Request{
		Method: http.MethodPost, Path: "/payins", Key: fmt.Sprintf("asleep-%d", serial), Prefer: "wait=1",
		Body: map[string]any{"account_id": account, "amount": 1, "currency": "BRL", "method": map[string]string{"type": "book"}, "reference": "asleep"},
	})
	return err == nil && (answer.Status == http.StatusCreated || answer.Status == http.StatusOK)
}

// writeState puts a record into the state of partition 0 of a house that is down.
func writeState(t *testing.T, data string, key engine.SideKey, value string) {
	t.Helper()
	server, err := broker.Start(t.Context(), broker.Config{Data: filepath.Join(data, "broker")})
	if err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(server.Addrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: topics.AccountsSide, Key: key.Encode(), Value: []byte(value)}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	client.Close()
	if err := server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Invariant: state of another topology or of a newer release ends `up`, with what to do; neither is changed by the try, and
// what it says to do helps.
func TestRefusedStatesSayWhatToDo(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	h := startHouse(t, data)
	api := h.api(t)
	h.settle(t, api, h.openAccounts(t, api, 20)) // of these, some live in partition 0
	api.Close()
	h.stop()
	graph := engine.SideKey{Scope: engine.ScopePartition, Kind: engine.GraphKind}

	writeState(t, data, graph, "\x01input payments.commands.v0\npartitions 16")
	for range 2 { // the first changed nothing
		h.refusedStart(data).says("partition 0 was written by a group accounts with other edges", "caudal up --data "+data+" --accept-graph")
	}
	h = startHouse(t, data, "--accept-graph", "--workers", "2")
	api = h.api(t)
	h.settle(t, api, h.openAccounts(t, api, 20))
	api.Close()
	h.stop()
	h = startHouse(t, data) // taken over: no flag is needed any more
	h.stop()

	writeState(t, data, graph, "\x09whatever")
	h.refusedStart(data).says("has version 9", "Put the release that wrote it in place")
	h.refusedStart(data, "--accept-graph").says("has version 9")
}

// says fails where words are missing from what a house printed.
func (h *house) says(words ...string) {
	h.t.Helper()
	for _, w := range words {
		if !strings.Contains(h.out.String(), w) {
			h.t.Fatalf("%q is not in: %s", w, h.out)
		}
	}
}

// Invariant: a clean stop leaves nothing half way although a worker stands still: what waits in its partitions is quiet, and
// that is no end.
func TestBooksCloseThoughAWorkerStoodStill(t *testing.T) {
	t.Parallel()
	h := startHouse(t, t.TempDir(), "--workers", "3")
	api := h.api(t)
	defer api.Close()
	accounts := h.openAccounts(t, api, 3)
	h.shared(3)
	workers := []int{h.worker(1), h.worker(2)}
	for _, pid := range workers {
		h.signal(pid, syscall.SIGSTOP)
	}
	h.payAsync(t, api, accounts, "left-behind")
	if err := h.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	time.Sleep(1500 * time.Millisecond) // enough to be taken in by the quiet
	for _, pid := range workers {
		h.signal(pid, syscall.SIGCONT)
	}
	if err := h.cmd.Wait(); err != nil {
		t.Fatalf("stopping: %v\n%s", err, h.out)
	}
	verifyStrictly(t, h.data)
}
