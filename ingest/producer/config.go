package producer

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// batchItemsMax is how many items the API takes in one batch: the buffer must hold at least one such batch.
const batchItemsMax = 1000

// Config of a Producer.
type Config struct {
	Brokers []string
	// ReplyPartition of ingress.replies.v1 belongs to this process: only it reads there.
	ReplyPartition int32
	// RecordsMax and BytesMax bound what waits for the broker. Above either, a submission is refused at once.
	RecordsMax int
	BytesMax   int
	// Linger is how long a partition waits for more records before it sends a batch.
	Linger time.Duration
	// DeliveryTimeout is how long a submission waits for its acknowledgement.
	DeliveryTimeout time.Duration
	Log             *slog.Logger
}

// DefaultConfig holds the figures that suit one node.
func DefaultConfig() Config {
	return Config{
		RecordsMax:      50_000,
		BytesMax:        64 << 20,
		Linger:          time.Millisecond,
		DeliveryTimeout: 10 * time.Second,
	}
}

// Validate refuses figures that could never work.
func (c Config) Validate() error {
	switch {
	case len(c.Brokers) == 0:
		return errors.New("no brokers")
	case c.ReplyPartition < 0:
		return errors.New("negative reply partition")
	case c.RecordsMax < batchItemsMax:
		return fmt.Errorf("records max below one batch of %d", batchItemsMax)
	case c.BytesMax < 8<<20:
		return errors.New("bytes max below 8 MiB: one batch may not fit")
	case c.Linger < 0 || c.Linger > time.Second:
		return errors.New("linger outside 0 to 1 s")
	case c.DeliveryTimeout < time.Second:
		return errors.New("delivery timeout below 1 s")
	case c.Log == nil:
		return errors.New("no logger")
	}
	return nil
}
