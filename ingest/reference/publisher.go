// Package reference brings reference data to its topics and keeps the newest versions at hand, so that the ingress pins
// them into every command. A version that was published is never changed: what a command was decided with must be
// there, as it was, for ever.
package reference

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	"github.com/caudalpay/caudal/ingest/follow"
	"github.com/caudalpay/caudal/schemas/reference"
)

// ErrChanged marks a document whose version is published already with other content.
var ErrChanged = errors.New("published already with other content: a change needs a new version")

// publishPoll is how often the publisher looks whether it has read the topics.
const publishPoll = 10 * time.Millisecond

// Config names the brokers of a Publisher or a Follower.
type Config struct {
	Brokers []string
	Log     *slog.Logger
}

// Publish writes the documents that are not on their topics yet, in the order given, and returns how many. It changes
// nothing at all where a document differs from the published one of its key, or where a policy names what is nowhere.
func Publish(ctx context.Context, cfg Config, documents []reference.Document) (int, error) {
	published, err := snapshot(ctx, cfg)
	if err != nil {
		return 0, err
	}
	missing, err := published.missing(documents)
	if err != nil {
		return 0, fmt.Errorf("publishing reference data: %w", err)
	}
	if len(missing) == 0 {
		return 0, nil
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(cfg.Brokers...), kgo.RequiredAcks(kgo.AllISRAcks()), kgo.MetadataMinAge(100*time.Millisecond))
	if err != nil {
		return 0, fmt.Errorf("publishing reference data: %w", err)
	}
	defer client.Close()
	for i, d := range missing {
		value, err := d.Encode()
		if err != nil {
			return i, err
		}
		record := &kgo.Record{Topic: d.Topic, Key: []byte(d.Key()), Value: value}
		if err := client.ProduceSync(ctx, record).FirstErr(); err != nil {
			return i, fmt.Errorf("publishing %s to %s: %w", d.Key(), d.Topic, err)
		}
	}
	return len(missing), nil
}

// snapshot reads all that is published now.
func snapshot(ctx context.Context, cfg Config) (*library, error) {
	l := newLibrary()
	var broken error
	follower, err := follow.New(follow.Config{Brokers: cfg.Brokers, Topics: reference.Topics(), Log: cfg.Log}, func(r *kgo.Record) {
		broken = errors.Join(broken, l.take(r))
	})
	if err != nil {
		return nil, err
	}
	inner, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- follower.Run(inner) }()
	for ctx.Err() == nil && follower.Ready() != nil {
		select {
		case <-ctx.Done():
			broken = fmt.Errorf("reading published reference data: %w (%w)", ctx.Err(), follower.Ready())
		case <-time.After(publishPoll):
		}
	}
	stop()
	return l, errors.Join(<-done, broken)
}

// missing is what has to be written, after everything has been checked.
func (l *library) missing(documents []reference.Document) ([]reference.Document, error) {
	var missing []reference.Document
	var problems []error
	for _, d := range documents {
		old, ok := l.documents[place{d.Topic, d.Key()}]
		switch {
		case !ok:
			missing = append(missing, d)
			l.put(d)
		case !proto.Equal(old, d.Message):
			problems = append(problems, fmt.Errorf("%s of %s: %w", d.Key(), d.Topic, ErrChanged))
		}
	}
	for _, d := range missing {
		problems = append(problems, l.dangling(d)...)
	}
	return missing, errors.Join(problems...)
}
