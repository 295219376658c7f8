package reference_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	"github.com/caudalpay/caudal/ingest/door"
	"github.com/caudalpay/caudal/ingest/reference"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	documents "github.com/caudalpay/caudal/schemas/reference"
	referencev1 "github.com/caudalpay/caudal/schemas/reference/v1"
	"github.com/caudalpay/caudal/schemas/topics"
)

func cluster(t *testing.T) reference.Config {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, documents.Topics()...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return reference.Config{Brokers: c.ListenAddrs(), Log: slog.New(slog.DiscardHandler)}
}

func start(t *testing.T, cfg reference.Config) *reference.Follower {
	t.Helper()
	f, err := reference.NewFollower(cfg)
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
	})
	eventually(t, func() bool { return f.Ready() == nil })
	return f
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never")
		}
	}
}

func publish(t *testing.T, cfg reference.Config, what ...documents.Document) (int, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	return reference.Publish(ctx, cfg, what)
}

func sample(t *testing.T) []documents.Document {
	t.Helper()
	all, err := documents.Sample()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestPublishOnceAndPinTheNewest(t *testing.T) {
	cfg := cluster(t)
	all := sample(t)
	if n, err := publish(t, cfg, all...); n != len(all) || err != nil {
		t.Fatalf("published %d of %d: %v", n, len(all), err)
	}
	if n, err := publish(t, cfg, all...); n != 0 || err != nil {
		t.Fatalf("published %d again: %v", n, err)
	}
	f := start(t, cfg)
	pins, err := f.Pin("standard")
	want := &paymentsv1.Pins{Policy: "standard@1", Fees: "standard@1", Rates: "sample@1", Rules: "standard@1", Blocklist: "standard@1"}
	if err != nil || !proto.Equal(pins, want) {
		t.Fatalf("standard: %v, %v", pins, err)
	}
	pins, err = f.Pin("import")
	if want = (&paymentsv1.Pins{Policy: "import@1", Rates: "sample@1", Rules: "standard@1"}); err != nil || !proto.Equal(pins, want) {
		t.Fatalf("import: %v, %v", pins, err)
	}
	if _, err := f.Pin("nobody"); !errors.Is(err, door.ErrPolicyUnknown) {
		t.Fatalf("unknown policy: %v", err)
	}
	if p, ok := f.Policy("standard"); !ok || p.GetVersion() != 1 {
		t.Fatalf("policy: %v", p)
	}

	next := documents.Document{Topic: topics.FeeSchedules, Message: &referencev1.FeeSchedule{Id: "standard", Version: 12}}
	between := documents.Document{Topic: topics.FeeSchedules, Message: &referencev1.FeeSchedule{Id: "standard", Version: 2}}
	if n, err := publish(t, cfg, next, between); n != 2 || err != nil {
		t.Fatalf("new versions: %d, %v", n, err)
	}
	eventually(t, func() bool {
		pins, err := f.Pin("standard")
		return err == nil && pins.GetFees() == "standard@12"
	})
}

func TestPublishedVersionsNeverChange(t *testing.T) {
	cfg := cluster(t)
	all := sample(t)
	if _, err := publish(t, cfg, all...); err != nil {
		t.Fatal(err)
	}
	changed := documents.Document{Topic: topics.FeeSchedules, Message: &referencev1.FeeSchedule{Id: "standard", Version: 1}}
	fresh := documents.Document{Topic: topics.FeeSchedules, Message: &referencev1.FeeSchedule{Id: "fresh", Version: 1}}
	if n, err := publish(t, cfg, fresh, changed); n != 0 || !errors.Is(err, reference.ErrChanged) || !strings.Contains(err.Error(), "standard@1 of fee-schedules") {
		t.Fatalf("published %d: %v", n, err)
	}
	dangling := documents.Document{Topic: topics.Policies, Message: &referencev1.Policy{Id: "p", Version: 1, FeesId: "nowhere"}}
	if n, err := publish(t, cfg, fresh, dangling); n != 0 || err == nil || !strings.Contains(err.Error(), `"nowhere"`) {
		t.Fatalf("published %d: %v", n, err)
	}
	if n, err := publish(t, cfg, fresh); n != 1 || err != nil {
		t.Fatalf("a refused publication left something: %d, %v", n, err)
	}
}

// A foreign writer may put anything on the topics: the follower goes on with what it knows, the publisher refuses.
func TestForeignRecordsDoNotChangeWhatIsKnown(t *testing.T) {
	cfg := cluster(t)
	if _, err := publish(t, cfg, sample(t)...); err != nil {
		t.Fatal(err)
	}
	f := start(t, cfg)
	client, err := kgo.NewClient(kgo.SeedBrokers(cfg.Brokers...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	other, err := documents.Document{Topic: topics.Policies, Message: &referencev1.Policy{Id: "standard", Version: 1}}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	last, err := documents.Document{Topic: topics.Policies, Message: &referencev1.Policy{Id: "last", Version: 1}}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	err = client.ProduceSync(t.Context(),
		&kgo.Record{Topic: topics.Policies, Key: []byte("standard@1"), Value: other},
		&kgo.Record{Topic: topics.Policies, Key: []byte("standard@1")},
		&kgo.Record{Topic: topics.Policies, Key: []byte("standard@2"), Value: []byte{0xff}},
		&kgo.Record{Topic: topics.Policies, Key: []byte("last@1"), Value: last},
	).FirstErr()
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { _, ok := f.Policy("last"); return ok })
	if pins, err := f.Pin("standard"); err != nil || pins.GetPolicy() != "standard@1" || pins.GetFees() != "standard@1" {
		t.Fatalf("%v, %v", pins, err)
	}
	if _, err := publish(t, cfg); err == nil {
		t.Fatal("published beside what cannot be read")
	}
}
