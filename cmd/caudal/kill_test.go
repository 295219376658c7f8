package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caudalpay/caudal/cmd/caudal/client"
	"github.com/caudalpay/caudal/cmd/caudal/embedded/child"
	"github.com/caudalpay/caudal/cmd/caudal/rig"
	"github.com/caudalpay/caudal/streams/streamtest"
)

var (
	kills    = flag.Int("kills", 4, "how often TestKillUp kills")
	killSeed = flag.Uint64("kill-seed", 1, "seed of the moments of killing")
)

// house is one `caudal up` under test.
type house struct {
	t          *testing.T
	data, http string
	cmd        *exec.Cmd
	out        *bytes.Buffer
}

func freeAddress(t *testing.T) string {
	t.Helper()
	address, err := rig.FreeAddress(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// kafka are the flags that put a house on Apache Kafka where the environment asks for that, else none.
func kafka(t *testing.T) []string {
	t.Helper()
	if os.Getenv(streamtest.KafkaEnv) == "" {
		return nil
	}
	c := streamtest.Start(t)
	return []string{"--brokers", strings.Join(c.Addrs, ","), "--replication", fmt.Sprint(len(c.Addrs))}
}

// caudal prepares a run of the binary under test.
func caudal(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), asCaudal+"=1")
	return cmd
}

func startHouse(t *testing.T, data string, args ...string) *house {
	t.Helper()
	return startHouseAt(t, freeAddress(t), data, args...)
}

func startHouseAt(t *testing.T, address, data string, args ...string) *house {
	t.Helper()
	h := &house{t: t, data: data, http: address, out: &bytes.Buffer{}}
	_ = os.Remove(filepath.Join(data, "addresses.json")) // of the last start
	h.cmd = caudal(t, append([]string{"up", "--data", data, "--http", h.http, "--clickhouse-http", "127.0.0.1:0"}, args...)...)
	h.cmd.Stdout, h.cmd.Stderr = h.out, h.out
	h.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := child.Start(h.cmd, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		if h.cmd.ProcessState == nil && !h.gone() {
			h.kill() // what the test has mounted and made is removed next
		}
		t.Logf("up on %s said: %s\nIts logs end with:\n%s", h.http, h.out, logTails(t, filepath.Join(h.data, "logs")))
	})
	for until := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if h.ready() {
			return h
		}
		if time.Now().After(until) || h.ended() {
			_ = h.cmd.Process.Kill()
			t.Fatalf("not ready: %s", h.out)
		}
	}
}

// apart starts a further process of the same installation that plays one role, with copies of some of its files. It need not be ready.
func (h *house) apart(role string, files []string, args ...string) *house {
	h.t.Helper()
	further, a := &house{t: h.t, data: h.t.TempDir(), out: &bytes.Buffer{}}, h.addresses()
	for _, name := range files {
		text, err := os.ReadFile(filepath.Join(h.data, name))
		if err != nil {
			h.t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(further.data, name), text, 0o600); err != nil {
			h.t.Fatal(err)
		}
	}
	further.cmd = caudal(h.t, append([]string{
		"up", "--roles", role, "--data", further.data, "--brokers", strings.Join(a.Brokers, ","), "--postgres", a.Postgres, "--clickhouse", a.ClickHouse,
	}, args...)...)
	further.cmd.Stdout, further.cmd.Stderr = further.out, further.out
	further.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := child.Start(further.cmd, syscall.SIGTERM); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		if further.cmd.ProcessState == nil {
			_ = further.cmd.Process.Kill() // it has ended, or does now
			_ = further.cmd.Wait()         // that it was killed is known
		}
		if h.t.Failed() {
			h.t.Logf("the %s apart said: %s\n%s", role, further.out, logTails(h.t, filepath.Join(further.data, "logs")))
		}
	})
	return further
}

// logTails is the end of each file in a folder.
func logTails(t *testing.T, dir string) string {
	t.Helper()
	const most = 4 << 10
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			text = []byte(err.Error())
		}
		fmt.Fprintf(&all, "--- %s\n%s\n", filepath.Base(name), text[max(0, len(text)-most):])
	}
	return all.String()
}

func (h *house) ready() bool {
	if _, err := os.Stat(filepath.Join(h.data, "addresses.json")); err != nil {
		return false
	}
	resp, err := http.Get("http://" + h.http + "/readyz") //nolint:noctx // on loopback, in a test
	if err != nil {
		return false
	}
	_ = resp.Body.Close() // only the status counts
	return resp.StatusCode == http.StatusOK
}

func (h *house) ended() bool {
	var info syscall.WaitStatus
	pid, err := syscall.Wait4(h.cmd.Process.Pid, &info, syscall.WNOHANG, nil)
	return err != nil || pid == h.cmd.Process.Pid
}

// kill is SIGKILL; no child may outlive it.
func (h *house) kill() {
	h.t.Helper()
	family := child.Family(h.cmd.Process.Pid)
	_ = h.cmd.Process.Kill()
	_ = h.cmd.Wait() // killed
	for until := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		var alive []string
		for pid, name := range family {
			if child.Alive(pid) {
				alive = append(alive, fmt.Sprintf("%d %s", pid, name))
			}
		}
		if len(alive) == 0 {
			return
		}
		if time.Now().After(until) {
			h.t.Fatalf("children outlived kill -9: %v", alive)
		}
	}
}

func (h *house) stop() {
	h.t.Helper()
	_ = h.cmd.Process.Signal(syscall.SIGTERM)
	if err := h.cmd.Wait(); err != nil {
		h.t.Fatalf("stopping: %v\n%s", err, h.out)
	}
}

// flood sends pay-ins and transfers until the door is gone, and keeps what was acknowledged.
type flood struct {
	mu           sync.Mutex
	acknowledged []string // payment ids
	serial       int
	pace         time.Duration // between two batches of a sender
}

func (f *flood) run(ctx context.Context, api *client.Client, accounts []string) {
	for ; ctx.Err() == nil; time.Sleep(f.pace) {
		var items []any
		f.mu.Lock()
		for range 50 {
			f.serial++
			account := accounts[f.serial%len(accounts)]
			item := map[string]any{
				"kind": "payin", "idempotency_key": fmt.Sprintf("flood-%d", f.serial), "account_id": account,
				"amount": 1000 + f.serial%100, "currency": "BRL", "method": map[string]string{"type": "book"}, "reference": "flood",
			}
			if f.serial%4 == 0 {
				item = map[string]any{
					"kind": "transfer", "idempotency_key": fmt.Sprintf("flood-%d", f.serial), "account_id": account,
					"to_account_id": accounts[(f.serial+1)%len(accounts)], "amount": 100, "currency": "BRL", "reference": "flood",
				}
			}
			items = append(items, item)
		}
		f.mu.Unlock()
		answers, err := api.Batch(ctx, items, "respond-async")
		if err != nil {
			return // killed; nothing of this batch was acknowledged to us
		}
		f.mu.Lock()
		for _, a := range answers {
			var body struct {
				PaymentID string `json:"payment_id"`
			}
			if a.Status == http.StatusAccepted && json.Unmarshal(a.Body, &body) == nil {
				f.acknowledged = append(f.acknowledged, body.PaymentID)
			}
		}
		f.mu.Unlock()
	}
}

func (h *house) api(t *testing.T) *client.Client {
	t.Helper()
	token, err := os.ReadFile(filepath.Join(h.data, "dev.token"))
	if err != nil {
		t.Fatal(err)
	}
	return client.New("http://"+h.http, strings.TrimSpace(string(token)), 16)
}

func (h *house) openAccounts(t *testing.T, api *client.Client, n int) []string {
	t.Helper()
	return h.openUnder(t, api, n, "x", "import")
}

// openUnder opens accounts of a policy, named by number.
func (h *house) openUnder(t *testing.T, api *client.Client, n int, name, policy string) []string {
	t.Helper()
	ids := make([]string, n)
	for i := range n {
		answer, err := api.Do(t.Context(), client.Request{Method: http.MethodPost, Path: "/accounts", Key: fmt.Sprintf("open-%s-%d", name, i), Body: map[string]any{
			"external_id": fmt.Sprintf("%s-%d", name, i), "customer_id": fmt.Sprintf("c-%s-%d", name, i), "kind": "merchant", "currencies": []string{"BRL"},
			"kyc_level": 3, "policy": policy,
		}})
		var opened struct {
			AccountID string `json:"account_id"`
		}
		if err != nil || json.Unmarshal(answer.Body, &opened) != nil || opened.AccountID == "" {
			t.Fatalf("opening an account: %v %d %s", err, answer.Status, answer.Body)
		}
		ids[i] = opened.AccountID
	}
	return ids
}

// Invariant: whatever moment `caudal up` is killed at, nothing acknowledged is lost or done twice, nothing is left running,
// and the next start goes on by itself, with more workers or fewer.
func TestKillUp(t *testing.T) {
	data, flags := t.TempDir(), kafka(t)
	rng := rand.New(rand.NewPCG(*killSeed, 9))
	t.Logf("kills %d, seed %d", *kills, *killSeed)
	f := &flood{}
	var accounts []string
	for i := range *kills {
		h := startHouse(t, data, append(flags, "--workers", strconv.Itoa(1+i%3))...)
		api := h.api(t)
		if accounts == nil {
			accounts = h.openAccounts(t, api, 20)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var senders sync.WaitGroup
		for range 3 {
			senders.Go(func() { f.run(ctx, api, accounts) })
		}
		before := len(f.acknowledged)
		moment := 400*time.Millisecond + time.Duration(rng.Int64N(int64(1200*time.Millisecond)))
		time.Sleep(moment)
		h.kill()
		cancel()
		senders.Wait()
		api.Close()
		if len(f.acknowledged) == before {
			t.Fatalf("kill %d after %v fell on an idle system", i+1, moment)
		}
	}
	h := startHouse(t, data, flags...)
	api := h.api(t)
	defer api.Close()
	h.settle(t, api, accounts) // a backlog is no loss
	h.stored(f.acknowledged)
	h.stop()
	verified := caudal(t, "verify", "--data", data)
	if out, err := verified.CombinedOutput(); err != nil {
		t.Fatalf("verify: %v\n%s", err, out)
	}
}

// settle sends one more payment to each account and reads it back: everything before it in its partition is decided and
// stored then.
func (h *house) settle(t *testing.T, api *client.Client, accounts []string) {
	t.Helper()
	for i, account := range accounts {
		answer, err := api.Do(t.Context(), client.Request{Method: http.MethodPost, Path: "/payins", Key: fmt.Sprintf("settle-%d", i), Prefer: "wait=30", Body: map[string]any{
			"account_id": account, "amount": 1, "currency": "BRL", "method": map[string]string{"type": "book"}, "reference": "settle",
		}})
		var body struct {
			PaymentID string `json:"payment_id"`
		}
		if err != nil || answer.Status != http.StatusCreated || json.Unmarshal(answer.Body, &body) != nil {
			t.Fatalf("settling: %v %d %s", err, answer.Status, answer.Body)
		}
		// Postgres takes a backlog in after the decisions: until then the payment is not found, which is no loss.
		for until := time.Now().Add(time.Minute); ; {
			answer, err = api.Do(t.Context(), client.Request{Method: http.MethodGet, Path: "/transactions/" + body.PaymentID})
			if err == nil && answer.Status == http.StatusOK {
				break
			}
			if err != nil || answer.Status != http.StatusNotFound || time.Now().After(until) {
				t.Fatalf("reading back: %v %d %s", err, answer.Status, answer.Body)
			}
		}
	}
	time.Sleep(3 * time.Second) // ClickHouse batches for a second
}
