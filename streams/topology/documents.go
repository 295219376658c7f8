package topology

import (
	"fmt"
	"sync"
	"time"

	"github.com/caudalpay/caudal/processors/accounts"
	"github.com/caudalpay/caudal/processors/compliance"
	"github.com/caudalpay/caudal/processors/fees"
	"github.com/caudalpay/caudal/processors/fraud"
	"github.com/caudalpay/caudal/processors/fx"
	"github.com/caudalpay/caudal/processors/policy"
	"github.com/caudalpay/caudal/schemas/codec"
	"github.com/caudalpay/caudal/schemas/topics"
	"github.com/caudalpay/caudal/streams/engine"
)

// lookupTimeout bounds the wait for the follower; it lies below the callback's own deadline.
const lookupTimeout = 3 * time.Second

// documents holds the reference documents that were used, parsed. A version never changes, so nothing is ever dropped or
// refreshed; there are as many as versions were published.
type documents struct {
	policies   cache[policy.Policy]
	fees       cache[fees.Schedule]
	rates      cache[fx.Sheet]
	rules      cache[fraud.RuleSet]
	blocklists cache[compliance.Blocklist]
}

func newDocuments() *documents {
	return &documents{
		policies:   newCache(topics.Policies, codec.DecodePolicy),
		fees:       newCache(topics.FeeSchedules, codec.DecodeFees),
		rates:      newCache(topics.FXRates, codec.DecodeRates),
		rules:      newCache(topics.Rules, codec.DecodeRules),
		blocklists: newCache(topics.Blocklists, codec.DecodeBlocklist),
	}
}

// resolve fills the snapshot's field for a key of a reference document.
func (d *documents) resolve(s *accounts.Snapshot, r record, k accounts.Key) (err error) {
	switch k.Kind {
	case accounts.KeyPolicy:
		s.Policy, err = d.policies.get(r, k.ID)
	case accounts.KeyFees:
		s.Fees, err = d.fees.get(r, k.ID)
	case accounts.KeyRates:
		s.Rates, err = d.rates.get(r, k.ID)
	case accounts.KeyRules:
		s.Rules, err = d.rules.get(r, k.ID)
	case accounts.KeyBlocklist:
		s.Blocklist, err = d.blocklists.get(r, k.ID)
	default:
		return fmt.Errorf("no document of key kind %d", k.Kind)
	}
	return err
}

// cache is one topic's documents.
type cache[T any] struct {
	topic  string
	decode func(ref string, b []byte) (*T, error)
	mu     *sync.RWMutex
	parsed map[string]*T
}

func newCache[T any](topic string, decode func(string, []byte) (*T, error)) cache[T] {
	return cache[T]{topic: topic, decode: decode, mu: new(sync.RWMutex), parsed: map[string]*T{}}
}

// get parses a version once. A pinned version that is not there, although the topic was read to its end, is an error of
// the command: it parks the account.
func (c *cache[T]) get(r record, ref string) (*T, error) {
	c.mu.RLock()
	doc := c.parsed[ref]
	c.mu.RUnlock()
	if doc != nil {
		return doc, nil
	}
	b, found, err := r.LookupWait(c.topic, ref, lookupTimeout)
	if err != nil {
		return nil, engine.Retry(err)
	}
	if !found {
		return nil, fmt.Errorf("pinned document %s is not on %s", ref, c.topic)
	}
	if doc, err = c.decode(ref, b); err != nil {
		return nil, fmt.Errorf("decoding %s of %s: %w", ref, c.topic, err)
	}
	c.mu.Lock()
	c.parsed[ref] = doc
	c.mu.Unlock()
	return doc, nil
}
