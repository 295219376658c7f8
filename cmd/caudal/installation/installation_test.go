package installation_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/cmd/caudal/installation"
	"github.com/caudalpay/caudal/schemas/topics"
)

var size = installation.Size{Partitions: 4, Replication: 1}

func cluster(t *testing.T) []string {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c.ListenAddrs()
}

func admin(t *testing.T, brokers []string) *kadm.Client {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.MetadataMinAge(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return kadm.NewClient(client)
}

func ensure(t *testing.T, a *kadm.Client, s installation.Size) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	return installation.Ensure(ctx, a, s, slog.New(slog.DiscardHandler))
}

func TestEnsureMakesTheCatalogueAndIsRepeatable(t *testing.T) {
	a := admin(t, cluster(t))
	for range 2 {
		if err := ensure(t, a, size); err != nil {
			t.Fatal(err)
		}
	}
	there, err := a.ListTopics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range topics.Catalogue() {
		partitions := 1
		if want.Partitioned {
			partitions = 4
		}
		if got := len(there[want.Name].Partitions); got != partitions {
			t.Errorf("%s: %d partitions", want.Name, got)
		}
		described, err := a.DescribeTopicConfigs(t.Context(), want.Name)
		if err != nil {
			t.Fatal(err)
		}
		has := map[string]string{}
		for _, c := range described[0].Configs {
			has[c.Key] = c.MaybeValue()
		}
		wantPolicy := map[topics.Cleanup]string{topics.Compact: "compact"}[want.Cleanup]
		if wantPolicy == "" {
			wantPolicy = "delete"
		}
		if has["cleanup.policy"] != wantPolicy || (has["retention.ms"] == "-1") != (want.Cleanup == topics.Unlimited || want.Cleanup == topics.Compact) {
			t.Errorf("%s: cleanup %s, retention %s", want.Name, has["cleanup.policy"], has["retention.ms"])
		}
	}
}

func TestEnsureMakesWhatIsMissing(t *testing.T) {
	brokers := cluster(t)
	a := admin(t, brokers)
	if err := ensure(t, a, size); err != nil {
		t.Fatal(err)
	}
	if _, err := a.DeleteTopic(t.Context(), topics.Directory); err != nil {
		t.Fatal(err)
	}
	a = admin(t, brokers) // the first still remembers the topic
	if err := ensure(t, a, size); err != nil {
		t.Fatal(err)
	}
	if there, err := a.ListTopics(t.Context(), topics.Directory); err != nil || len(there[topics.Directory].Partitions) != 4 {
		t.Fatalf("%v, %v", there, err)
	}
}

func TestEnsureRefuses(t *testing.T) {
	text := func(s string) *string { return &s }
	for name, c := range map[string]struct {
		partitions int32
		configs    map[string]*string
		topic      string
		want       string
	}{
		"partition count": {8, map[string]*string{"retention.ms": text("-1"), "retention.bytes": text("-1")}, topics.Commands, "has 8 partitions and this start asks for 4"},
		"retention":       {4, map[string]*string{"retention.ms": text("604800000")}, topics.Commands, "must keep everything"},
		"cleanup":         {4, map[string]*string{"cleanup.policy": text("delete")}, topics.AccountsTable, "must have \"compact\""},
	} {
		t.Run(name, func(t *testing.T) {
			a := admin(t, cluster(t))
			if _, err := a.CreateTopic(t.Context(), c.partitions, 1, c.configs, c.topic); err != nil {
				t.Fatal(err)
			}
			err := ensure(t, a, size)
			if !errors.Is(err, installation.ErrRefused) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.topic) {
				t.Fatalf("got %v", err)
			}
			if there, err := a.ListTopics(t.Context()); err != nil || len(there) != 1 {
				t.Fatalf("a refused start made topics: %v, %v", there.Names(), err)
			}
		})
	}
	if err := ensure(t, admin(t, cluster(t)), installation.Size{}); err == nil {
		t.Fatal("no partitions")
	}
}
