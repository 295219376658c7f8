package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/cmd/caudal/client"
	"github.com/caudalpay/caudal/cmd/caudal/embedded/broker"
	"github.com/caudalpay/caudal/cmd/caudal/embedded/child"
	"github.com/caudalpay/caudal/cmd/caudal/repair"
	"github.com/caudalpay/caudal/cmd/caudal/up"
	"github.com/caudalpay/caudal/schemas/topics"
	"github.com/caudalpay/caudal/sinks/audit"
)

var brokerKills = flag.Int("broker-kills", 4, "how often TestBrokerKilled kills")

// addresses of the parts of a house.
func (h *house) addresses() (a up.Addresses) {
	h.t.Helper()
	body, err := os.ReadFile(filepath.Join(h.data, "addresses.json"))
	if err == nil {
		err = json.Unmarshal(body, &a)
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return a
}

// part is the process id of a child: postgres, or the subcommand it runs. One that is just being started is waited for.
func (h *house) part(name string) int {
	h.t.Helper()
	for until := time.Now().Add(20 * time.Second); time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
		if pid := h.find(name); pid != 0 {
			return pid
		}
	}
	h.t.Fatalf("no child %s: %s", name, h.out)
	return 0
}

func (h *house) find(name string) int {
	h.t.Helper()
	for pid := range child.Family(h.cmd.Process.Pid) {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		stat, statErr := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || statErr != nil {
			continue
		}
		parent := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))[1]
		words := strings.Split(string(line), "\x00")
		if parent == strconv.Itoa(h.cmd.Process.Pid) && (filepath.Base(words[0]) == name || len(words) > 1 && words[1] == name) {
			return pid
		}
	}
	return 0
}

// signal reaches a part and everything under it.
func (h *house) signal(pid int, s syscall.Signal) {
	for below := range child.Family(pid) {
		_ = syscall.Kill(below, s) // may have ended by itself
	}
	if err := syscall.Kill(pid, s); err != nil {
		h.t.Errorf("%v to %d: %v", s, pid, err)
	}
}

// gone tells whether the process has ended, without waiting for it.
func (h *house) gone() bool {
	return !child.Alive(h.cmd.Process.Pid)
}

// falls waits until the house says that it is not ready, rises until it is again.
func (h *house) falls(limit time.Duration) { h.t.Helper(); h.becomes(false, limit) }
func (h *house) rises(limit time.Duration) { h.t.Helper(); h.becomes(true, limit) }

func (h *house) becomes(ready bool, limit time.Duration) {
	h.t.Helper()
	for until := time.Now().Add(limit); h.ready() != ready; time.Sleep(5 * time.Millisecond) {
		if h.gone() {
			h.t.Fatalf("the house has ended: %s", h.out)
		}
		if time.Now().After(until) {
			h.t.Fatalf("readiness was not %v within %v", ready, limit)
		}
	}
}

// flooded keeps payments flowing until the function returned is called; that hands back nothing but their ids.
func (h *house) flooded(api *client.Client, accounts []string) (stop func() []string) {
	ctx, cancel := context.WithCancel(context.Background())
	f := &flood{pace: 30 * time.Millisecond}
	var senders sync.WaitGroup
	for range 2 {
		senders.Go(func() { f.run(ctx, api, accounts) })
	}
	return func() []string {
		cancel()
		senders.Wait()
		return f.acknowledged
	}
}

// stored fails for payments that were acknowledged and are not in Postgres.
func (h *house) stored(ids []string) {
	h.t.Helper()
	conn, err := pgx.Connect(h.t.Context(), h.addresses().Postgres)
	if err != nil {
		h.t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }() // it has answered
	var n int
	for until := time.Now().Add(30 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		if err := conn.QueryRow(h.t.Context(), `SELECT count(DISTINCT payment_id) FROM payments.payments WHERE payment_id = ANY($1)`, ids).Scan(&n); err != nil {
			h.t.Fatal(err)
		}
		if n == len(ids) {
			break
		}
		if time.Now().After(until) {
			h.t.Fatalf("%d payments were acknowledged, %d are there, the others are lost", len(ids), n)
		}
	}
	if n == 0 {
		h.t.Fatal("nothing was acknowledged")
	}
	h.t.Logf("%d acknowledged payments are there", n)
}

func verifyStrictly(t *testing.T, data string) string {
	t.Helper()
	out, err := caudal(t, "verify", "--data", data).CombinedOutput()
	if err != nil {
		t.Fatalf("verify: %v\n%s", err, out)
	}
	return string(out)
}

// Invariant: whatever part dies or stands still while payments flow, /readyz says so and comes back by itself, nothing
// acknowledged is lost, and the books close.
func TestOutages(t *testing.T) {
	t.Parallel()
	h := startHouse(t, t.TempDir())
	api := h.api(t)
	defer api.Close()
	accounts := h.openAccounts(t, api, 20)
	stopFlood := h.flooded(api, accounts)
	for _, part := range []string{"postgres", "__clickhouse"} {
		t.Run("kill "+part, func(t *testing.T) {
			h.t = t
			h.signal(h.part(part), syscall.SIGKILL)
			h.falls(10 * time.Second)
			h.rises(60 * time.Second)
		})
		t.Run("stop "+part, func(t *testing.T) {
			h.t = t
			pid := h.part(part)
			h.signal(pid, syscall.SIGSTOP)
			stopped := time.Now()
			h.falls(5 * time.Second)
			time.Sleep(time.Until(stopped.Add(3 * time.Second)))
			h.signal(pid, syscall.SIGCONT)
			h.rises(60 * time.Second)
		})
	}
	t.Run("stop the broker", func(t *testing.T) {
		h.t = t
		pid := h.part("__broker")
		h.signal(pid, syscall.SIGSTOP)
		stopped := time.Now()
		answered := make(chan error, 1)
		go func() { answered <- h.payMeanwhile(accounts[0]) }()
		h.falls(5 * time.Second)
		time.Sleep(time.Until(stopped.Add(3 * time.Second)))
		h.signal(pid, syscall.SIGCONT)
		if err := <-answered; err != nil {
			t.Error(err)
		}
		h.rises(60 * time.Second)
	})
	t.Run("kill the worker", func(t *testing.T) {
		h.t = t
		for range 6 {
			h.signal(h.part("worker"), syscall.SIGKILL)
			h.falls(10 * time.Second)
			h.metrics() // the house's own are there without the worker's
			h.rises(60 * time.Second)
		}
	})
	h.t = t
	acknowledged := stopFlood()
	h.settle(t, api, accounts)
	h.stored(acknowledged)
	h.stop()
	verifyStrictly(t, h.data)
}

// Invariant: an orderly stop closes the door first, and what had come in is decided and answered.
func TestStopAnswersWhatIsInFlight(t *testing.T) {
	t.Parallel()
	h := startHouse(t, t.TempDir())
	api := h.api(t)
	defer api.Close()
	accounts := h.openAccounts(t, api, 10) // fewer than the client has connections
	worker := h.part("worker")
	h.signal(worker, syscall.SIGSTOP) // decisions wait
	type result struct {
		answer client.Answer
		err    error
	}
	results := make(chan result, len(accounts))
	sent := make(chan struct{}, 10*len(accounts)) // a request may be repeated
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { sent <- struct{}{} }})
	for _, account := range accounts {
		go func() {
			a, err := api.Do(ctx, client.Request{Method: http.MethodPost, Path: "/payins", Key: "in-flight", Prefer: "wait=20", Body: map[string]any{
				"account_id": account, "amount": 1, "currency": "BRL", "method": map[string]string{"type": "book"}, "reference": "in flight",
			}})
			results <- result{a, err}
		}()
	}
	for range accounts {
		<-sent
	}
	time.Sleep(200 * time.Millisecond) // to be read; much longer, and the broker would take the worker for dead
	if err := h.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond)
	h.signal(worker, syscall.SIGCONT)
	for range accounts {
		if r := <-results; r.err != nil || r.answer.Status != http.StatusCreated {
			t.Errorf("a payment in flight was answered %d %s %v", r.answer.Status, r.answer.Body, r.err)
		}
	}
	if err := h.cmd.Wait(); err != nil {
		t.Errorf("stopping: %v %s", err, h.out)
	}
}

// payMeanwhile sends one payment and wants an honest answer: decided, taken, or not now.
func (h *house) payMeanwhile(account string) error {
	token, err := os.ReadFile(filepath.Join(h.data, "dev.token"))
	if err != nil {
		return err
	}
	body := fmt.Sprintf(`{"account_id":%q,"amount":1,"currency":"BRL","method":{"type":"book"},"reference":"meanwhile"}`, account)
	req, err := http.NewRequest(http.MethodPost, "http://"+h.http+"/payins", strings.NewReader(body)) //nolint:noctx // the client's time-out ends it
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	req.Header.Set("Idempotency-Key", "meanwhile")
	resp, err := (&http.Client{Timeout: 30 * time.Second}).Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // read below
	answer, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode == http.StatusCreated, resp.StatusCode == http.StatusAccepted:
	case resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") != "":
	default:
		return fmt.Errorf("while the broker stood still a payment was answered %d: %s", resp.StatusCode, answer)
	}
	return nil
}

// Invariant: kill -9 of the embedded broker leaves a house that goes on by itself, or that stops, names the partition and
// the command that repairs it; after which nothing acknowledged is lost and the books close.
func TestBrokerKilled(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	t.Cleanup(func() { logTail(t, filepath.Join(data, "logs", "broker.log")) })
	h := startHouse(t, data)
	api := h.api(t)
	accounts := h.openAccounts(t, api, 20)
	stopFlood := h.flooded(api, accounts)
	repairs := 0
	for range *brokerKills {
		time.Sleep(700 * time.Millisecond)
		h.signal(h.part("__broker"), syscall.SIGKILL)
		time.Sleep(200 * time.Millisecond)
		// Readiness alone may be of the moment before the loss is noticed: a decision is of the time after.
		for until := time.Now().Add(60 * time.Second); !h.gone() && !h.decides(api, accounts[0]); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(until) {
				t.Fatalf("neither deciding nor ended: %s", h.out)
			}
		}
		if !h.gone() {
			continue
		}
		_ = h.cmd.Wait() // its words count
		h.namesTheRepair()
		if out, err := caudal(t, "repair", "--data", data).CombinedOutput(); err != nil {
			t.Fatalf("repair: %v\n%s", err, out)
		}
		repairs++
		h = startHouseAt(t, h.http, data) // the flood goes on at the same door
	}
	t.Logf("%d kills, %d repairs", *brokerKills, repairs)
	acknowledged := stopFlood()
	h.settle(t, api, accounts)
	h.stored(acknowledged)
	api.Close()
	h.stop()
	verifyStrictly(t, data)
}

// decides tells whether a payment sent now is decided within seconds.
func (h *house) decides(api *client.Client, account string) bool {
	ctx, cancel := context.WithTimeout(h.t.Context(), 5*time.Second)
	defer cancel()
	answer, err := api.Do(ctx, client.Request{
		Method: http.MethodPost, Path: "/payins", Key: fmt.Sprintf("decides-%d", time.Now().UnixNano()), Prefer: "wait=3",
		Body: map[string]any{"account_id": account, "amount": 1, "currency": "BRL", "method": map[string]string{"type": "book"}, "reference": "decides"},
	})
	return err == nil && answer.Status == http.StatusCreated
}

// logTail shows the last lines of a log of a test that failed.
func logTail(t *testing.T, path string) {
	t.Helper()
	body, err := os.ReadFile(path)
	if t.Failed() {
		t.Logf("%s: %v\n%s", path, err, body[max(0, len(body)-6000):])
	}
}

func (h *house) namesTheRepair() {
	h.t.Helper()
	for _, words := range []string{"torn commit: partition ", "caudal repair --data " + h.data} {
		if !strings.Contains(h.out.String(), words) {
			h.t.Fatalf("%q is not in: %s", words, h.out)
		}
	}
}

// seedOffset moves the group's offset in the fullest partition by hand.
func seedOffset(t *testing.T, data string, by int64) {
	t.Helper()
	server, err := broker.Start(t.Context(), broker.Config{Data: filepath.Join(data, "broker")})
	if err != nil {
		t.Fatal(err)
	}
	cfg := repair.Config{Brokers: server.Addrs(), Partitions: topics.PartitionsDefault, Patience: 10 * time.Second, Log: slog.New(slog.DiscardHandler)}
	found, err := repair.Inspect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	fullest := found[0]
	for _, p := range found {
		if p.Verdict != repair.Whole {
			t.Fatalf("differs before it was made to: %+v", p)
		}
		if p.Decided == p.Applied && p.Applied > fullest.Applied {
			fullest = p
		}
	}
	fullest.Applied += by
	fullest.Verdict = repair.Torn
	if err := repair.Commit(t.Context(), cfg, []repair.Partition{fullest}); err != nil {
		t.Fatal(err)
	}
	if err := server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestRepair(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	h := startHouse(t, data)
	api := h.api(t)
	h.settle(t, api, h.openAccounts(t, api, 20))
	api.Close()
	h.stop()

	seedOffset(t, data, +1)
	out, err := caudal(t, "repair", "--data", data).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "must be rebuilt from the log: partition ") {
		t.Fatalf("an offset ahead of the state: %v\n%s", err, out)
	}
	forward := h.refusedStart(data)
	forward.namesTheRepair()

	setCommitted(t, data) // as a repair by hand would
	seedOffset(t, data, -2)
	h.refusedStart(data).namesTheRepair()
	out, err = caudal(t, "repair", "--data", data, "--dry-run").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "1 partitions can be repaired") {
		t.Fatalf("dry run: %v\n%s", err, out)
	}
	h.refusedStart(data).namesTheRepair() // it changed nothing
	out, err = caudal(t, "repair", "--data", data).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "1 partitions repaired") {
		t.Fatalf("repair: %v\n%s", err, out)
	}
	h = startHouse(t, data)
	out, err = caudal(t, "repair", "--data", data).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "stop it first") {
		t.Fatalf("repair of a running installation: %v\n%s", err, out)
	}
	h.stop()
	out, err = caudal(t, "repair", "--data", data).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "nothing to repair") {
		t.Fatalf("repair of a whole installation: %v\n%s", err, out)
	}
	verifyStrictly(t, data)
}

// setCommitted makes every partition's committed offset what its state has applied.
func setCommitted(t *testing.T, data string) {
	t.Helper()
	server, err := broker.Start(t.Context(), broker.Config{Data: filepath.Join(data, "broker")})
	if err != nil {
		t.Fatal(err)
	}
	cfg := repair.Config{Brokers: server.Addrs(), Partitions: topics.PartitionsDefault, Patience: 10 * time.Second, Log: slog.New(slog.DiscardHandler)}
	found, err := repair.Inspect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	for i := range found {
		if found[i].Verdict != repair.Whole {
			found[i].Verdict = repair.Torn
		}
	}
	if err := repair.Commit(t.Context(), cfg, found); err != nil {
		t.Fatal(err)
	}
	if err := server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// refusedStart runs an `up` that has to end by itself.
func (h *house) refusedStart(data string, args ...string) *house {
	h.t.Helper()
	r := &house{t: h.t, data: data, out: &bytes.Buffer{}}
	ctx, cancel := context.WithTimeout(h.t.Context(), time.Minute)
	defer cancel()
	cmd := caudal(h.t, append([]string{"up", "--data", data, "--http", freeAddress(h.t), "--clickhouse-http", "127.0.0.1:0"}, args...)...)
	r.cmd = exec.CommandContext(ctx, cmd.Path, cmd.Args[1:]...)
	r.cmd.Env, r.cmd.Stdout, r.cmd.Stderr = cmd.Env, r.out, r.out
	if err := r.cmd.Run(); err == nil || ctx.Err() != nil {
		h.t.Fatalf("a torn house started: %v %s", err, r.out)
	}
	return r
}

// Invariant: a command nobody can decode parks its account, or goes to the dead letters where it has none; all other
// accounts go on, and every count of it agrees.
func TestPoison(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	h := startHouse(t, data)
	api := h.api(t)
	accounts := h.openAccounts(t, api, 20)
	stopFlood := h.flooded(api, accounts[2:])
	client, err := kgo.NewClient(kgo.SeedBrokers(h.addresses().Brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	sick, well := accounts[0], accounts[1]
	err = client.ProduceSync(t.Context(),
		&kgo.Record{Topic: topics.Commands, Partition: topics.Partition([]byte(sick), topics.PartitionsDefault), Key: []byte(sick), Value: []byte("\xff\xffnonsense")},
		&kgo.Record{Topic: topics.Commands, Partition: topics.Partition([]byte(well), topics.PartitionsDefault), Value: []byte("\xff\xffnonsense")},
	).FirstErr()
	if err != nil {
		t.Fatal(err)
	}
	if status, body := h.pay(t, api, sick, "behind"); status != http.StatusAccepted {
		t.Errorf("a payment behind a parked one was answered %d %s", status, body)
	}
	if status, body := h.pay(t, api, well, "beside"); status != http.StatusCreated {
		t.Errorf("a payment of another account in the partition of a dead letter was answered %d %s", status, body)
	}
	acknowledged := stopFlood()
	h.settle(t, api, accounts[1:])
	h.stored(acknowledged)
	ends, err := kadm.NewClient(client).ListCommittedOffsets(t.Context(), topics.DeadLetters)
	if err != nil || ends.Error() != nil {
		t.Fatal(err, ends.Error())
	}
	var dead int64
	ends.Each(func(o kadm.ListedOffset) { dead += o.Offset })
	if dead < 1 {
		t.Error("no dead letter was written")
	}
	for metric, want := range map[string]float64{"caudal_streams_parked_keys": 1, "caudal_streams_dead_letters_total": 1} {
		if got := h.metric(metric); got != want {
			t.Errorf("%s is %v, want %v", metric, got, want)
		}
	}
	api.Close()
	h.stop()

	h.logsAreJSON(sick)

	// Strictly: parked and dead are accounted for, so the books close; but a load does not call itself closed.
	out, err := caudal(t, "verify", "--data", data, "-o", "json").Output()
	var report audit.Report
	if decodeErr := json.Unmarshal(out, &report); err != nil || decodeErr != nil || report.Parked != 2 || report.Dead != 1 {
		t.Fatalf("%v %v\n%s", err, decodeErr, out)
	}
	file := filepath.Join(t.TempDir(), "rows.csv")
	rows := "trans_id,account_id,date,direction,operation,purpose,amount,balance_after,partner_bank,partner_account\n1,1,1993-01-01,credit,cash_deposit,,700.00,700.00,,\n"
	if err := os.WriteFile(file, []byte(rows), 0o600); err != nil {
		t.Fatal(err)
	}
	if s := once(t, "--data", data, "--import", file, "--mapping", "../../deploy/import/bank-csv.yaml"); s.Parked != 2 || s.Dead != 1 || s.Closed() {
		t.Errorf("summary: %+v", s)
	}
}

// logsAreJSON checks each line of the logs that are Caudal's own, and the fixed keys of two lines an operator acts on.
func (h *house) logsAreJSON(parked string) {
	h.t.Helper()
	said := map[string]map[string]any{}
	for _, name := range []string{"caudal", "streams", "broker"} {
		body, err := os.ReadFile(filepath.Join(h.data, "logs", name+".log"))
		if err != nil && name != "broker" { // which has nothing to say when all is well
			h.t.Fatal(err)
		}
		for line := range strings.Lines(string(body)) {
			var l map[string]any
			if err := json.Unmarshal([]byte(line), &l); err != nil || l["time"] == nil || l["level"] == nil || l["msg"] == nil {
				h.t.Errorf("%s.log: no JSON with time, level, msg: %s", name, line)
				continue
			}
			said[fmt.Sprint(l["msg"])] = l
		}
	}
	for _, msg := range []string{"key parked", "dead letter"} {
		for _, key := range []string{"group", "topic", "partition", "offset", "error"} {
			if said[msg][key] == nil {
				h.t.Errorf("%q is logged without %s: %v", msg, key, said[msg])
			}
		}
	}
	if said["key parked"]["account"] != parked {
		h.t.Errorf("the account that is parked is not logged: %v", said["key parked"])
	}
}

// pay sends one pay-in and waits for its decision for a moment.
func (h *house) pay(t *testing.T, api *client.Client, account, key string) (status int, body string) {
	t.Helper()
	a, err := api.Do(t.Context(), client.Request{Method: http.MethodPost, Path: "/payins", Key: key, Prefer: "wait=2", Body: map[string]any{
		"account_id": account, "amount": 1, "currency": "BRL", "method": map[string]string{"type": "book"}, "reference": key,
	}})
	if err != nil {
		t.Fatal(err)
	}
	return a.Status, string(a.Body)
}
