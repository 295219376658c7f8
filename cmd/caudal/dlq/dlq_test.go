package dlq_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	"github.com/caudalpay/caudal/cmd/caudal/dlq"
	"github.com/caudalpay/caudal/cmd/caudal/embedded/embedtest"
	"github.com/caudalpay/caudal/cmd/caudal/installation"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	referencev1 "github.com/caudalpay/caudal/schemas/reference/v1"
	"github.com/caudalpay/caudal/schemas/topics"
	"github.com/caudalpay/caudal/sinks/audit"
	"github.com/caudalpay/caudal/sinks/audit/audittest"
	"github.com/caudalpay/caudal/streams/engine"
	"github.com/caudalpay/caudal/streams/topology"
)

func TestMain(m *testing.M) { embedtest.Main(m) }

// system is the accounts group on a broker of its own.
type system struct {
	t       *testing.T
	brokers []string
	stop    func()
}

func newSystem(t *testing.T) *system {
	t.Helper()
	s := &system{t: t, brokers: embedtest.Broker(t)}
	client, err := kgo.NewClient(kgo.SeedBrokers(s.brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := installation.Ensure(t.Context(), kadm.NewClient(client), installation.Size{Partitions: audittest.Partitions, Replication: 1}, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	for topic, docs := range audittest.Documents() {
		for key, doc := range docs {
			s.publish(topic, key, doc)
		}
	}
	e, err := engine.New(topology.Accounts(engine.Config{
		Brokers: s.brokers, Partitions: audittest.Partitions, TransactionalID: "accounts-0", InstanceID: "accounts-0", Logger: slog.New(slog.DiscardHandler),
	}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() {
		defer close(ended)
		ended <- e.Run(ctx)
	}()
	s.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("engine ended with %v", err)
		}
	}
	t.Cleanup(s.stop)
	return s
}

func (s *system) publish(topic, key string, doc proto.Message) {
	audittest.Produce(s.t, s.brokers, &kgo.Record{Topic: topic, Key: []byte(key), Value: audittest.Encode(s.t, doc)})
}

// dlq runs the command.
func (s *system) dlq(args ...string) (string, error) {
	var out bytes.Buffer
	c := dlq.New()
	c.SetArgs(append(args, "--brokers", s.brokers[0], "--partitions", fmt.Sprint(audittest.Partitions)))
	c.SetOut(&out)
	c.SetErr(&bytes.Buffer{})
	c.SilenceErrors, c.SilenceUsage = true, true
	err := c.ExecuteContext(s.t.Context())
	return out.String(), err
}

// refused wants words in the error.
func (s *system) refused(words string, args ...string) {
	s.t.Helper()
	if out, err := s.dlq(args...); err == nil || !strings.Contains(err.Error(), words) {
		s.t.Errorf("%v: want %q in the error, got %v\n%s", args, words, err, out)
	}
}

type listing struct {
	Parked []struct {
		Account string    `json:"account"`
		Offset  int64     `json:"first_offset"`
		Reason  string    `json:"reason"`
		Count   int       `json:"count"`
		Since   time.Time `json:"since"`
		Lag     int64     `json:"lag"`
	} `json:"parked"`
	Dead []struct {
		Account string `json:"account"`
		Offset  int64  `json:"offset"`
		By      string `json:"discarded_by"`
		Why     string `json:"discarded_why"`
	} `json:"dead_letters"`
}

func (s *system) list() (l listing) {
	s.t.Helper()
	out, err := s.dlq("list", "-o", "json")
	if err == nil {
		err = json.Unmarshal([]byte(out), &l)
	}
	if err != nil {
		s.t.Fatalf("%v\n%s", err, out)
	}
	return l
}

// first is the offset that an account waits for, and how many wait; -1: it is not parked.
func (s *system) first(account string) (offset int64, count int) {
	s.t.Helper()
	for _, p := range s.list().Parked {
		if p.Account == account {
			if p.Since.IsZero() {
				s.t.Errorf("%s waits since never", account)
			}
			return p.Offset, p.Count
		}
	}
	return -1, 0
}

func (s *system) eventually(what string, ok func() bool) {
	s.t.Helper()
	for until := time.Now().Add(30 * time.Second); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(until) {
			s.t.Fatalf("no %s", what)
		}
	}
}

func noise(account string) *kgo.Record {
	return &kgo.Record{
		Topic: topics.Commands, Partition: topics.Partition([]byte(account), audittest.Partitions), Key: []byte(account), Value: []byte("\xff\xffnonsense"),
	}
}

// pinLater makes an account's commands from here on name rates that are not published yet.
func pinLater(t *testing.T, requests []*kgo.Record, account string) {
	t.Helper()
	for _, r := range requests {
		c := &paymentsv1.Command{}
		if string(r.Key) == account && proto.Unmarshal(r.Value, c) == nil && c.GetPins() != nil {
			c.Pins.Rates = "fx@3"
			r.Value = audittest.Encode(t, c)
		}
	}
}

// TestRedriveAndDiscardUnderLoad: one account waits for rates, another behind noise. While commands keep coming, operators
// get both going again, and the books close: every command is decided, dead, or discarded at somebody's word.
func TestRedriveAndDiscardUnderLoad(t *testing.T) {
	h := audittest.New(t, 31)
	h.Open(12)
	h.Play(2400)
	s := newSystem(t)
	sick, early := h.Accounts[2], h.Accounts[5]
	requests := slices.Clone(h.Requests)
	third := len(requests) / 3
	pinLater(t, requests[third:], early)
	requests = slices.Insert(requests, 2*third, noise(sick))
	requests = slices.Insert(requests, third, noise(sick), &kgo.Record{Topic: topics.Commands, Partition: 1, Key: []byte("nobody"), Value: []byte("x")})
	audittest.Produce(t, s.brokers, requests[:2*third+100]...)
	s.eventually("parked accounts", func() bool {
		l := s.list()
		return len(l.Parked) >= 2 && len(l.Dead) == 1
	})
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		for chunk := range slices.Chunk(requests[2*third+100:], 20) {
			audittest.Produce(t, s.brokers, chunk...)
			time.Sleep(25 * time.Millisecond)
		}
	}()

	s.shows(sick, early)
	s.refused("pinned document fx@3 is not on", "redrive", early, "--reason", "too soon")
	sheet, ok := proto.Clone(audittest.Documents()[topics.FXRates]["fx@1"]).(*referencev1.RateSheet)
	if !ok {
		t.Fatal("no rates")
	}
	sheet.Version = 3
	s.publish(topics.FXRates, "fx@3", sheet)
	if out, err := s.dlq("redrive", early, "--reason", "the rates are there"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	<-fed
	s.eventually("second noise to be parked", func() bool { _, n := s.first(sick); return n > 20 })
	at, waiting := s.first(sick)
	out, err := s.dlq("discard", sick, fmt.Sprint(at), "--reason", "noise", "--by", "maria", "-o", "json")
	if err == nil || !strings.Contains(err.Error(), "caudal dlq discard "+sick) {
		t.Errorf("the second noise does not stop the redrive, or nobody says so: %v\n%s", err, out)
	}
	second, left := s.first(sick)
	if second <= at || left >= waiting {
		t.Errorf("of %d from %d on, %d wait from %d on", waiting, at, left, second)
	}
	if out, err := s.dlq("discard", sick, fmt.Sprint(second), "--reason", "noise", "--by", "maria"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	l := s.list()
	if len(l.Parked) != 0 || len(l.Dead) != 3 || l.Dead[2].By != "maria" || l.Dead[2].Why != "noise" || l.Dead[2].Account != sick {
		t.Errorf("in the end: %+v", l)
	}
	s.closes(t)
	s.refuses(sick, second)
}

// shows looks at what is parked and dead, in all ways.
func (s *system) shows(sick, early string) {
	s.t.Helper()
	at, _ := s.first(early)
	for words, args := range map[string][]string{
		"ffff6e6f6e73656e7365": {"show", sick},
		"fx@3":                 {"show", early},
		`"state": "parked"`:    {"show", fmt.Sprintf("%d/%d", topics.Partition([]byte(early), audittest.Partitions), at), "-o", "json"},
		sick:                   {"list"},
	} {
		if out, err := s.dlq(args...); err != nil || !strings.Contains(out, words) {
			s.t.Errorf("%v: no %q in %v\n%s", args, words, err, out)
		}
	}
	out, err := s.dlq("show", early, "-o", "json")
	var shown struct {
		Command struct {
			Sealed map[string]any `json:"sealed"`
		} `json:"command"`
	}
	if err == nil {
		err = json.Unmarshal([]byte(out), &shown)
	}
	if _, open := shown.Command.Sealed["ciphertext"]; err != nil || open {
		s.t.Errorf("%v\n%s", err, out)
	}
}

func (s *system) closes(t *testing.T) {
	t.Helper()
	var r audit.Report
	s.eventually("end of the log", func() (done bool) {
		var err error
		if r, err = audit.Verify(t.Context(), audit.Config{Brokers: s.brokers, Partitions: audittest.Partitions, AllowLag: true}); err != nil {
			t.Fatal(err)
		}
		return r.Undecided == 0 && r.TransitMinor["BRL"] == 0 && r.TransitMinor["USD"] == 0
	})
	r, err := audit.Verify(t.Context(), audit.Config{Brokers: s.brokers, Partitions: audittest.Partitions})
	if err != nil {
		t.Fatal(err)
	}
	if r.Err() != nil || r.Parked != 0 || r.Dead != 1 || r.Discarded != 2 || r.Redriven < 20 || r.Controls < 8 || r.Commands != r.Decisions+3 {
		var out bytes.Buffer
		t.Fatal(r.Err(), r.WriteTable(&out), &out)
	}
}

// refuses: what cannot be meant is not guessed at, and every error says what to do.
func (s *system) refuses(well string, discarded int64) {
	s.t.Helper()
	s.refused("is not parked: `caudal dlq list`", "redrive", well, "--reason", "x")
	s.refused("is parked: `caudal dlq list`", "discard", well, fmt.Sprint(discarded), "--reason", "x")
	s.refused(`required flag(s) "reason" not set`, "redrive", well)
	s.refused("--reason: say why", "redrive", well, "--reason", " \t")
	s.refused("--reason: say why", "discard", well, fmt.Sprint(discarded), "--reason", "")
	s.refused("--by: say who", "redrive", "--all", "--reason", "x", "--by", " ")
	s.refused("name the accounts to redrive, or say --all", "redrive", "--reason", "x")
	s.refused("is not an offset", "discard", well, "1/2", "--reason", "x")
	s.refused("choose table or json", "list", "-o", "xml")
	s.refused("is not PARTITION/OFFSET", "show", "9/1")
	s.refused("is neither parked nor a dead letter", "show", "1/999999")
	s.refused("choose one", "list", "--data", "x")
	out, err := s.dlq("show", fmt.Sprintf("%d/%d", topics.Partition([]byte(well), audittest.Partitions), discarded))
	if err != nil || !strings.Contains(out, "discarded") || !strings.Contains(out, "maria") {
		s.t.Errorf("%v\n%s", err, out)
	}
}

// TestWordToNobody: without a worker the word stands in the log, and whoever waits for it is told so.
func TestWordToNobody(t *testing.T) {
	s := newSystem(t)
	h := audittest.New(t, 5)
	h.Open(1)
	account := h.Accounts[0]
	audittest.Produce(t, s.brokers, append(slices.Clone(h.Requests), noise(account))...)
	s.eventually("a parked account", func() bool { at, _ := s.first(account); return at >= 0 })
	s.eventually("an idle worker", func() bool { return s.list().Parked[0].Lag == 0 })
	s.stop()
	audittest.Produce(t, s.brokers, noise(account), noise(account))
	if lag := s.list().Parked[0].Lag; lag != 2 {
		t.Errorf("two commands are not handled, and the lag is %d", lag)
	}
	s.refused("will be obeyed once: do not repeat it", "redrive", account, "--reason", "x", "--timeout", "300ms")
}

// TestWhatNobodyWouldRepeatIsNotDiscarded: a parked leg holds money in transit.
func TestWhatNobodyWouldRepeatIsNotDiscarded(t *testing.T) {
	s := newSystem(t)
	h := audittest.New(t, 6)
	h.Open(2)
	payer, payee := h.Accounts[0], h.Accounts[1]
	audittest.Produce(t, s.brokers, append(slices.Clone(h.Requests), noise(payee))...)
	leg := &paymentsv1.Command{
		Version: 1, Kind: paymentsv1.CommandKind_COMMAND_KIND_COUNTER_LEG, Tenant: "t", Merchant: "m", Account: payee, CommandId: "cmd_leg",
		Body: &paymentsv1.Command_CounterLeg{CounterLeg: &paymentsv1.CounterLeg{TransferId: "x", PayerAccount: payer, AmountMinor: 1, Currency: "BRL"}},
	}
	record := noise(payee)
	record.Value = audittest.Encode(t, leg)
	audittest.Produce(t, s.brokers, record)
	var out string
	s.eventually("a parked leg", func() (ok bool) {
		var err error
		out, err = s.dlq("show", fmt.Sprintf("%d/%d", record.Partition, record.Offset))
		return err == nil
	})
	if !strings.Contains(out, "parked") || !strings.Contains(out, "in transit for ever") {
		t.Error(out)
	}
	s.refused("the payer's money stays in transit for ever; redrive it", "discard", payee, fmt.Sprint(record.Offset), "--reason", "x")
	if _, err := s.dlq("show", fmt.Sprintf("%d/%d", record.Partition, record.Offset)); err != nil {
		t.Error(err)
	}
}
