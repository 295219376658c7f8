package topology

import (
	"fmt"

	"github.com/lovoo/goka"
	"github.com/lovoo/goka/codec"

	"github.com/caudalpay/caudal/processors/payment"
	"github.com/caudalpay/caudal/schemas/topics"
	"github.com/caudalpay/caudal/streams/engine"
	"github.com/caudalpay/caudal/streams/gokagroup"
)

// The side kinds of the accounts group. They stand in the keys of accounts-side: changing one loses what stands under it.
const (
	PaymentKind = "payment" // ScopeKey; id: identity part of the payment id; value: PaymentRecord
	CommandKind = "command" // ScopeKey; id: command id; value: CommandRecord
	LegKind     = "leg"     // ScopeKey; id: identity part of the transfer id; value: LegRecord
	PartyKind   = "party"   // ScopeKey; id: digest of a counterparty; value: format version, 1 byte
	DueKind     = "due"     // ScopePartition; id: see dueID; value: format version, 1 byte
	TickKind    = "tick"    // ScopePartition; id: empty; value: the last minute, 8 bytes big endian
	ChainKind   = "chain"   // ScopePartition; id: empty; value: SHA-256 of the partition's last decision
)

// Graph is the accounts group. Its codecs hand over bytes: what cannot be decoded is the callback's to refuse.
func Graph(partitions int32) *gokagroup.Graph {
	s := newAccountsShell(partitions)
	decide := func(ctx goka.Context, message any) {
		value, _ := message.([]byte) // nil for a null record
		if err := s.handle(engineRecord{gokagroup.Engine(ctx)}, value); err != nil {
			gokagroup.Reject(ctx, err)
		}
	}
	bytes := new(codec.Bytes)
	edges := []gokagroup.Edge{gokagroup.Input(goka.Stream(accountsInput().topic), bytes, decide), goka.Persist(bytes)}
	for _, t := range names(accountsOutputs()) {
		edges = append(edges, goka.Output(goka.Stream(t), bytes))
	}
	for _, t := range names(accountsLookups()) {
		edges = append(edges, goka.Lookup(goka.Table(t), bytes))
	}
	return gokagroup.DefineGroup(topics.AccountsGroup, edges...)
}

// Accounts completes the configuration of the accounts group: the caller names brokers, partitions and the process.
func Accounts(c engine.Config) (engine.Config, engine.Callback) {
	c.Side, c.DeadLetters = topics.AccountsSide, topics.DeadLetters
	c.Hasher = topics.Hasher
	c.Attributable = attributable
	c, callback, err := gokagroup.Configure(Graph(c.Partitions), c, gokagroup.WithNilHandling(goka.NilProcess))
	if err != nil {
		panic(err) // the graph is always the same
	}
	return c, callback
}

// NewAccounts is the engine of the accounts group.
func NewAccounts(c engine.Config) (*engine.Engine, error) {
	e, err := engine.New(Accounts(c))
	if err != nil {
		return nil, fmt.Errorf("configuring the accounts group: %w", err)
	}
	return e, nil
}

// attributable tells the keys that can be parked: accounts, customers and cards. Anything else is a tick, or nobody's.
func attributable(key []byte) bool {
	k := string(key)
	_, err := payment.ParseAccountID(k)
	return err == nil || payment.IsCustomerKey(k) || payment.IsCardKey(k)
}
