package reference

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/schemas/reference"
	referencev1 "github.com/caudalpay/caudal/schemas/reference/v1"
	"github.com/caudalpay/caudal/schemas/topics"
)

// place is a key of a topic: a document's key@version, or the id whose newest version is meant.
type place struct{ topic, key string }

// library is what is published, and the newest version of each id.
type library struct {
	documents map[place]reference.Message
	newest    map[place]uint32
}

func newLibrary() *library {
	return &library{documents: make(map[place]reference.Message), newest: make(map[place]uint32)}
}

// take adds a record. Nothing is ever taken back: a tombstone is refused like anything else that is no document.
func (l *library) take(r *kgo.Record) error {
	d, err := reference.Decode(r.Topic, string(r.Key), r.Value)
	if err != nil {
		return fmt.Errorf("reading reference data at offset %d: %w", r.Offset, err)
	}
	l.put(d)
	return nil
}

// put keeps the first of two documents of one key: that is the one commands were decided with.
func (l *library) put(d reference.Document) {
	at := place{d.Topic, d.Key()}
	if _, ok := l.documents[at]; ok {
		return
	}
	l.documents[at] = d.Message
	id := place{d.Topic, d.Message.GetId()}
	l.newest[id] = max(l.newest[id], d.Message.GetVersion())
}

func (l *library) policy(id string) (*referencev1.Policy, bool) {
	version, ok := l.newest[place{topics.Policies, id}]
	if !ok {
		return nil, false
	}
	p, ok := l.documents[place{topics.Policies, reference.Key(id, version)}].(*referencev1.Policy)
	return p, ok
}

// pins names the newest versions of what a policy refers to; an id that is nowhere is an error, not an empty pin: an
// empty pin would switch the stage off.
func (l *library) pins(p *referencev1.Policy) (*paymentsv1.Pins, error) {
	pins := &paymentsv1.Pins{Policy: reference.Key(p.GetId(), p.GetVersion())}
	for _, want := range []struct {
		topic, id string
		to        *string
	}{
		{topics.FeeSchedules, p.GetFeesId(), &pins.Fees},
		{topics.FXRates, p.GetRatesId(), &pins.Rates},
		{topics.Rules, p.GetRulesId(), &pins.Rules},
		{topics.Blocklists, p.GetBlocklistId(), &pins.Blocklist},
	} {
		if want.id == "" {
			continue
		}
		version, ok := l.newest[place{want.topic, want.id}]
		if !ok {
			return nil, fmt.Errorf("policy %s names %q, of which %s has no version", pins.GetPolicy(), want.id, want.topic)
		}
		*want.to = reference.Key(want.id, version)
	}
	return pins, nil
}

// dangling tells what a policy names that is nowhere.
func (l *library) dangling(d reference.Document) []error {
	p, ok := d.Message.(*referencev1.Policy)
	if !ok {
		return nil
	}
	if _, err := l.pins(p); err != nil {
		return []error{err}
	}
	return nil
}
