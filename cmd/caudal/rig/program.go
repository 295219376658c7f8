// Package rig runs whole programs beside this one: `caudal up` and the simulator of the outside world, each a child that can be
// killed and started again in its folder. It serves the commands that try the house as its users would.
package rig

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/caudalpay/caudal/cmd/caudal/client"
	"github.com/caudalpay/caudal/cmd/caudal/embedded/child"
	"github.com/caudalpay/caudal/cmd/caudal/up"
)

const (
	// hookSenders tell webhooks at once. Where the house is killed their back-offs pile up, and what is told then is bound by how
	// many are under way.
	hookSenders = "32"
	startMost   = 3 * time.Minute
	stopMost    = 2 * time.Minute
	// orphansMost is how long children may outlive a killed parent: a broker finishes its commit.
	orphansMost = 30 * time.Second
	tokenFile   = "dev.token"
	sealFile    = "seal.key"
)

// program is one child, with its output in a file.
type program struct {
	name string
	cmd  *exec.Cmd
	log  *os.File
	end  chan struct{} // closed once it has ended
	err  error
}

// start runs a program that ends with this one, and appends what it says to a file.
func start(log, name string, args ...string) (*program, error) {
	f, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600) //nolint:gosec // in the folder of the run
	if err != nil {
		return nil, fmt.Errorf("opening a log: %w", err)
	}
	p := &program{name: filepath.Base(name), cmd: exec.Command(name, args...), log: f, end: make(chan struct{})} //nolint:gosec // our own programs
	p.cmd.Stdout, p.cmd.Stderr = f, f
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a Ctrl-C is this program's to pass on
	if err := child.Start(p.cmd, syscall.SIGTERM); err != nil {
		return nil, errors.Join(fmt.Errorf("starting %s: %w", p.name, err), f.Close())
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.end)
	}()
	return p, nil
}

// ready waits until an address answers 200.
func (p *program) ready(ctx context.Context, url string) error {
	return p.until(ctx, func() bool { return answers(ctx, url) })
}

// until waits for what the program does at its start.
func (p *program) until(ctx context.Context, done func() bool) error {
	for until := time.Now().Add(startMost); ; {
		if done() {
			return nil
		}
		select {
		case <-p.end:
			return fmt.Errorf("%s ended before it was ready (%w): %s (all of it: %s)", p.name, p.err, p.lastWords(), p.log.Name())
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", p.name, ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
		if time.Now().After(until) {
			return fmt.Errorf("%s is not ready after %v: see %s", p.name, startMost, p.log.Name())
		}
	}
}

func (p *program) ended() bool {
	select {
	case <-p.end:
		return true
	default:
		return false
	}
}

// lastWords is the last line that the program has said.
func (p *program) lastWords() string {
	said, err := os.ReadFile(p.log.Name())
	if err != nil {
		return "it said nothing"
	}
	lines := strings.Split(strings.TrimSpace(string(said)), "\n")
	return lines[len(lines)-1]
}

func answers(ctx context.Context, url string) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		return false
	}
	_ = a.Body.Close() // only the status counts
	return a.StatusCode == http.StatusOK
}

// Kill is SIGKILL, and waits for the end of the program and of all its children, which hear of it by themselves.
func (p *program) Kill() error {
	family := slices.Collect(maps.Keys(child.Family(p.cmd.Process.Pid)))
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.end
	for until := time.Now().Add(orphansMost); slices.ContainsFunc(family, child.Alive); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(until) {
			return errors.Join(fmt.Errorf("children of %s outlived it by %v", p.name, orphansMost), p.log.Close())
		}
	}
	return p.log.Close()
}

// Stop is SIGTERM, and SIGKILL where that is not heard.
func (p *program) Stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-p.end:
	case <-time.After(stopMost):
		return errors.Join(fmt.Errorf("%s did not stop within %v", p.name, stopMost), p.Kill())
	}
	return errors.Join(p.err, p.log.Close())
}

// Simulator is the outside world.
type Simulator struct {
	*program

	path string
	URL  string
}

// FreeAddress is one on loopback that nobody has. It lies below the ports that the system gives to outgoing connections, so that a
// program which is killed finds it free when it is started again.
func FreeAddress(ctx context.Context) (string, error) {
	const first, count, tries = 20_000, 10_000, 50
	var last error
	for range tries {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(first+rand.IntN(count))) //nolint:gosec // any will do
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
		if err == nil {
			return address, l.Close()
		}
		last = err
	}
	return "", fmt.Errorf("looking for a free port: %w", last)
}

// SimulatorProgram is named by a flag, or stands beside this program.
func SimulatorProgram(flag string) (string, error) {
	if flag == "" {
		self, err := os.Executable()
		if err != nil {
			return "", fmt.Errorf("finding this program: %w", err)
		}
		flag = filepath.Join(filepath.Dir(self), "railsim")
	}
	if _, err := os.Stat(flag); err != nil {
		return "", fmt.Errorf("the simulator is missing (`make build` builds it; --railsim names another place): %w", err)
	}
	return flag, nil
}

// SimulatorOptions say what the outside world does.
type SimulatorOptions struct {
	Program  string // as SimulatorProgram gives it
	Folder   string // of its books and its log
	Seed     uint64
	Faults   string
	Webhooks string // where they go; empty: nowhere
}

// StartSimulator starts one, and waits until it answers.
func StartSimulator(ctx context.Context, o SimulatorOptions) (*Simulator, error) {
	address, err := FreeAddress(ctx)
	if err != nil {
		return nil, err
	}
	p, err := start(filepath.Join(o.Folder, "railsim.log"), o.Program, "serve", "--listen", address, "--data", filepath.Join(o.Folder, "railsim"),
		"--seed", fmt.Sprint(o.Seed), "--faults", o.Faults, "--bank-delay", "100ms", "--webhooks", o.Webhooks, "--hook-workers", hookSenders)
	if err != nil {
		return nil, err
	}
	s := &Simulator{p, o.Program, "http://" + address}
	return s, p.ready(ctx, s.URL+"/health")
}

// Rails lets the simulator write the file that leads to it.
func (s *Simulator) Rails(ctx context.Context, folder string) (string, error) {
	out, err := exec.CommandContext(ctx, s.path, "rails", "--url", s.URL, "--dir", folder).Output() //nolint:gosec // our own program
	if err != nil {
		return "", fmt.Errorf("writing the file of rails: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// Feed is what an acquirer's side of the card authorization feed has seen.
type Feed struct {
	Answered     int      `json:"answered"`
	Approved     int      `json:"approved"`
	P50MS        float64  `json:"p50_ms"`
	P99MS        float64  `json:"p99_ms"`
	StandIns     int      `json:"stand_ins"`
	Timeouts     int      `json:"timeouts"`
	Reconnects   int      `json:"reconnects"`
	WrongAnswers int      `json:"wrong_answers"` // and balances, at the end
	Wrong        []string `json:"wrong,omitempty"`
}

// Feed lets the simulator play an acquirer for a while against a house, with further flags.
func (s *Simulator) Feed(ctx context.Context, h *House, rate int, duration time.Duration, flags ...string) (f Feed, err error) {
	var said bytes.Buffer
	flags = append([]string{"iso8583", "--data", h.Data, "--rate", strconv.Itoa(rate), "--duration", duration.String(), "-o", "json"}, flags...)
	cmd := exec.CommandContext(ctx, s.path, flags...) //nolint:gosec // our own program
	cmd.Stderr = &said
	out, err := cmd.Output()
	if e := json.Unmarshal(out, &f); e != nil {
		return f, fmt.Errorf("playing an acquirer: %w: %s", errors.Join(err, e), said.String())
	}
	return f, nil // what was wrong is in it
}

// Dispute lets the holder of a card contest a charge, by its acquirer's id, or says how it goes on. The acquirer tells it by webhook.
func (s *Simulator) Dispute(ctx context.Context, connector, charge, stage string) error {
	body, err := json.Marshal(map[string]string{"connector": connector, "charge": charge, "stage": stage, "reason": "10.4"})
	if err != nil {
		return fmt.Errorf("contesting a charge: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL+"/disputes", bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("contesting a charge: %w", err)
	}
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		return fmt.Errorf("contesting a charge: %w", err)
	}
	defer func() { _ = a.Body.Close() }() // nothing was written
	if a.StatusCode != http.StatusCreated {
		said, _ := io.ReadAll(io.LimitReader(a.Body, 1<<10)) // for people
		return fmt.Errorf("contesting charge %s of %s: %s %s", charge, connector, a.Status, said)
	}
	return nil
}

// Acquirer plays that side until it is told to end. It outlives the house, and finds the next one at the same address.
type Acquirer struct{ *program }

// AcquirerOptions say what it sends.
type AcquirerOptions struct {
	Folder      string // of its log
	Seed        uint64
	Rate        int // messages a second
	Accounts    int
	Connections int
	Deadline    time.Duration // of the house, after which it stands in
	Timeout     time.Duration // after which what is not answered is reversed, or told again
}

// StartAcquirer starts one, and waits until its cards are there.
func (s *Simulator) StartAcquirer(ctx context.Context, h *House, o AcquirerOptions) (*Acquirer, error) {
	p, err := start(filepath.Join(o.Folder, "acquirer.log"), s.path, "iso8583", "--data", h.Data, "--duration", "0", "-o", "json",
		"--rate", strconv.Itoa(o.Rate), "--accounts", strconv.Itoa(o.Accounts), "--connections", strconv.Itoa(o.Connections), "--seed", fmt.Sprint(o.Seed), "--deadline", o.Deadline.String(), "--timeout", o.Timeout.String())
	if err != nil {
		return nil, err
	}
	if err := p.until(ctx, func() bool { return strings.HasPrefix(p.lastWords(), "enrolled") }); err != nil {
		return nil, errors.Join(err, p.Kill())
	}
	return &Acquirer{p}, nil
}

// End tells it to end: it waits for its last answers, and compares every balance. That takes it a while.
func (a *Acquirer) End() { _ = a.cmd.Process.Signal(syscall.SIGTERM) } // it may have ended

// Ended tells whether it has.
func (a *Acquirer) Ended() bool { return a.ended() }

// Report is what one that has ended has seen.
func (a *Acquirer) Report() (f Feed, err error) {
	said, err := os.ReadFile(a.log.Name())
	if err != nil {
		return f, fmt.Errorf("reading what the acquirer saw: %w", err)
	}
	for line := range bytes.Lines(said) {
		if bytes.HasPrefix(line, []byte("{")) {
			return f, json.Unmarshal(line, &f)
		}
	}
	return f, fmt.Errorf("the acquirer ended without a report: %s", a.lastWords())
}

// Get reads its books as JSON: /books, /books/summary.
func (s *Simulator) Get(ctx context.Context, path string, into any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+path, nil)
	if err != nil {
		return fmt.Errorf("asking for the simulator's books: %w", err)
	}
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		return fmt.Errorf("asking for the simulator's books: %w", err)
	}
	defer func() { _ = a.Body.Close() }() // nothing was written
	if err := json.NewDecoder(a.Body).Decode(into); err != nil {
		return fmt.Errorf("reading the simulator's books: %w", err)
	}
	return nil
}

// House is `caudal up`, whole or with its sinks apart.
type House struct {
	*program

	HTTP, Data string
	Addresses  up.Addresses
	token      string
	sinks      *program // stores and connectors, where they are a process of their own
	sinksStart func() (*program, error)
}

// StartHouse starts it in folder/data at an address with further flags, or starts it there again, and waits until it is ready.
func StartHouse(ctx context.Context, folder, address string, flags ...string) (*House, error) {
	return startHouse(ctx, folder, address, flags, func(*House) error { return nil })
}

// StartApart is StartHouse, with the sinks in a process of their own. Flags are for the rest of the house, sinkFlags for the sinks.
func StartApart(ctx context.Context, folder, address string, flags, sinkFlags []string) (*House, error) {
	flags = append([]string{"--roles", "ingress,streams"}, flags...)
	return startHouse(ctx, folder, address, flags, func(h *House) error {
		h.sinksStart = func() (*program, error) { return h.startSinks(folder, sinkFlags) }
		var err error
		h.sinks, err = h.sinksStart()
		return err
	})
}

// startHouse calls opened once the parts of the house have addresses: what reads the stores is ready only after who fills them.
func startHouse(ctx context.Context, folder, address string, flags []string, opened func(*House) error) (*House, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program: %w", err)
	}
	h := &House{HTTP: address, Data: filepath.Join(folder, "data")}
	where := filepath.Join(h.Data, "addresses.json")
	_ = os.Remove(where) // of the last start
	flags = append([]string{"up", "--data", h.Data, "--http", address, "--clickhouse-http", "127.0.0.1:0"}, flags...)
	if h.program, err = start(filepath.Join(folder, "up.log"), self, flags...); err != nil {
		return nil, err
	}
	written := func() bool { _, err := os.Stat(where); return err == nil }
	if err := h.until(ctx, written); err != nil {
		return nil, errors.Join(err, h.Kill())
	}
	raw, err := os.ReadFile(where) //nolint:gosec // in the folder of the run
	if err == nil {
		err = json.Unmarshal(raw, &h.Addresses)
	}
	token, readErr := os.ReadFile(filepath.Join(h.Data, tokenFile))
	if err = errors.Join(err, readErr); err != nil {
		return nil, errors.Join(fmt.Errorf("reading what up has written: %w", err), h.Kill())
	}
	h.token = strings.TrimSpace(string(token))
	if err = opened(h); err == nil {
		err = h.ready(ctx, "http://"+address+"/readyz")
	}
	if err != nil {
		return nil, errors.Join(err, h.Kill())
	}
	return h, nil
}

// startSinks starts them in a folder of their own. What is sealed is sealed for the whole house.
func (h *House) startSinks(folder string, flags []string) (*program, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program: %w", err)
	}
	data := filepath.Join(folder, "sinks")
	key, err := os.ReadFile(filepath.Join(h.Data, sealFile))
	if err == nil {
		err = os.MkdirAll(data, 0o750)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(data, sealFile), key, 0o600) //nolint:gosec // in the folder of the run
	}
	if err != nil {
		return nil, fmt.Errorf("giving the sinks the key of the house: %w", err)
	}
	flags = append([]string{
		"up", "--roles", "sinks", "--data", data, "--brokers", strings.Join(h.Addresses.Brokers, ","), "--partitions", fmt.Sprint(h.Addresses.Partitions),
		"--postgres", h.Addresses.Postgres, "--clickhouse", h.Addresses.ClickHouse,
	}, flags...)
	return start(filepath.Join(folder, "sinks.log"), self, flags...)
}

// Kill is SIGKILL of the whole house, and waits for its end.
func (h *House) Kill() error {
	var err error
	if h.sinks != nil {
		err = h.sinks.Kill()
	}
	return errors.Join(err, h.program.Kill())
}

// Stop is SIGTERM, sinks first.
func (h *House) Stop() error {
	var err error
	if h.sinks != nil {
		err = h.sinks.Stop()
	}
	return errors.Join(err, h.program.Stop())
}

// KillSinks kills the sinks alone, and starts them again.
func (h *House) KillSinks() error {
	err := h.sinks.Kill()
	if err != nil {
		return err
	}
	h.sinks, err = h.sinksStart()
	return err
}

// Ended says why a part of the house has ended by itself; nil: none has.
func (h *House) Ended() error {
	for _, p := range []*program{h.program, h.sinks} {
		if p != nil && p.ended() {
			return fmt.Errorf("%s ended by itself (%w): %s (all of it: %s)", p.name, p.err, p.lastWords(), p.log.Name())
		}
	}
	return nil
}

// ErrNoWorker says that no streams worker runs at the moment.
var ErrNoWorker = errors.New("no streams worker to kill")

// KillWorker kills one streams worker alone. The house starts it again.
func (h *House) KillWorker(instance int) error {
	pid, runs := Worker(h.cmd.Process.Pid, instance)
	if !runs {
		return fmt.Errorf("%w: %d", ErrNoWorker, instance)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return fmt.Errorf("killing worker %d: %w", instance, err)
	}
	return nil
}

// Worker is the process of one streams worker below that of `caudal up`; false while there is none.
func Worker(up, instance int) (pid int, runs bool) {
	for pid := range child.Family(up) {
		line, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
		words := strings.Split(string(line), "\x00")
		at := slices.Index(words, "--instance")
		if err == nil && len(words) > 1 && words[1] == "worker" && at > 0 && words[at+1] == strconv.Itoa(instance) {
			return pid, true
		}
	}
	return 0, false
}

// Token is the developer's key.
func (h *House) Token() string { return h.token }

// Client calls it with the developer's key. It outlives the house, and finds the next one at the same address.
func (h *House) Client() *client.Client { return client.New("http://"+h.HTTP, h.token, 16) }

// Verify lets `caudal verify` recompute everything of a stopped house. What it printed is the text of the error where the books do
// not close.
func (h *House) Verify(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	cmd := exec.CommandContext(ctx, self, "verify", "--data", h.Data, "-o", "json") //nolint:gosec // ourselves
	if err := child.Run(cmd); err != nil {
		return fmt.Errorf("verifying: %w", err)
	}
	return nil
}
