// Package directory knows every account and every card: it follows accounts.directory and cards.directory into memory, so
// that an ingress refuses early what the reducer would decline. It is never the authority: what it does not know yet may exist.
package directory

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	"github.com/caudalpay/caudal/ingest/door"
	"github.com/caudalpay/caudal/processors/payment"
	directoryv1 "github.com/caudalpay/caudal/schemas/directory/v1"
	"github.com/caudalpay/caudal/schemas/topics"
)

// entryVersion is the format of the entries this package reads.
const entryVersion = 1

// Directory implements door.Accounts. Safe for concurrent use.
type Directory struct {
	followed[entry]
	customers map[digest]digest // customer to account
	profiles  map[profile]*profile
}

var _ door.Accounts = (*Directory)(nil)

// New makes an empty directory; Run fills it.
func New(cfg Config, reg prometheus.Registerer) (*Directory, error) {
	d := &Directory{customers: make(map[digest]digest), profiles: make(map[profile]*profile)}
	return d, d.init(cfg, names{
		topic: topics.Directory, refused: "caudal_ingest_directory_refused_total", known: "caudal_ingest_directory_accounts", noun: "accounts",
	}, d.record, reg)
}

// Account is what is known of an account.
func (d *Directory) Account(id payment.AccountID) (door.Account, bool) {
	key, ok := accountDigest(id)
	if !ok {
		return door.Account{}, false
	}
	e, ok := d.get(key)
	if !ok {
		return door.Account{}, false
	}
	return e.account(), true
}

// CustomerAccount is the one account of a merchant's customer.
func (d *Directory) CustomerAccount(tenant, merchant, customer string) (payment.AccountID, bool) {
	key := customerDigest(tenant, merchant, customer)
	d.mu.RLock()
	account, ok := d.customers[key]
	d.mu.RUnlock()
	if !ok {
		return "", false
	}
	return account.account(), true
}

// WaitAccount returns when the account is known, or with ctx's error.
func (d *Directory) WaitAccount(ctx context.Context, id payment.AccountID) error {
	key, ok := accountDigest(id)
	if !ok {
		return fmt.Errorf("waiting for account %q: %w", id, payment.ErrID)
	}
	if err := d.wait(ctx, key, func(entry) bool { return true }); err != nil {
		return unknown("account", string(id), err)
	}
	return nil
}

func (d *Directory) record(r *kgo.Record) error {
	key, ok := accountDigest(payment.AccountID(r.Key))
	if !ok {
		return payment.ErrID
	}
	if r.Value == nil {
		d.drop(key)
		return nil
	}
	m := &directoryv1.AccountEntry{}
	switch err := proto.Unmarshal(r.Value, m); {
	case err != nil:
		return fmt.Errorf("decoding directory entry: %w", err)
	case m.GetVersion() != entryVersion:
		return fmt.Errorf("unknown version %d", m.GetVersion())
	case len(m.GetCustomer()) > math.MaxUint8 || len(m.GetState().GetCurrencies()) == 0:
		return errors.New("customer too long or no currency")
	}
	d.admit(key, m)
	return nil
}

func (d *Directory) admit(key digest, m *directoryv1.AccountEntry) {
	shared := profileOf(m)
	customer := customerDigest(m.GetTenant(), m.GetMerchant(), m.GetCustomer())
	d.mu.Lock()
	defer d.mu.Unlock()
	p, ok := d.profiles[shared]
	if !ok {
		p = &shared
		d.profiles[shared] = p
	}
	d.put(key, entry{profile: p, customer: m.GetCustomer()})
	d.customers[customer] = key
}

func (d *Directory) drop(key digest) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if e, ok := d.entries[key]; ok {
		delete(d.customers, customerDigest(e.profile.tenant, e.profile.merchant, e.customer))
		delete(d.entries, key)
	}
}
