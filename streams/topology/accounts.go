package topology

import (
	"fmt"

	"github.com/lovoo/goka"
	"github.com/lovoo/goka/codec"

	"github.com/caudalpay/caudal/processors/payment"
	"github.com/caudalpay/caudal/schemas/topics"
	"github.com/caudalpay/caudal/streams/engine"
)

// The side kinds of the accounts group. They stand in the keys of accounts-side: changing one loses what stands under it.
const (
	PaymentKind = "payment" // ScopeKey; id: identity part of the payment id; value: PaymentRecord
	CommandKind = "command" // ScopeKey; id: command id; value: CommandRecord
	LegKind     = "leg"     // ScopeKey; id: identity part of the transfer id; value: format version, 1 byte
	PartyKind   = "party"   // ScopeKey; id: digest of a counterparty; value: format version, 1 byte
	DueKind     = "due"     // ScopePartition; id: see dueID; value: format version, 1 byte
	TickKind    = "tick"    // ScopePartition; id: empty; value: the last minute, 8 bytes big endian
	ChainKind   = "chain"   // ScopePartition; id: empty; value: SHA-256 of the partition's last decision
)

// Accounts completes the configuration of the accounts group: the caller names brokers, partitions and the process.
func Accounts(c engine.Config) (engine.Config, engine.Callback) {
	c.Group, c.Input = topics.AccountsGroup, accountsInput().topic
	c.Outputs, c.Lookups = names(accountsOutputs()), names(accountsLookups())
	c.Table, c.Side, c.DeadLetters = accountsCell().topic, topics.AccountsSide, topics.DeadLetters
	c.Hasher = topics.Hasher
	c.Attributable = attributable
	s := newAccountsShell(c.Partitions)
	return c, func(ctx *engine.Context, value []byte) error { return s.handle(engineRecord{ctx}, value) }
}

// NewAccounts is the engine of the accounts group.
func NewAccounts(c engine.Config) (*engine.Engine, error) {
	e, err := engine.New(Accounts(c))
	if err != nil {
		return nil, fmt.Errorf("configuring the accounts group: %w", err)
	}
	return e, nil
}

// attributable tells the keys that can be parked: accounts and customers. Anything else is a tick, or nobody's.
func attributable(key []byte) bool {
	k := string(key)
	_, err := payment.ParseAccountID(k)
	return err == nil || payment.IsCustomerKey(k)
}

// Graph is a group as Goka sees it, for the documentation.
func Graph(c engine.Config) *goka.GroupGraph {
	bytes := new(codec.Bytes)
	edges := []goka.Edge{goka.Input(goka.Stream(c.Input), bytes, func(goka.Context, any) {}), goka.Persist(bytes)}
	for _, t := range c.Outputs {
		edges = append(edges, goka.Output(goka.Stream(t), bytes))
	}
	for _, t := range c.Lookups {
		edges = append(edges, goka.Lookup(goka.Table(t), bytes))
	}
	return goka.DefineGroup(goka.Group(c.Group), edges...)
}
