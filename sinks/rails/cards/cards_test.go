package cards

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"github.com/caudalpay/caudal/processors/payment"
	"github.com/caudalpay/caudal/schemas/codec"
	railsv1 "github.com/caudalpay/caudal/schemas/rails/v1"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files")

func fullAttempt() *attempt {
	account := accountOf(1)
	return &attempt{
		state: stateDone, offset: 7, connector: "cielo", own: "5h6oxzrswfgseg22wzts3tgbrtkvj2nb", number: 2,
		order: order{
			ID: "o1", Operation: OperationCapture, Method: methodCard, Tenant: "t1", Merchant: "m1", Account: string(account),
			PaymentID: string(payment.IDFrom(payment.KindPayIn, account, "m1", "k1")), AmountMinor: 1234, Currency: "BRL",
			Instrument: "tok_1", Brand: "visa", Installments: 3, Connector: "cielo", Reference: "tid-0", DeadlineUS: 5, OrderedAtUS: 6,
		},
		intendedAt: time.UnixMicro(1_790_000_000_000_000), before: before{capturedMinor: 11, returnedMinor: 12}, polls: 3,
		nextPoll: time.UnixMicro(1_790_000_000_000_001), result: payment.RailConfirmed, code: "00", reference: "tid-1", amount: 1234,
		reportedAt: time.UnixMicro(1_790_000_000_000_002),
	}
}

// A capture that closes is remembered as such: a repeated answer is the same.
func TestClosedIsKept(t *testing.T) {
	a := fullAttempt()
	a.closed = true
	if answer := keptAnswer(t, a); !answer.Closed {
		t.Errorf("answered %+v", answer)
	}
}

// The number under which the card network knows a transaction is remembered, and told with each repeat of the answer.
func TestTIDIsKept(t *testing.T) {
	a := fullAttempt()
	a.learn(Result{Outcome: OutcomeConfirmed, Reference: "24bc8366", TID: "10069930690A0D3F8D0A"}, time.UnixMicro(9))
	a.learn(Result{Outcome: OutcomeConfirmed, Reference: "24bc8366"}, time.UnixMicro(9)) // not told this time
	if answer := keptAnswer(t, a); answer.TID != "10069930690A0D3F8D0A" {
		t.Errorf("answered %+v", answer)
	}
}

// keptAnswer is what an attempt answers after it was written and read back whole.
func keptAnswer(t *testing.T, a *attempt) *payment.RailAnswer {
	t.Helper()
	record, err := a.record(3)
	if err != nil {
		t.Fatal(err)
	}
	back, err := decodeAttempt(record.Value)
	if err != nil || !reflect.DeepEqual(back, a) {
		t.Fatalf("%v: decoded to\n%+v\nwant\n%+v", err, back, a)
	}
	answer, err := back.slim().answer()
	if err != nil {
		t.Fatal(err)
	}
	c, _, err := codec.DecodeCommand(answer.Value)
	if err != nil {
		t.Fatal(err)
	}
	return c.RailAnswer
}

// What was ever written stays readable, and an answer depends on the attempt alone.
func TestGoldenBytes(t *testing.T) {
	a := fullAttempt()
	record, err := a.record(3)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := a.answer()
	if err != nil {
		t.Fatal(err)
	}
	before := *a
	before.undated = true
	older, err := before.record(3)
	if err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string][]byte{"v1/attempt.bin": older.Value, "v2/attempt.bin": record.Value, "v1/answer.bin": answer.Value} {
		path := filepath.Join("testdata", "golden", name)
		if *rewrite {
			if err := os.WriteFile(path, got, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s: other bytes than before:\n%x\n%x", name, got, want)
		}
	}
	if record.Partition != 3 || string(record.Key) != "o1" || string(answer.Key) != a.order.Account {
		t.Errorf("%d %s %s", record.Partition, record.Key, answer.Key)
	}
	back, err := decodeAttempt(record.Value)
	if err != nil || !reflect.DeepEqual(back, a) {
		t.Errorf("%v: decoded to\n%+v\nwant\n%+v", err, back, a)
	}
	slim, err := back.slim().answer()
	if err != nil || !bytes.Equal(slim.Value, answer.Value) {
		t.Errorf("%v: a repeated answer is another one", err)
	}
}

func TestUndecodable(t *testing.T) {
	for name, change := range map[string]func(*railsv1.Order){
		"no id":         func(o *railsv1.Order) { o.OrderId = "" },
		"no payment":    func(o *railsv1.Order) { o.PaymentId = "" },
		"account":       func(o *railsv1.Order) { o.Account = "acc" },
		"no amount":     func(o *railsv1.Order) { o.AmountMinor = 0 },
		"version 2":     func(o *railsv1.Order) { o.Version = 2 },
		"unknown field": func(o *railsv1.Order) { o.ProtoReflect().SetUnknown([]byte{0xf8, 0x3f, 0x01}) },
	} {
		o := collect(1, "ok")
		change(o)
		b, err := proto.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := decodeOrder(b, methodCard, time.Now()); !errors.Is(err, ErrUndecodable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, b := range [][]byte{{}, []byte("noise"), {0x08, 0x02}} {
		if _, err := decodeAttempt(b); !errors.Is(err, ErrUndecodable) {
			t.Errorf("attempt %x: %v", b, err)
		}
		if _, _, err := decodeOrder(b, methodCard, time.Now()); !errors.Is(err, ErrUndecodable) {
			t.Errorf("order %x: %v", b, err)
		}
	}
}

// An acquirer's text must never make a command that the engine cannot decode.
func TestAnyTextOfAnAcquirerFits(t *testing.T) {
	for _, text := range []string{"", "ok", "\xff\xfe", strings.Repeat("é", 300), strings.Repeat("\xff", 1000)} {
		a := fullAttempt()
		a.learn(Result{Outcome: OutcomeConfirmed, Code: text, Reference: text, AmountMinor: -5}, time.UnixMicro(9))
		answer, err := a.answer()
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := codec.DecodeCommand(answer.Value); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// What follows from how a transaction stands.
func TestStandingOutcome(t *testing.T) {
	authorized := Standing{State: StateAuthorized, AuthorizedMinor: 100}
	captured := Standing{State: StateCaptured, AuthorizedMinor: 100, CapturedMinor: 60}
	partly := Standing{State: StateCaptured, AuthorizedMinor: 100, CapturedMinor: 60, ReturnedMinor: 10}
	voided := Standing{State: StateVoided, AuthorizedMinor: 100, ReturnedMinor: 100}
	quiet := Standing{State: StateVoided, AuthorizedMinor: 100}
	disputed := Standing{State: StateCaptured, AuthorizedMinor: 100, CapturedMinor: 60, ReturnedMinor: 60, Disputed: true}
	for _, c := range []struct {
		s      Standing
		o      Operation
		b      before
		want   Outcome
		amount int64
	}{
		{authorized, OperationAuthorize, before{}, OutcomeConfirmed, 100},
		{authorized, OperationCollect, before{}, OutcomeUnknown, 0},
		{authorized, OperationCapture, before{}, OutcomeNotFound, 0},
		{authorized, OperationVoid, before{}, OutcomeNotFound, 0},
		{authorized, OperationRefund, before{}, OutcomeNotFound, 0},
		{captured, OperationAuthorize, before{}, OutcomeUnknown, 0},
		{captured, OperationCollect, before{}, OutcomeConfirmed, 60},
		{captured, OperationCapture, before{}, OutcomeConfirmed, 60},
		{captured, OperationCapture, before{capturedMinor: 40}, OutcomeConfirmed, 20},
		{captured, OperationCapture, before{capturedMinor: 60}, OutcomeNotFound, 0},
		{captured, OperationRefund, before{capturedMinor: 60}, OutcomeNotFound, 0},
		{partly, OperationRefund, before{capturedMinor: 60}, OutcomeConfirmed, 10},
		{partly, OperationRefund, before{capturedMinor: 60, returnedMinor: 10}, OutcomeNotFound, 0},
		{voided, OperationAuthorize, before{}, OutcomeRefused, 0},
		{voided, OperationCollect, before{}, OutcomeRefused, 0},
		{voided, OperationCapture, before{}, OutcomeRefused, 0},
		{voided, OperationVoid, before{}, OutcomeConfirmed, 100},
		{voided, OperationVoid, before{returnedMinor: 100}, OutcomeConfirmed, 0},
		{quiet, OperationVoid, before{}, OutcomeConfirmed, 0},
		{quiet, OperationVoid, before{returnedMinor: 40}, OutcomeConfirmed, 0},
		{voided, OperationRefund, before{capturedMinor: 100}, OutcomeConfirmed, 100},
		{voided, OperationRefund, before{capturedMinor: 100, returnedMinor: 100}, OutcomeRefused, 0},
		// What is given back may be what is disputed; what was captured is not.
		{disputed, OperationRefund, before{capturedMinor: 60}, OutcomeUnknown, 0},
		{disputed, OperationVoid, before{capturedMinor: 60}, OutcomeUnknown, 0},
		{disputed, OperationRefund, before{capturedMinor: 60, returnedMinor: 60}, OutcomeNotFound, 0},
		{disputed, OperationCapture, before{}, OutcomeConfirmed, 60},
		{Standing{State: StateAbsent}, OperationCollect, before{}, OutcomeNotFound, 0},
		// It stood there when the intent was written: that it is gone says nothing of what was done to it.
		{Standing{State: StateAbsent}, OperationCapture, before{}, OutcomeUnknown, 0},
		{Standing{State: StateAbsent}, OperationVoid, before{}, OutcomeUnknown, 0},
		{Standing{State: StateAbsent}, OperationRefund, before{capturedMinor: 100}, OutcomeUnknown, 0},
		{Standing{State: StatePending}, OperationCollect, before{}, OutcomeUnknown, 0},
		{Standing{State: StateUnclear}, OperationRefund, before{}, OutcomeUnknown, 0},
		{Standing{State: StateDeclined}, OperationAuthorize, before{}, OutcomeRefused, 0},
		{Standing{State: StateDeclined}, OperationCapture, before{}, OutcomeUnknown, 0},
	} {
		if got := c.s.outcome(c.o, c.b); got.Outcome != c.want || got.AmountMinor != c.amount {
			t.Errorf("%+v, %s after %+v: %s of %d, want %s of %d", c.s, c.o, c.b, got.Outcome, got.AmountMinor, c.want, c.amount)
		}
	}
}

func TestRoutes(t *testing.T) {
	rs, err := ParseRoutes([]byte(`version: 1
routes:
  - {connector: rede, brands: [visa, mastercard], cost_bp: 190}
  - {connector: cielo, currencies: [BRL], to_minor: 50000, cost_bp: 150}
  - {connector: stone, from_minor: 10000, cost_bp: 170}
  - {connector: cielo, brands: [elo], cost_bp: 90}
`))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		brand  string
		amount int64
		sick   string
		want   []string
	}{
		{"visa", 5_000, "", []string{"cielo", "rede"}},
		{"visa", 10_000, "", []string{"cielo", "stone", "rede"}},
		{"visa", 50_001, "", []string{"stone", "rede"}},
		{"elo", 50_001, "", []string{"cielo", "stone"}},
		{"visa", 10_000, "cielo", []string{"stone", "rede", "cielo"}},
		{"amex", 60_000, "", []string{"stone"}},
	} {
		got := rs.candidates(order{Brand: c.brand, AmountMinor: c.amount, Currency: "BRL"}, func(n string) bool { return n != c.sick })
		if !slices.Equal(got, c.want) {
			t.Errorf("%+v: %v", c, got)
		}
	}
	if got := rs.candidates(order{Brand: "amex", AmountMinor: 1, Currency: "USD"}, func(string) bool { return true }); len(got) != 0 {
		t.Errorf("nobody takes it: %v", got)
	}
	for _, bad := range []string{
		"", "version: 2\nroutes: [{connector: a}]", "version: 1\nroutes: []", "version: 1\nroutes: [{}]", "version: 1\nroutes: [{connector: a, costs: 1}]",
		"version: 1\nroutes: [{connector: a, cost_bp: -1}]", "version: 1\nroutes: [{connector: a, cost_bp: 1.5}]",
		"version: 1\nroutes: [{connector: a, from_minor: 2, to_minor: 1}]", "version: 1\nroutes: [{connector: a, brands: [\"\"]}]",
	} {
		if _, err := ParseRoutes([]byte(bad)); err == nil {
			t.Errorf("taken: %q", bad)
		}
	}
}

func TestOffsets(t *testing.T) {
	o := newOffsets()
	if o.committable() != -1 {
		t.Error(o.committable())
	}
	for _, at := range []int64{5, 6, 8, 9} { // 7 is a marker
		o.read(at)
	}
	for _, step := range []struct{ finish, want int64 }{{6, 5}, {5, 8}, {9, 8}, {8, 10}} {
		if o.finish(step.finish); o.committable() != step.want {
			t.Errorf("after %d: %d", step.finish, o.committable())
		}
	}
}

// scripted is an acquirer that says what the test wants.
type scripted struct {
	Acquirer

	can  Capabilities
	says func(ctx context.Context, n int) (Result, error)
	n    int
}

func (s *scripted) Capabilities() Capabilities { return s.can }

func (s *scripted) Authorize(ctx context.Context, _ Request) (Result, error) {
	s.n++
	return s.says(ctx, s.n)
}

func guardOf(t *testing.T, s *scripted) *connector {
	t.Helper()
	cfg, err := config([]string{"b"}, map[string]Acquirer{})
	if err != nil {
		t.Fatal(err)
	}
	g := cfg.Guard
	g.Deadline, g.Sendings, g.BreakerCalls, g.BreakerDelay = 200*time.Millisecond, 3, 4, time.Hour
	return newConnector("scripted", s, g, newMetrics(prometheus.NewRegistry()))
}

// Only what surely was not sent, or may be repeated, is sent again.
func TestGuardRepeats(t *testing.T) {
	confirmed := Result{Outcome: OutcomeConfirmed}
	unsent := fmt.Errorf("%w: test", ErrNotSent)
	for _, c := range []struct {
		name       string
		repeatable bool
		says       func(ctx context.Context, n int) (Result, error)
		want       Outcome
		err        error
		sendings   int
	}{
		{name: "answered", says: func(context.Context, int) (Result, error) { return confirmed, nil }, want: OutcomeConfirmed, sendings: 1},
		{name: "declined", says: func(context.Context, int) (Result, error) { return refused("51"), nil }, want: OutcomeRefused, sendings: 1},
		{name: "unknown", says: func(context.Context, int) (Result, error) { return Result{}, nil }, want: OutcomeUnknown, sendings: 1},
		{name: "unknown, repeatable", repeatable: true, says: func(_ context.Context, n int) (Result, error) {
			if n < 3 {
				return Result{}, nil
			}
			return confirmed, nil
		}, want: OutcomeConfirmed, sendings: 3},
		{name: "not sent", says: func(context.Context, int) (Result, error) { return Result{}, unsent }, err: ErrNotSent, sendings: 3},
		{name: "sent at last", says: func(_ context.Context, n int) (Result, error) {
			if n < 2 {
				return Result{}, unsent
			}
			return confirmed, nil
		}, want: OutcomeConfirmed, sendings: 2},
		{name: "unknown, then not sent", repeatable: true, says: func(_ context.Context, n int) (Result, error) {
			if n == 1 {
				return Result{}, nil
			}
			return Result{}, unsent
		}, want: OutcomeUnknown, sendings: 3},
		{name: "silent", says: func(ctx context.Context, _ int) (Result, error) {
			<-ctx.Done()
			return Result{}, nil
		}, want: OutcomeUnknown, sendings: 1},
		{name: "an error of another kind", says: func(context.Context, int) (Result, error) { return Result{}, errors.New("bug") }, want: OutcomeUnknown, sendings: 1},
	} {
		s := &scripted{can: Capabilities{Repeatable: c.repeatable}, says: c.says}
		got, err := guardOf(t, s).send(t.Context(), Request{Operation: OperationAuthorize})
		if got.Outcome != c.want || !errors.Is(err, c.err) || s.n != c.sendings {
			t.Errorf("%s: %s, %v after %d sendings", c.name, got.Outcome, err, s.n)
		}
	}
}

// An open breaker is "not sent", neither declines nor failures among twice as many answers open it, and it shows.
func TestGuardBreaker(t *testing.T) {
	s := &scripted{says: func(context.Context, int) (Result, error) { return refused("51"), nil }}
	c := guardOf(t, s)
	for range 20 {
		if _, err := c.send(t.Context(), Request{Operation: OperationAuthorize}); err != nil {
			t.Fatal(err)
		}
	}
	if !c.healthy() {
		t.Fatal("declines opened the breaker")
	}
	s.says = func(context.Context, int) (Result, error) { return Result{}, nil }
	for range 20 {
		if !c.healthy() {
			t.Fatal("fewer failures than answers opened the breaker")
		}
		if r, err := c.send(t.Context(), Request{Operation: OperationAuthorize}); err != nil || r.Outcome != OutcomeUnknown {
			t.Fatal(r, err)
		}
	}
	sent := s.n
	if _, err := c.send(t.Context(), Request{Operation: OperationAuthorize}); !errors.Is(err, ErrNotSent) || s.n != sent || c.healthy() {
		t.Errorf("open: %v, %d sendings", err, s.n-sent)
	}
}

// Invariant: an acquirer that is well again is asked again, also while others take all there is.
func TestGuardRecovers(t *testing.T) {
	s := &scripted{says: func(context.Context, int) (Result, error) { return Result{}, nil }}
	cfg, err := config([]string{"b"}, map[string]Acquirer{})
	if err != nil {
		t.Fatal(err)
	}
	g := cfg.Guard
	g.BreakerCalls, g.BreakerDelay = 1, 30*time.Millisecond
	c := newConnector("scripted", s, g, newMetrics(prometheus.NewRegistry()))
	if _, err := c.send(t.Context(), Request{Operation: OperationAuthorize}); err != nil || c.healthy() {
		t.Fatal(err, c.healthy())
	}
	eventually(t, "healthy again", c.healthy)
	s.says = func(context.Context, int) (Result, error) { return Result{Outcome: OutcomeConfirmed}, nil }
	if r, err := c.send(t.Context(), Request{Operation: OperationAuthorize}); err != nil || r.Outcome != OutcomeConfirmed || !c.breaker.IsClosed() {
		t.Error(r, err, c.breaker.State())
	}
}

// A full bulkhead is "not sent", and nothing the breaker counts.
func TestGuardBulkhead(t *testing.T) {
	release, entered := make(chan struct{}), make(chan struct{}, 1)
	s := &scripted{says: func(context.Context, int) (Result, error) {
		entered <- struct{}{}
		<-release
		return refused("51"), nil
	}}
	cfg, err := config([]string{"b"}, map[string]Acquirer{})
	if err != nil {
		t.Fatal(err)
	}
	g := cfg.Guard
	g.InFlightMax, g.InFlightWait, g.BreakerCalls = 1, 5*time.Millisecond, 1
	c := newConnector("scripted", s, g, newMetrics(prometheus.NewRegistry()))
	done := make(chan error, 1)
	go func() {
		_, err := c.send(context.Background(), Request{Operation: OperationAuthorize})
		done <- err
	}()
	<-entered
	if _, err := c.send(t.Context(), Request{Operation: OperationAuthorize}); !errors.Is(err, ErrNotSent) {
		t.Error(err)
	}
	close(release)
	if err := <-done; err != nil || !c.healthy() {
		t.Error(err, c.healthy())
	}
}

func TestConfig(t *testing.T) {
	valid := func() Config {
		cfg, err := config([]string{"b"}, map[string]Acquirer{"bank": newTeller("http://127.0.0.1:1")})
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	if err := valid().Validate(); err != nil {
		t.Fatal(err)
	}
	standard := DefaultConfig()
	standard.Disputes = &desk{}
	own := valid()
	standard.Brokers, standard.Partitions, standard.Acquirers, standard.Routes, standard.Codes = own.Brokers, own.Partitions, own.Acquirers, own.Routes, own.Codes
	standard.Logger, standard.Registry = own.Logger, own.Registry
	if err := standard.Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	for name, change := range map[string]func(*Config){
		"brokers":         func(c *Config) { c.Brokers = nil },
		"group":           func(c *Config) { c.Group = "" },
		"partitions":      func(c *Config) { c.Partitions = 0 },
		"acquirers":       func(c *Config) { c.Acquirers = nil },
		"route to nobody": func(c *Config) { c.Acquirers = map[string]Acquirer{"other": newTeller("")} },
		"codes":           func(c *Config) { c.Codes = nil },
		"polls":           func(c *Config) { c.Polls = nil },
		"polls back":      func(c *Config) { c.Polls = []time.Duration{time.Minute, time.Second} },
		"last poll":       func(c *Config) { c.Polls = []time.Duration{time.Second} },
		"grace":           func(c *Config) { c.NotFoundAfter = c.Guard.Deadline },
		"keep":            func(c *Config) { c.Keep = time.Hour },
		"concurrency":     func(c *Config) { c.Concurrency = 0 },
		"deadline":        func(c *Config) { c.Guard.Deadline = 0 },
		"patience":        func(c *Config) { c.Patience.FollowUp = 0 },
		"logger":          func(c *Config) { c.Logger = nil },
	} {
		cfg := valid()
		change(&cfg)
		if err := cfg.Validate(); err == nil {
			t.Errorf("taken: %s", name)
		}
	}
}
