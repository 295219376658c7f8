// Package installation makes the topics of the catalogue on a broker, and refuses an installation that is not what the
// catalogue says: another partition count would send accounts elsewhere, a retention would lose the log.
package installation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/caudalpay/caudal/schemas/topics"
)

// ErrRefused marks topics that exist and are not what the catalogue says.
var ErrRefused = errors.New("the topics of this broker do not fit")

const (
	pollEvery     = 20 * time.Millisecond
	longRetention = 10 * 365 * 24 * time.Hour // what anti-money-laundering law asks to keep
	minutes       = 30 * time.Minute
	// segmentOfMinutes lets the broker drop what is older: it deletes whole segments only.
	segmentOfMinutes = 10 * time.Minute
)

const (
	cleanupPolicy  = "cleanup.policy"
	retentionTime  = "retention.ms"
	retentionBytes = "retention.bytes"
	segmentTime    = "segment.ms"
	minInSync      = "min.insync.replicas"
)

// Size of an installation. Chosen once: partitions never change.
type Size struct {
	Partitions  int32
	Replication int16
}

// Ensure makes what is missing, checks what is there, and returns when every partition answers: the broker creates
// topics behind its answer, and a group member that joins too early sees none.
func Ensure(ctx context.Context, admin *kadm.Client, size Size, log *slog.Logger) error {
	if size.Partitions <= 0 || size.Replication <= 0 {
		return fmt.Errorf("ensuring topics: %d partitions, replication %d", size.Partitions, size.Replication)
	}
	catalogue := topics.Catalogue()
	names := make([]string, len(catalogue))
	for i, t := range catalogue {
		names[i] = t.Name
	}
	existing, err := admin.ListTopics(ctx, names...)
	if err != nil {
		return fmt.Errorf("listing topics: %w", err)
	}
	var there []string
	var problems []error
	for _, t := range catalogue {
		detail := existing[t.Name]
		switch {
		case errors.Is(detail.Err, kerr.UnknownTopicOrPartition):
		case detail.Err != nil:
			problems = append(problems, fmt.Errorf("describing topic %s: %w", t.Name, detail.Err))
		case len(detail.Partitions) != int(partitions(t, size)):
			problems = append(problems, fmt.Errorf("%w: %s has %d partitions and this start asks for %d; the count is chosen once and never changed",
				ErrRefused, t.Name, len(detail.Partitions), partitions(t, size)))
		default:
			there = append(there, t.Name)
		}
	}
	if err := errors.Join(append(problems, check(ctx, admin, catalogue, there))...); err != nil {
		return err
	}
	for _, t := range catalogue {
		if !errors.Is(existing[t.Name].Err, kerr.UnknownTopicOrPartition) {
			continue
		}
		_, err := admin.CreateTopic(ctx, partitions(t, size), size.Replication, configs(t, size), t.Name)
		if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			return fmt.Errorf("creating topic %s: %w", t.Name, err)
		}
		log.Info("created", "topic", t.Name, "partitions", partitions(t, size))
	}
	return answering(ctx, admin, catalogue, size)
}

func partitions(t topics.Topic, size Size) int32 {
	if t.Partitioned {
		return size.Partitions
	}
	return 1
}

// configs sets every retention by name: a broker's default of a week would delete the log.
func configs(t topics.Topic, size Size) map[string]*string {
	set := map[string]string{cleanupPolicy: "delete", retentionTime: "-1", retentionBytes: "-1"}
	switch t.Cleanup {
	case topics.Unlimited:
	case topics.Long:
		set[retentionTime] = strconv.FormatInt(longRetention.Milliseconds(), 10)
	case topics.Minutes:
		set[retentionTime] = strconv.FormatInt(minutes.Milliseconds(), 10)
		set[segmentTime] = strconv.FormatInt(segmentOfMinutes.Milliseconds(), 10)
	case topics.Compact:
		set[cleanupPolicy] = "compact"
	}
	if size.Replication > 2 {
		set[minInSync] = strconv.Itoa(int(size.Replication) - 1) // one broker may be away, no more
	}
	out := make(map[string]*string, len(set))
	for key, value := range set {
		out[key] = &value
	}
	return out
}

// check refuses a topic that would lose what the catalogue keeps.
func check(ctx context.Context, admin *kadm.Client, catalogue []topics.Topic, there []string) error {
	if len(there) == 0 {
		return nil
	}
	described, err := admin.DescribeTopicConfigs(ctx, there...)
	if err != nil {
		return fmt.Errorf("describing topic configurations: %w", err)
	}
	want := make(map[string]topics.Topic, len(catalogue))
	for _, t := range catalogue {
		want[t.Name] = t
	}
	var problems []error
	for _, d := range described {
		if d.Err != nil {
			problems = append(problems, fmt.Errorf("describing the configuration of %s: %w", d.Name, d.Err))
			continue
		}
		has := make(map[string]string, len(d.Configs))
		for _, c := range d.Configs {
			has[c.Key] = c.MaybeValue()
		}
		if why := loses(want[d.Name], has); why != "" {
			problems = append(problems, fmt.Errorf("%w: %s %s", ErrRefused, d.Name, why))
		}
	}
	return errors.Join(problems...)
}

func loses(t topics.Topic, has map[string]string) string {
	policy := "delete"
	if t.Cleanup == topics.Compact {
		policy = "compact"
	}
	if has[cleanupPolicy] != policy {
		return fmt.Sprintf("has %s %q and must have %q", cleanupPolicy, has[cleanupPolicy], policy)
	}
	if t.Cleanup == topics.Unlimited && (has[retentionTime] != "-1" || has[retentionBytes] != "-1") {
		return fmt.Sprintf("has %s %q and %s %q and must keep everything (-1): it is the source for replay",
			retentionTime, has[retentionTime], retentionBytes, has[retentionBytes])
	}
	return ""
}

// answering waits until every partition of every topic tells its end.
func answering(ctx context.Context, admin *kadm.Client, catalogue []topics.Topic, size Size) error {
	for {
		waiting := ""
		for _, t := range catalogue {
			ends, err := admin.ListEndOffsets(ctx, t.Name)
			if err == nil {
				err = ends.Error()
			}
			if got := len(ends[t.Name]); err != nil || got != int(partitions(t, size)) {
				waiting = fmt.Sprintf("%s answers for %d of %d partitions (%v)", t.Name, got, partitions(t, size), err)
				break
			}
		}
		if waiting == "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for topics: %w: %s", ctx.Err(), waiting)
		case <-time.After(pollEvery):
		}
	}
}
