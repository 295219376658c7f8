package chaos

import (
	"fmt"

	"github.com/caudalpay/caudal/processors/accounts"
	"github.com/caudalpay/caudal/schemas/codec"
	"github.com/caudalpay/caudal/schemas/reference"
	"github.com/caudalpay/caudal/schemas/topics"
)

// documents are the sample's, parsed. Nothing changes them.
type documents struct {
	snapshot map[accounts.Key]func(*accounts.Snapshot)
}

func newDocuments() (*documents, error) {
	list, err := reference.Sample()
	if err != nil {
		return nil, fmt.Errorf("reading reference data: %w", err)
	}
	d := &documents{snapshot: map[accounts.Key]func(*accounts.Snapshot){}}
	for _, doc := range list {
		b, err := doc.Encode()
		if err == nil {
			err = d.parse(doc.Topic, doc.Key(), b)
		}
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", doc.Key(), err)
		}
	}
	return d, nil
}

func (d *documents) parse(topic, ref string, b []byte) error {
	switch topic {
	case topics.Policies:
		v, err := codec.DecodePolicy(ref, b)
		d.snapshot[accounts.Key{Kind: accounts.KeyPolicy, ID: ref}] = func(s *accounts.Snapshot) { s.Policy = v }
		return err //nolint:wrapcheck // the caller names the document
	case topics.FeeSchedules:
		v, err := codec.DecodeFees(ref, b)
		d.snapshot[accounts.Key{Kind: accounts.KeyFees, ID: ref}] = func(s *accounts.Snapshot) { s.Fees = v }
		return err //nolint:wrapcheck // as above
	case topics.FXRates:
		v, err := codec.DecodeRates(ref, b)
		d.snapshot[accounts.Key{Kind: accounts.KeyRates, ID: ref}] = func(s *accounts.Snapshot) { s.Rates = v }
		return err //nolint:wrapcheck // as above
	case topics.Rules:
		v, err := codec.DecodeRules(ref, b)
		d.snapshot[accounts.Key{Kind: accounts.KeyRules, ID: ref}] = func(s *accounts.Snapshot) { s.Rules = v }
		return err //nolint:wrapcheck // as above
	default:
		v, err := codec.DecodeBlocklist(ref, b)
		d.snapshot[accounts.Key{Kind: accounts.KeyBlocklist, ID: ref}] = func(s *accounts.Snapshot) { s.Blocklist = v }
		return err //nolint:wrapcheck // as above
	}
}

func (d *documents) into(s *accounts.Snapshot, k accounts.Key) error {
	set := d.snapshot[k]
	if set == nil {
		return fmt.Errorf("no document %s of kind %d", k.ID, k.Kind)
	}
	set(s)
	return nil
}
