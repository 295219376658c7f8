package repair_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/cmd/caudal/repair"
	"github.com/caudalpay/caudal/schemas/topics"
	"github.com/caudalpay/caudal/streams/streamtest"
)

// member joins the group as a worker does, and has partitions when this returns: the leader's death inside a rebalance would
// put out the others too where, as on kfake, one that waits for its partitions counts as silent. It dies without a word:
// nothing it sends any more arrives.
func member(t *testing.T, c *streamtest.Cluster, instance string, options ...kgo.Opt) (dies func()) {
	t.Helper()
	joined := make(chan struct{}, 1)
	ctx, cut := context.WithCancel(context.Background())
	client, err := kgo.NewClient(append([]kgo.Opt{
		kgo.WithContext(ctx), kgo.SeedBrokers(c.Addrs...), kgo.ConsumerGroup(topics.AccountsGroup), kgo.InstanceID(instance), kgo.ConsumeTopics(topics.Commands),
		kgo.SessionTimeout(4 * time.Second), kgo.HeartbeatInterval(50 * time.Millisecond),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, assigned map[string][]int32) {
			if len(assigned) == 0 {
				return
			}
			select {
			case joined <- struct{}{}:
			default:
			}
		}),
	}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cut(); client.Close() })
	select {
	case <-joined:
	case <-time.After(30 * time.Second):
		t.Fatalf("%s never joined", instance)
	}
	return cut
}

// Invariant: nothing is looked at or changed while anybody is in the group, and the refusal names all; the dead are waited for.
func TestRefusesWhileTheGroupHasMembers(t *testing.T) {
	t.Parallel()
	for kind, options := range map[string][]kgo.Opt{
		"members assign": {kgo.Balancers(kgo.CooperativeStickyBalancer())},
		"broker assigns": {kgo.ServerSideBalancer(), kgo.Balancers(kgo.StickyBalancer())},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			c := streamtest.Start(t)
			c.Topics(4, topics.Commands, topics.Decisions, topics.AccountsSide)
			cfg := repair.Config{Brokers: c.Addrs, Partitions: 4, Log: slog.New(slog.DiscardHandler)}
			if _, err := repair.Inspect(t.Context(), cfg); err != nil {
				t.Fatalf("a group that was never there: %v", err)
			}
			first, second := member(t, c, "accounts-0", options...), member(t, c, "accounts-7", options...)
			_, err := repair.Inspect(t.Context(), cfg)
			refused, ok := errors.AsType[*repair.MembersError](err)
			if !ok || len(refused.Members) != 2 {
				t.Fatalf("with two members: %v", err)
			}
			for _, words := range []string{"accounts-0 at 127.0.0.1", "accounts-7 at ", "stop them"} {
				if !strings.Contains(err.Error(), words) {
					t.Errorf("%q is not in: %v", words, err)
				}
			}
			// A commit that forgot to look is refused by the broker.
			torn := []repair.Partition{{ID: 1, Applied: 5, Committed: 2, Decided: 5, Verdict: repair.Torn}}
			if err := repair.Commit(t.Context(), cfg, torn); err == nil {
				t.Error("an offset was committed beside two members")
			}
			first()
			cfg.Patience = 10 * time.Second
			if _, err := repair.Inspect(t.Context(), cfg); !slices.Equal(named(err), []string{"accounts-7"}) {
				t.Errorf("with one dead and one living member: %v", err)
			}
			cfg.Patience = 40 * time.Second
			second()
			if _, err := repair.Inspect(t.Context(), cfg); err != nil {
				t.Fatalf("with dead members only: %v", err)
			}
			if err := repair.Commit(t.Context(), cfg, torn); err != nil {
				t.Fatal(err)
			}
			offsets, err := kadm.NewClient(c.Client()).FetchOffsets(t.Context(), topics.AccountsGroup)
			if o, ok := offsets.Lookup(topics.Commands, 1); err != nil || !ok || o.At != 5 {
				t.Errorf("after the repair the group is at %d: %v", o.At, err)
			}
		})
	}
}

// named are the instances that a refusal names.
func named(err error) (instances []string) {
	if refused, ok := errors.AsType[*repair.MembersError](err); ok {
		for _, m := range refused.Members {
			instance, _, _ := strings.Cut(m, " ")
			instances = append(instances, instance)
		}
	}
	return instances
}
