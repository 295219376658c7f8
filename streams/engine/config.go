package engine

import (
	"errors"
	"fmt"
	"hash"
	"log/slog"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Config describes one group. Durations and counts that are zero get the defaults named beside them.
type Config struct {
	Brokers []string
	Group   string // the Kafka consumer group
	Input   string
	// MoreInputs are read beside Input, and partitioned like it: a partition of all of them is with one member. Records of one
	// topic come in their order, those of different topics in any. Operators' words and visits go through Input.
	MoreInputs []string
	Outputs    []string // topics that callbacks may emit to; inputs may be among them

	Table       string // the group table, named as Goka names it: Group + "-table"
	Side        string // changelog of the side records, compacted
	DeadLetters string
	Lookups     []string // compacted topics, followed read_committed and held in memory once per process

	Joins []string // compacted topics, partitioned like Input: a record can read its key's row in them

	// Partitions is the count that Input, Joins, Outputs, Table, Side and DeadLetters must have.
	Partitions int32

	// TransactionalID and InstanceID must be the same at every start of the process, since they fence and replace the
	// predecessor, and different for every member of the group.
	TransactionalID string
	InstanceID      string
	// Sessions is how many members of the group this process is: each has transactions of its own, so that while one
	// commits, waits for a broker, or fails and begins anew, the others work. The first has the names above, the others append
	// .1, .2 and so on.
	Sessions int // 1

	// Hasher must agree with Kafka's default partitioner (murmur2, top bit masked), which is used for producing.
	Hasher func() hash.Hash32

	// CommitInterval is a ceiling: when no more input waits, the transaction commits at once, or after a gap of a
	// few times what commits take of late.
	CommitInterval time.Duration // 50 ms
	// RecordsMax bounds a transaction. It must be far below what TransactionTimeout allows: a machine that is starved would
	// fail the same large transaction at every attempt.
	RecordsMax int // 2,000 input records
	// BytesMax bounds a transaction too: when what it read and produced has come to this, no more is read. What was read at
	// once by then is at most as much again, and what callbacks make of it.
	BytesMax           int           // 16 MiB
	TransactionTimeout time.Duration // 2 s; must be below SessionTimeout
	SessionTimeout     time.Duration // 6 s
	// HeartbeatInterval is how soon a member learns of a rebalance, so how long one takes. With BrokerAssigns the broker sets
	// it, and the session timeout too.
	HeartbeatInterval time.Duration // 50 ms, at most a tenth of SessionTimeout
	CallbackTimeout   time.Duration // 5 s; a callback that runs longer ends the process

	// Attributable tells whether a key names something that can be parked. Records of other keys (ticks) that fail become
	// dead letters. An attributable key is only accepted on the partition it hashes to: elsewhere it would grow a second state.
	Attributable func(key []byte) bool

	// Visitors are what Engine.Visit can call, by name; every member has the same. They keep the keys of the group table in
	// order in memory.
	Visitors map[string]Callback

	// Dir is a folder for the state on disk, of this process alone; empty: all state is in memory. Cells stay in memory as well,
	// side records do not. The changelogs stay the truth: what is in the folder shortens restores, and may be removed while no
	// process uses it.
	Dir string
	// CacheBytes bounds the memory that the state on disk takes for what was read and what is to be written, all partitions
	// together.
	CacheBytes int64 // 256 MiB

	// Standby keeps the state of the partitions that other members work on up to date here too (Goka calls that hot standby):
	// one that arrives, because its member died or left, then has only the last of its changelogs to be read. Each member takes
	// the memory or disk, and reads the changelogs, of all partitions.
	Standby bool

	// BrokerAssigns leaves the assignment of partitions to the broker (KIP-848, Apache Kafka 4.3 or later); all members of a
	// group must agree on it. A rebalance then takes as long as the broker's group.consumer.heartbeat.interval.ms, 5 s unless
	// set. Without it, and where the broker cannot, the members assign, cooperative-sticky.
	BrokerAssigns bool
	// AcceptGraph takes over state that was written by a group with other edges; set it for one start.
	AcceptGraph bool

	Logger     *slog.Logger          // slog.Default()
	Registerer prometheus.Registerer // none: metrics are kept but not registered
	Options    []kgo.Opt             // appended to every client's options: TLS, SASL, dialer
}

// withDefaults fills what may be left out.
func (c Config) withDefaults() Config {
	duration := func(d *time.Duration, fallback time.Duration) {
		if *d == 0 {
			*d = fallback
		}
	}
	duration(&c.CommitInterval, 50*time.Millisecond)
	duration(&c.TransactionTimeout, 2*time.Second)
	duration(&c.SessionTimeout, 6*time.Second)
	duration(&c.CallbackTimeout, 5*time.Second)
	duration(&c.HeartbeatInterval, min(50*time.Millisecond, c.SessionTimeout/10))
	if c.RecordsMax == 0 {
		c.RecordsMax = 2_000
	}
	if c.BytesMax == 0 {
		c.BytesMax = 16 << 20
	}
	if c.Sessions == 0 {
		c.Sessions = 1
	}
	if c.CacheBytes == 0 {
		c.CacheBytes = 256 << 20
	}
	if c.Attributable == nil {
		c.Attributable = func([]byte) bool { return false }
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// inputs are all topics that are read; a topic's place in the list is its number.
func (c *Config) inputs() []string { return append([]string{c.Input}, c.MoreInputs...) }

// Validate says what is missing or contradictory; it asks no broker.
func (c Config) Validate() error {
	var errs []error
	for name, value := range map[string]string{
		"Group": c.Group, "Input": c.Input, "Table": c.Table, "Side": c.Side, "DeadLetters": c.DeadLetters,
		"TransactionalID": c.TransactionalID, "InstanceID": c.InstanceID,
	} {
		if value == "" {
			errs = append(errs, fmt.Errorf("%s is empty", name))
		}
	}
	if len(c.Brokers) == 0 {
		errs = append(errs, errors.New("no Brokers"))
	}
	if c.Hasher == nil {
		errs = append(errs, errors.New("no Hasher"))
	}
	if c.Partitions < 1 {
		errs = append(errs, fmt.Errorf("Partitions is %d", c.Partitions))
	}
	if c.Table != c.Group+"-table" {
		errs = append(errs, fmt.Errorf("topic %q is named as Table, but the table of the group is named %q", c.Table, c.Group+"-table"))
	}
	if inputs := c.inputs(); len(slices.Compact(slices.Sorted(slices.Values(inputs)))) < len(inputs) || slices.Contains(c.MoreInputs, "") {
		errs = append(errs, fmt.Errorf("MoreInputs %q beside Input %q: name each topic once", c.MoreInputs, c.Input))
	}
	for _, own := range []string{c.Table, c.Side, c.DeadLetters} {
		if slices.Contains(c.inputs(), own) || slices.Contains(slices.Concat(c.Outputs, c.Lookups, c.Joins), own) {
			errs = append(errs, fmt.Errorf("topic %q belongs to the engine and cannot be input, output, lookup or join", own))
		}
	}
	if c.Table == c.Side || c.Table == c.DeadLetters || c.Side == c.DeadLetters {
		errs = append(errs, fmt.Errorf("table %q, side %q and dead letters %q must be three topics", c.Table, c.Side, c.DeadLetters))
	}
	if c.Sessions < 1 || c.Sessions > int(max(1, c.Partitions)) {
		errs = append(errs, fmt.Errorf("%d Sessions: choose 1 to %d, one per partition", c.Sessions, c.Partitions))
	}
	if c.CacheBytes < 0 {
		errs = append(errs, fmt.Errorf("CacheBytes is %d", c.CacheBytes))
	}
	if c.RecordsMax < 1 {
		errs = append(errs, fmt.Errorf("RecordsMax is %d", c.RecordsMax))
	}
	if c.BytesMax < 1 {
		errs = append(errs, fmt.Errorf("BytesMax is %d", c.BytesMax))
	}
	for name, d := range map[string]time.Duration{
		"CommitInterval": c.CommitInterval, "TransactionTimeout": c.TransactionTimeout, "CallbackTimeout": c.CallbackTimeout,
		"HeartbeatInterval": c.HeartbeatInterval,
	} {
		if d <= 0 {
			errs = append(errs, fmt.Errorf("%s is %v", name, d))
		}
	}
	if c.TransactionTimeout >= c.SessionTimeout {
		errs = append(errs, fmt.Errorf("TransactionTimeout %v is not below SessionTimeout %v", c.TransactionTimeout, c.SessionTimeout))
	}
	if c.HeartbeatInterval > c.SessionTimeout/3 {
		errs = append(errs, fmt.Errorf("HeartbeatInterval %v is more than a third of SessionTimeout %v", c.HeartbeatInterval, c.SessionTimeout))
	}
	if len(errs) > 0 {
		return fmt.Errorf("validating engine config: %w", errors.Join(errs...))
	}
	return nil
}
