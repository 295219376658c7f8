package webhooks

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"google.golang.org/protobuf/proto"

	"github.com/caudalpay/caudal/ingest/http"
	"github.com/caudalpay/caudal/schemas/rails/ownref"
	railsv1 "github.com/caudalpay/caudal/schemas/rails/v1"
	"github.com/caudalpay/caudal/schemas/seal"
	"github.com/caudalpay/caudal/schemas/topics"
)

const partitions = 4

// desk is a receiver over a broker of its own.
type desk struct {
	*Receiver

	t       *testing.T
	cluster *kfake.Cluster
	sealer  *seal.Keyring
	now     time.Time
	sent    int
}

func openDesk(t *testing.T, change func(*Config)) *desk {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(partitions, topics.RailsNotifications))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	d := &desk{t: t, cluster: cluster, now: time.Unix(noon, 0)}
	if d.sealer, err = seal.LoadOrCreate(filepath.Join(t.TempDir(), "seal.key")); err != nil {
		t.Fatal(err)
	}
	standard, err := NewVerifier(SchemeStandard, "", 5*time.Minute, []string{secretNew, secretOld})
	if err != nil {
		t.Fatal(err)
	}
	fixed, err := NewVerifier(SchemeHeader, "X-Key", 0, []string{"a-secret-of-cielo"})
	if err != nil {
		t.Fatal(err)
	}
	cfg := DefaultConfig()
	cfg.Brokers, cfg.Partitions, cfg.Sealer, cfg.Now = cluster.ListenAddrs(), partitions, d.sealer, func() time.Time { return d.now }
	cfg.Log, cfg.Registry = slog.New(slog.DiscardHandler), prometheus.NewRegistry()
	cfg.Processors = map[string]Processor{
		"rede":  {Dialect: "rede", Verifier: standard, PerSecond: 100},
		"cielo": {Dialect: "cielo", Verifier: fixed, PerSecond: 100},
	}
	if change != nil {
		change(&cfg)
	}
	if d.Receiver, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
	return d
}

// rede sends what Rede would, under an event's id.
func (d *desk) rede(id, body string) error {
	stamp := strconv.FormatInt(d.now.Unix(), 10)
	h := headers("webhook-id", id, "webhook-timestamp", stamp, "webhook-signature", signature(d.t, secretOld, id, stamp, body))
	return d.Receive(d.t.Context(), "rede", h, []byte(body))
}

func (d *desk) count(processor string, o outcome) int {
	d.t.Helper()
	var m dto.Metric
	if err := d.metrics.WithLabelValues(processor, string(o)).Write(&m); err != nil {
		d.t.Fatal(err)
	}
	return int(m.GetCounter().GetValue())
}

// log is all that was written.
func (d *desk) log() (all []*kgo.Record) {
	d.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(d.cluster.ListenAddrs()...), kgo.ConsumeTopics(topics.RailsNotifications), kgo.FetchMaxWait(50*time.Millisecond))
	if err != nil {
		d.t.Fatal(err)
	}
	defer cl.Close()
	for {
		ctx, cancel := context.WithTimeout(d.t.Context(), 500*time.Millisecond)
		fetches := cl.PollFetches(ctx)
		cancel()
		if fetches.NumRecords() == 0 {
			return all
		}
		all = append(all, fetches.Records()...)
	}
}

func redeBodyOf(own string, amount int) string {
	return fmt.Sprintf(`{"companyNumber":"1","events":["PV.UPDATE_TRANSACTION"],"data":{"id":"tid-%s","reference":%q,"status":"Approved","amount":%d}}`, own, own, amount)
}

// Invariant: what is answered with yes is in the log, whole, in the partition of its order, and only readable with the key.
func TestAcceptedIsInTheLog(t *testing.T) {
	d := openDesk(t, nil)
	own := ownref.Mark("aaaaaaaaaaaaaaaa", 3)
	body := redeBodyOf(own, 1000)
	if err := d.rede("msg_1", body); err != nil {
		t.Fatal(err)
	}
	all := d.log()
	if len(all) != 1 || all[0].Partition != 3 || string(all[0].Key) != "rede/tid-"+own {
		t.Fatalf("%d records, %+v", len(all), all)
	}
	n := &railsv1.Notification{}
	if err := proto.Unmarshal(all[0].Value, n); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(body))
	if n.GetVersion() != 1 || n.GetProcessor() != "rede" || n.GetEventId() != "msg_1" || n.GetReceivedAtUs() != d.now.UnixMicro() || string(n.GetBodySha256()) != string(sum[:]) {
		t.Errorf("%v", n)
	}
	personal, err := d.sealer.Open(n.GetSealed())
	if err != nil || personal.GetNotification() != body || strings.Contains(string(all[0].Value), "companyNumber") {
		t.Errorf("%v %q", err, personal.GetNotification())
	}
	if d.count("rede", outcomeAccepted) != 1 {
		t.Error("not counted")
	}
}

func TestWhoIsNotBelieved(t *testing.T) {
	d := openDesk(t, nil)
	stamp := strconv.FormatInt(d.now.Add(-time.Hour).Unix(), 10)
	old := headers("webhook-id", "m", "webhook-timestamp", stamp, "webhook-signature", signature(t, secretOld, "m", stamp, "{}"))
	for name, c := range map[string]struct {
		processor string
		header    Header
		body      string
		want      error
		counted   outcome
	}{
		"forged": {"rede", headers(), "{}", http.ErrForged, outcomeForged},
		"old":    {"rede", old, "{}", http.ErrForged, outcomeReplay},
		"noise":  {"cielo", headers("X-Key", "a-secret-of-cielo"), "{", http.ErrMalformed, outcomeMalformed},
		"latin1": {"cielo", headers("X-Key", "a-secret-of-cielo"), "{\"a\":\"\xe9\"}", http.ErrMalformed, outcomeMalformed},
		"twice":  {"cielo", headers("X-Key", "a-secret-of-cielo"), `{"PaymentId":"a","PaymentId":"b"}`, http.ErrMalformed, outcomeMalformed},
		"other":  {"rede", headers("X-Key", "a-secret-of-cielo"), "{}", http.ErrForged, outcomeForged},
	} {
		before := d.count(c.processor, c.counted)
		if err := d.Receive(t.Context(), c.processor, c.header, []byte(c.body)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if d.count(c.processor, c.counted) != before+1 {
			t.Errorf("%s is not counted as %s", name, c.counted)
		}
	}
	if err := d.Receive(t.Context(), "nobody", headers(), []byte("{}")); !errors.Is(err, http.ErrNotFound) {
		t.Errorf("nobody: %v", err)
	}
	if all := d.log(); len(all) != 0 {
		t.Errorf("%d records", len(all))
	}
}

// Invariant: an event is written once while it is remembered, however often it comes; where a processor gives no id, each counts.
func TestDuplicates(t *testing.T) {
	d := openDesk(t, nil)
	for range 5 {
		if err := d.rede("msg_1", redeBodyOf("x", 1)); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := d.Receive(t.Context(), "cielo", headers("X-Key", "a-secret-of-cielo"), []byte(`{"PaymentId":"p","ChangeType":1}`)); err != nil {
			t.Fatal(err)
		}
	}
	if all := d.log(); len(all) != 3 || d.count("rede", outcomeDuplicate) != 4 {
		t.Errorf("%d records, %d duplicates", len(all), d.count("rede", outcomeDuplicate))
	}
}

// Invariant: what is authentic and not understood is kept.
func TestNotUnderstood(t *testing.T) {
	d := openDesk(t, nil)
	if err := d.rede("msg_1", `{"news":true}`); err != nil {
		t.Fatal(err)
	}
	all := d.log()
	n := &railsv1.Notification{}
	if len(all) != 1 || proto.Unmarshal(all[0].Value, n) != nil || n.GetKind() != other || d.count("rede", outcomeNotUnderstood) != 1 {
		t.Errorf("%d records, %v", len(all), n)
	}
}

// Invariant: the notifications of one transaction are in one partition, in the order in which they were accepted.
func TestOrderOfOneTransaction(t *testing.T) {
	d := openDesk(t, nil)
	for i := range 50 {
		if err := d.rede(fmt.Sprint("msg_", i), redeBodyOf(fmt.Sprint("shop-", i%3), 1+i)); err != nil {
			t.Fatal(err)
		}
	}
	last, where := map[string]int64{}, map[string]int32{}
	for _, r := range d.log() {
		n := &railsv1.Notification{}
		if err := proto.Unmarshal(r.Value, n); err != nil {
			t.Fatal(err)
		}
		ref := n.GetReference()
		if p, seen := where[ref]; seen && p != r.Partition || n.GetCapturedMinor() <= last[ref] {
			t.Errorf("%s: %d behind %d, in %d", ref, n.GetCapturedMinor(), last[ref], r.Partition)
		}
		last[ref], where[ref] = n.GetCapturedMinor(), r.Partition
	}
	if len(last) != 3 {
		t.Errorf("%d transactions", len(last))
	}
}

func TestRate(t *testing.T) {
	d := openDesk(t, func(c *Config) {
		p := c.Processors["rede"]
		p.PerSecond = 5
		c.Processors["rede"] = p
	})
	limited := 0
	for i := range 15 {
		if err := d.rede(fmt.Sprint("msg_", i), redeBodyOf("x", 1)); errors.Is(err, http.ErrLimited) {
			limited++
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if limited != 5 || d.count("rede", outcomeLimited) != 5 {
		t.Errorf("%d of 15 held back, want 5", limited)
	}
	if err := d.Receive(t.Context(), "cielo", headers("X-Key", "a-secret-of-cielo"), []byte(`{"PaymentId":"p","ChangeType":1}`)); err != nil {
		t.Errorf("another processor is held back too: %v", err)
	}
}

// Invariant: what the broker has not acknowledged is not answered with yes, and its repeat is written.
func TestBrokerDoesNotAcknowledge(t *testing.T) {
	d := openDesk(t, func(c *Config) { c.DeliveryTimeout, c.RecordsMax = time.Second, 1 })
	var deaf atomic.Bool
	d.cluster.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		d.cluster.KeepControl()
		if !deaf.Load() {
			return nil, nil, false
		}
		resp, _ := req.ResponseKind().(*kmsg.ProduceResponse)
		for _, topic := range req.(*kmsg.ProduceRequest).Topics {
			rt := kmsg.NewProduceResponseTopic()
			rt.Topic, rt.TopicID = topic.Topic, topic.TopicID
			for _, p := range topic.Partitions {
				rp := kmsg.NewProduceResponseTopicPartition()
				rp.Partition, rp.ErrorCode = p.Partition, kerr.NotEnoughReplicas.Code
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp, nil, true
	})
	deaf.Store(true)
	first := make(chan error, 1)
	go func() { first <- d.rede("msg_1", redeBodyOf("x", 1)) }()
	busy := 0
	for until := time.Now().Add(10 * time.Second); busy == 0 && time.Now().Before(until); time.Sleep(5 * time.Millisecond) {
		if err := d.Receive(t.Context(), "cielo", headers("X-Key", "a-secret-of-cielo"), []byte(`{"PaymentId":"p","ChangeType":1}`)); errors.Is(err, http.ErrBusy) {
			busy++
		}
	}
	if busy == 0 {
		t.Error("never busy")
	}
	if err := <-first; !errors.Is(err, http.ErrUnavailable) && !errors.Is(err, http.ErrBusy) {
		t.Errorf("not acknowledged: %v", err)
	}
	deaf.Store(false)
	for until := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		err := d.rede("msg_1", redeBodyOf("x", 1))
		if err == nil {
			break
		}
		if time.Now().After(until) {
			t.Fatal(err)
		}
	}
	found := 0
	for _, r := range d.log() {
		if strings.HasPrefix(string(r.Key), "rede/") {
			found++
		}
	}
	if found == 0 || d.count("rede", outcomeAccepted) != 1 {
		t.Errorf("%d in the log, %d accepted", found, d.count("rede", outcomeAccepted))
	}
}
