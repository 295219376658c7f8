package webhooks

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/schemas/rails/ownref"
)

// Sealer keeps bodies unreadable in the log.
type Sealer interface {
	SealInto(s *paymentsv1.Sealed, p *paymentsv1.Personal) (bool, error)
}

// Processor is one that may tell something.
type Processor struct {
	Dialect  string // cielo, rede, pagarme, transfers
	Verifier Verifier
	// PerSecond bounds what is taken of it, twice as many at once.
	PerSecond int
}

// Config of a Receiver.
type Config struct {
	Brokers    []string
	Partitions int32                // of rails.notifications.v1
	Processors map[string]Processor // by the name that routes, orders and answers use
	RecordsMax int                  // that wait for the broker; above it a notification is refused at once
	RecentMax  int                  // event ids remembered, so that a duplicate costs nothing
	// DeliveryTimeout is how long a notification waits for its acknowledgement.
	DeliveryTimeout time.Duration
	Sealer          Sealer
	Now             func() time.Time
	Log             *slog.Logger
	Registry        prometheus.Registerer
}

// DefaultConfig holds the figures that suit one node.
func DefaultConfig() Config {
	return Config{RecordsMax: 4096, RecentMax: 65_536, DeliveryTimeout: 5 * time.Second, Now: time.Now}
}

// DefaultPerSecond is above what one acquirer tells of a busy house.
const DefaultPerSecond = 500

// Validate refuses what cannot run.
func (c Config) Validate() error {
	switch {
	case len(c.Brokers) == 0:
		return errors.New("no brokers")
	case c.Partitions <= 0 || c.Partitions > ownref.PartitionsMax:
		return fmt.Errorf("partitions outside 1 to %d", ownref.PartitionsMax)
	case c.RecordsMax <= 0 || c.RecentMax <= 0 || c.DeliveryTimeout < time.Second:
		return errors.New("records max and recent max must be positive, and the delivery timeout at least 1 s")
	case c.Sealer == nil || c.Now == nil || c.Log == nil || c.Registry == nil:
		return errors.New("no sealer, clock, logger or metrics registry")
	}
	for name, p := range c.Processors {
		if name == "" || readers()[p.Dialect] == nil || p.Verifier == nil || p.PerSecond <= 0 {
			return fmt.Errorf("processor %q: it needs a name, a dialect that is known, a verifier and a rate", name)
		}
	}
	return nil
}
