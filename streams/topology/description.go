package topology

import (
	"slices"

	"google.golang.org/protobuf/proto"

	directoryv1 "github.com/caudalpay/caudal/schemas/directory/v1"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	railsv1 "github.com/caudalpay/caudal/schemas/rails/v1"
	referencev1 "github.com/caudalpay/caudal/schemas/reference/v1"
	"github.com/caudalpay/caudal/schemas/topics"
	"github.com/caudalpay/caudal/streams/engine"
)

// Role is what a topic is to a group.
type Role string

// The roles.
const (
	RoleInput       Role = "input"
	RoleLoop        Role = "loop" // an output that is the group's own input
	RoleOutput      Role = "output"
	RoleLookup      Role = "lookup"
	RoleTable       Role = "table" // the group table: one cell a key
	RoleSide        Role = "side"  // the side records
	RoleDeadLetters Role = "dead letters"
)

// Edge is a topic that a group reads or writes.
type Edge struct {
	Role       Role   `json:"role"`
	Topic      string `json:"topic"`
	Key        string `json:"key"`
	Schema     string `json:"schema"` // the protobuf message of the value, or what it is instead
	Partitions int32  `json:"partitions"`
	Keeps      string `json:"keeps"`
}

// Record is a kind of side record.
type Record struct {
	Kind  string `json:"kind"`
	Scope string `json:"scope"`
	ID    string `json:"id"`
	Value string `json:"value"` // the protobuf message, or what it is instead
	Owner string `json:"owner"` // the group, or the engine
}

// Description of a group, for people: made from what the group is configured by. Tests hold it to what the group does.
type Description struct {
	Group      string   `json:"group"`
	Partitions int32    `json:"partitions"`
	Hash       string   `json:"hash"`
	Edges      []Edge   `json:"edges"`
	Records    []Record `json:"side_records"`
}

// edge is a topic that the callback of a group reads or writes, with the message its values are.
type edge struct {
	topic, key string
	message    proto.Message
}

func schema(m proto.Message) string { return string(m.ProtoReflect().Descriptor().FullName()) }

const (
	byAccount   = "account"
	byAnyKey    = "account, customer or card"
	byVersion   = "id@version"
	byPartition = "explicit partition"
)

// The edges of the accounts group. Its configuration is made from these.
func accountsInput() edge {
	return edge{topics.Commands, byAnyKey + "; ticks: explicit partition", &paymentsv1.Command{}}
}

func accountsOutputs() []edge {
	return []edge{
		{topics.Decisions, byAccount + "; the partition of its command", &paymentsv1.Decision{}},
		{topics.Commands, "account or customer", &paymentsv1.Command{}},
		{topics.Replies, byPartition, &paymentsv1.Reply{}},
		{topics.Directory, byAccount, &directoryv1.AccountEntry{}},
		{topics.Cards, "card", &directoryv1.CardEntry{}},
		{topics.RailsOrders, byAccount, &railsv1.Order{}},
	}
}

func accountsLookups() []edge {
	return []edge{
		{topics.Policies, byVersion, &referencev1.Policy{}},
		{topics.FeeSchedules, byVersion, &referencev1.FeeSchedule{}},
		{topics.FXRates, byVersion, &referencev1.RateSheet{}},
		{topics.Rules, byVersion, &referencev1.RuleSet{}},
		{topics.Blocklists, byVersion, &referencev1.Blocklist{}},
	}
}

func accountsCell() edge {
	return edge{topics.AccountsTable, byAnyKey, &paymentsv1.AccountCell{}}
}

func names(edges []edge) (topics []string) {
	for _, e := range edges {
		topics = append(topics, e.topic)
	}
	return topics
}

// The scopes, in words.
const (
	scopeKey       = "key"
	scopePartition = "partition"
)

const marker = "format version, 1 byte"

// accountsRecords are the side records of the accounts group.
func accountsRecords() []Record {
	records := []Record{
		{Kind: PaymentKind, Scope: scopeKey, ID: "identity part of the payment id", Value: schema(&paymentsv1.PaymentRecord{})},
		{Kind: CommandKind, Scope: scopeKey, ID: "command id", Value: schema(&paymentsv1.CommandRecord{})},
		{Kind: LegKind, Scope: scopeKey, ID: "identity part of the transfer id", Value: schema(&paymentsv1.LegRecord{})},
		{Kind: PartyKind, Scope: scopeKey, ID: "digest of a counterparty", Value: marker},
		{Kind: DueKind, Scope: scopePartition, ID: "due_at_us (8 bytes big endian), account, payment id, purpose (1 byte)", Value: marker},
		{Kind: TickKind, Scope: scopePartition, ID: "empty", Value: "the last minute, 8 bytes big endian"},
		{Kind: ChainKind, Scope: scopePartition, ID: "empty", Value: "SHA-256 of the last decision"},
	}
	for i := range records {
		records[i].Owner = topics.AccountsGroup
	}
	return append(records, engineRecords()...)
}

// engineRecords are those that the engine keeps in any group.
func engineRecords() []Record {
	const control = "offset of the control record, 8 bytes big endian"
	records := []Record{
		{Kind: engine.ParkedKind, Scope: scopeKey, ID: "offset, 8 bytes big endian", Value: "a record that waits, with its headers and the reason"},
		{Kind: engine.AppliedKind, Scope: scopePartition, ID: "input topic", Value: "next offset, 8 bytes big endian"},
		{Kind: engine.GraphKind, Scope: scopePartition, ID: "empty", Value: "state version, 1 byte; the edges of the group that wrote the state, one a line"},
		{Kind: engine.WaitingKind, Scope: scopePartition, ID: control, Value: "what an operator asked for and is not done, JSON"},
		{Kind: engine.HandledKind, Scope: scopePartition, ID: control, Value: "the same, done"},
	}
	for i := range records {
		records[i].Owner = "engine"
	}
	return records
}

// hashName is how people know topics.Partition.
const hashName = "murmur2, Kafka's default"

// catalogued is a topic's row of the catalogue.
func catalogued(name string) topics.Topic {
	all := topics.Catalogue()
	return all[slices.IndexFunc(all, func(t topics.Topic) bool { return t.Name == name })] // a group names nothing else: a test
}

// keeps says in words how long records stay.
func keeps(c topics.Cleanup) string {
	switch c {
	case topics.Unlimited:
		return "all, for ever"
	case topics.Long:
		return "all, for years"
	case topics.Minutes:
		return "all, for minutes"
	case topics.Compact:
		return "the last of each key"
	}
	return "unknown"
}

// DescribeAccounts describes the accounts group of an installation with so many partitions.
func DescribeAccounts(partitions int32) Description {
	cfg, _ := Accounts(engine.Config{Partitions: partitions})
	d := Description{Group: cfg.Group, Partitions: partitions, Hash: hashName, Records: accountsRecords()}
	add := func(role Role, e edge, value string) {
		if e.message != nil {
			value = schema(e.message)
		}
		t := catalogued(e.topic)
		n := int32(1)
		if t.Partitioned {
			n = partitions
		}
		d.Edges = append(d.Edges, Edge{Role: role, Topic: e.topic, Key: e.key, Schema: value, Partitions: n, Keeps: keeps(t.Cleanup)})
	}
	add(RoleInput, accountsInput(), "")
	for _, e := range accountsLookups() {
		add(RoleLookup, e, "")
	}
	add(RoleTable, accountsCell(), "")
	add(RoleSide, edge{topic: cfg.Side, key: "scope, key, kind, id"}, "by kind")
	for _, e := range accountsOutputs() {
		role := RoleOutput
		if e.topic == cfg.Input {
			role = RoleLoop
		}
		add(role, e, "")
	}
	add(RoleDeadLetters, edge{topic: cfg.DeadLetters, key: "as the record's"}, "the record as it was, with headers that say why and from where")
	return d
}
