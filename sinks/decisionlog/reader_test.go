package decisionlog

import (
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/schemas/topics"
)

// A log that is too short ends the run, also where another partition failed in a way that waiting mends.
func TestFetchErrorFinalFirst(t *testing.T) {
	failing := func(errs ...error) kgo.Fetches {
		partitions := make([]kgo.FetchPartition, len(errs))
		for i, err := range errs {
			partitions[i].Partition, partitions[i].Err = int32(i), err
		}
		return kgo.Fetches{{Topics: []kgo.FetchTopic{{Topic: topics.Decisions, Partitions: partitions}}}}
	}
	if err := fetchError(failing(kerr.NotLeaderForPartition, kerr.OffsetOutOfRange)); !errors.Is(err, ErrLogShort) {
		t.Errorf("a short log behind a moved one: %v", err)
	}
	if err := fetchError(failing(nil, &kgo.ErrDataLoss{Topic: topics.Decisions, Partition: 1})); !errors.Is(err, ErrLogShort) {
		t.Errorf("lost data: %v", err)
	}
	if err := fetchError(failing(kerr.NotLeaderForPartition, kerr.UnknownTopicOrPartition)); !errors.Is(err, kerr.NotLeaderForPartition) || errors.Is(err, ErrLogShort) {
		t.Errorf("what waiting mends: %v", err)
	}
	if err := fetchError(failing(nil, nil)); err != nil {
		t.Errorf("no failure: %v", err)
	}
}
