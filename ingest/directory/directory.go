// Package directory knows every account: it follows accounts.directory into memory, so that an ingress refuses early
// what the reducer would decline. It is never the authority: what it does not know yet may exist.
package directory

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	"github.com/caudalpay/caudal/ingest/follow"
	"github.com/caudalpay/caudal/ingest/http"
	"github.com/caudalpay/caudal/processors/payment"
	directoryv1 "github.com/caudalpay/caudal/schemas/directory/v1"
	"github.com/caudalpay/caudal/schemas/topics"
)

// entryVersion is the format of an AccountEntry this package reads.
const entryVersion = 1

// Config of a Directory.
type Config struct {
	Brokers []string
	Log     *slog.Logger
}

// Directory implements http.Accounts. Safe for concurrent use.
type Directory struct {
	log      *slog.Logger
	follower *follow.Follower
	refused  prometheus.Counter

	mu        sync.RWMutex
	accounts  map[digest]entry
	customers map[digest]digest // customer to account
	profiles  map[profile]*profile
	waiting   map[digest][]chan struct{}
}

var _ http.Accounts = (*Directory)(nil)

// New makes an empty directory; Run fills it.
func New(cfg Config, reg prometheus.Registerer) (*Directory, error) {
	d := &Directory{
		log: cfg.Log, accounts: make(map[digest]entry), customers: make(map[digest]digest),
		profiles: make(map[profile]*profile), waiting: make(map[digest][]chan struct{}),
	}
	var err error
	d.follower, err = follow.New(follow.Config{Brokers: cfg.Brokers, Topics: []string{topics.Directory}, Log: cfg.Log}, d.apply)
	if err != nil {
		return nil, err
	}
	auto := promauto.With(reg)
	d.refused = auto.NewCounter(prometheus.CounterOpts{
		Name: "caudal_ingest_directory_refused_total", Help: "Directory records that could not be read; their accounts are refused.",
	})
	auto.NewGaugeFunc(prometheus.GaugeOpts{Name: "caudal_ingest_directory_accounts", Help: "Accounts known."}, func() float64 {
		d.mu.RLock()
		defer d.mu.RUnlock()
		return float64(len(d.accounts))
	})
	return d, nil
}

// Run follows the directory until ctx ends.
func (d *Directory) Run(ctx context.Context) error { return d.follower.Run(ctx) }

// Ready is nil once every account that stood in the topic at the start is known.
func (d *Directory) Ready() error { return d.follower.Ready() }

// Account is what is known of an account.
func (d *Directory) Account(id payment.AccountID) (http.Account, bool) {
	key, ok := accountDigest(id)
	if !ok {
		return http.Account{}, false
	}
	d.mu.RLock()
	e, ok := d.accounts[key]
	d.mu.RUnlock()
	if !ok {
		return http.Account{}, false
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
	known := make(chan struct{})
	d.mu.Lock()
	if _, ok := d.accounts[key]; ok {
		d.mu.Unlock()
		return nil
	}
	d.waiting[key] = append(d.waiting[key], known)
	d.mu.Unlock()
	select {
	case <-known:
		return nil
	case <-ctx.Done():
		d.forget(key, known)
		return fmt.Errorf("waiting for account %s: %w", id, ctx.Err())
	}
}

// forget drops a waiter that left, so that accounts that never come hold no memory.
func (d *Directory) forget(key digest, known chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var rest []chan struct{}
	for _, other := range d.waiting[key] {
		if other != known {
			rest = append(rest, other)
		}
	}
	if d.waiting[key] = rest; rest == nil {
		delete(d.waiting, key)
	}
}

// apply takes one record in. One that cannot be read leaves its account as it was known, and says so.
func (d *Directory) apply(r *kgo.Record) {
	if err := d.take(r); err != nil {
		d.refused.Inc()
		d.log.Error("reading directory record", "account", string(r.Key), "partition", r.Partition, "offset", r.Offset, "error", err)
	}
}

func (d *Directory) take(r *kgo.Record) error {
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
	d.put(key, m)
	return nil
}

func (d *Directory) put(key digest, m *directoryv1.AccountEntry) {
	shared := profileOf(m)
	customer := customerDigest(m.GetTenant(), m.GetMerchant(), m.GetCustomer())
	d.mu.Lock()
	defer d.mu.Unlock()
	p, ok := d.profiles[shared]
	if !ok {
		p = &shared
		d.profiles[shared] = p
	}
	d.accounts[key] = entry{profile: p, customer: m.GetCustomer()}
	d.customers[customer] = key
	for _, known := range d.waiting[key] {
		close(known)
	}
	delete(d.waiting, key)
}

func (d *Directory) drop(key digest) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if e, ok := d.accounts[key]; ok {
		delete(d.customers, customerDigest(e.profile.tenant, e.profile.merchant, e.customer))
		delete(d.accounts, key)
	}
}
