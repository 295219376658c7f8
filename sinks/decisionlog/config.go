package decisionlog

import (
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/schemas/topics"
)

// Config is the half of a sink's configuration that does not depend on its store: where the log is and how much of it a
// batch takes.
type Config struct {
	Brokers    []string
	Client     []kgo.Opt // further client options: dialer, TLS, SASL
	Partitions []int32   // all that this sink owns
	// RecordsMax bounds a batch; Linger is how long a batch that is not full waits for more.
	RecordsMax int
	Linger     time.Duration
	Logger     *slog.Logger
	Registry   prometheus.Registerer
}

// Validate refuses what cannot run.
func (c Config) Validate() error {
	switch {
	case len(c.Brokers) == 0:
		return errors.New("no brokers")
	case len(c.Partitions) == 0:
		return errors.New("no partitions")
	case c.RecordsMax <= 0:
		return errors.New("records per batch must be positive")
	case c.Logger == nil || c.Registry == nil:
		return errors.New("no logger or metrics registry")
	default:
		return nil
	}
}

// clientOptions read committed records from the positions given, and nothing else: no reset, because a store that is
// ahead of the log must stop, and control records kept, because a position that does not pass the commit markers never
// reaches the end of the log.
func (c Config) clientOptions(at map[int32]int64) []kgo.Opt {
	offsets := make(map[int32]kgo.Offset, len(at))
	for partition, offset := range at {
		offsets[partition] = kgo.NewOffset().At(offset)
	}
	opts := []kgo.Opt{
		kgo.SeedBrokers(c.Brokers...),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topics.Decisions: offsets}),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(),
		kgo.FetchMaxWait(time.Second),
		kgo.FetchMaxBytes(32 << 20),
		kgo.FetchMaxPartitionBytes(4 << 20),
		kgo.MetadataMinAge(100 * time.Millisecond),
	}
	return append(opts, c.Client...)
}
