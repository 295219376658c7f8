package directory

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	"github.com/caudalpay/caudal/ingest/door"
	"github.com/caudalpay/caudal/processors/payment"
	directoryv1 "github.com/caudalpay/caudal/schemas/directory/v1"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/schemas/topics"
)

// Cards implements door.Cards. Safe for concurrent use.
type Cards struct {
	followed[cardEntry]
	owners map[owner]*owner
}

var _ door.Cards = (*Cards)(nil)

// cardEntry is a card; its owner stands once for all his cards.
type cardEntry struct {
	owner    *owner
	account  digest
	issuedAt int64
	seq      uint64
	number   uint64 // first six and last four digits
	expiry   int32
	status   paymentsv1.CardStatus
}

type owner struct{ tenant, merchant string }

// NewCards makes an empty directory; Run fills it.
func NewCards(cfg Config, reg prometheus.Registerer) (*Cards, error) {
	c := &Cards{owners: make(map[owner]*owner)}
	return c, c.init(cfg, names{
		topic: topics.Cards, refused: "caudal_ingest_directory_cards_refused_total", known: "caudal_ingest_directory_cards", noun: "cards",
	}, c.record, reg)
}

// Card is what is known of a card.
func (c *Cards) Card(id payment.CardKey) (door.Card, bool) {
	key, ok := cardDigest(id)
	if !ok {
		return door.Card{}, false
	}
	e, ok := c.get(key)
	if !ok {
		return door.Card{}, false
	}
	return e.card(), true
}

// WaitCard returns when the card is known up to seq of its key, or with ctx's error.
func (c *Cards) WaitCard(ctx context.Context, id payment.CardKey, seq uint64) error {
	key, ok := cardDigest(id)
	if !ok {
		return unknown("card", string(id), payment.ErrID)
	}
	if err := c.wait(ctx, key, func(e cardEntry) bool { return e.seq >= seq }); err != nil {
		return unknown("card", string(id), err)
	}
	return nil
}

func (c *Cards) record(r *kgo.Record) error {
	key, ok := cardDigest(payment.CardKey(r.Key))
	if !ok {
		return payment.ErrID
	}
	if r.Value == nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.entries, key)
		return nil
	}
	m := &directoryv1.CardEntry{}
	switch err := proto.Unmarshal(r.Value, m); {
	case err != nil:
		return fmt.Errorf("decoding directory entry: %w", err)
	case m.GetVersion() != entryVersion:
		return fmt.Errorf("unknown version %d", m.GetVersion())
	}
	s := m.GetState()
	account, ok := accountDigest(payment.AccountID(s.GetAccount()))
	if !ok {
		return payment.ErrID
	}
	number, err := strconv.ParseUint(s.GetFirst6()+s.GetLast4(), 10, 64)
	if err != nil || len(s.GetFirst6()) != 6 || len(s.GetLast4()) != 4 {
		return errors.New("first six and last four are no digits") // what they are instead is not to be shown
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	shared := owner{m.GetTenant(), m.GetMerchant()}
	o, ok := c.owners[shared]
	if !ok {
		o = &shared
		c.owners[shared] = o
	}
	c.put(key, cardEntry{
		owner: o, account: account, issuedAt: s.GetIssuedAtUs(), seq: m.GetAccountSeq(), number: number, expiry: s.GetExpiry(), status: s.GetStatus(),
	})
	return nil
}

func (e cardEntry) card() door.Card {
	number := fmt.Sprintf("%010d", e.number)
	return door.Card{
		Tenant: e.owner.tenant, Merchant: e.owner.merchant, Account: e.account.account(), Status: e.status,
		First6: number[:6], Last4: number[6:], Expiry: e.expiry, IssuedAtUs: e.issuedAt, Seq: e.seq,
	}
}
