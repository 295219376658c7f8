package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/caudalpay/caudal/cmd/caudal/client"
)

// workload is the mix of targets.md by seed: uniform over the accounts; transfers between accounts 10 %, cross-currency
// 10 %, refunds 5 %, invalid 1 %, the rest pay-ins and payouts.
type workload struct {
	accounts []string
	serial   atomic.Int64 // of idempotency keys
	run      string       // makes the keys of this run its own
}

const (
	invalidPerMille  = 10
	refundPerMille   = 50
	crossPerMille    = 100
	transferPerMille = 100
)

// open makes the accounts and gives each enough money to pay from. It returns how many commands that took.
func (w *workload) open(ctx context.Context, s *system, n int) (int64, error) {
	api := client.New(s.url, s.token, 128)
	defer api.Close()
	w.accounts = make([]string, n)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(128)
	for i := range n {
		g.Go(func() error {
			answer, err := api.Do(gctx, client.Request{Method: http.MethodPost, Path: "/accounts", Key: fmt.Sprintf("bench-open-%d", i), Body: map[string]any{
				"external_id": fmt.Sprintf("bench-%d", i), "customer_id": fmt.Sprintf("bench-%d", i), "kind": "merchant",
				"currencies": []string{"BRL", "USD"}, "kyc_level": 3, "policy": "merchant",
			}})
			if err != nil {
				return err
			}
			var opened struct {
				AccountID string `json:"account_id"`
			}
			if err := json.Unmarshal(answer.Body, &opened); err != nil || opened.AccountID == "" {
				return fmt.Errorf("opening account %d: %d %.200s", i, answer.Status, answer.Body)
			}
			w.accounts[i] = opened.AccountID
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return 0, err
	}
	for from := 0; from < n; from += 1000 {
		items := make([]any, 0, 1000)
		for i := from; i < min(n, from+1000); i++ {
			items = append(items, map[string]any{
				"kind": "payin", "idempotency_key": fmt.Sprintf("bench-fund-%d", i), "account_id": w.accounts[i],
				"amount": 10_000_000, "currency": "BRL", "method": map[string]string{"type": "book"}, "reference": "funding",
			})
		}
		if _, err := api.Batch(ctx, items, "respond-async"); err != nil {
			return 0, fmt.Errorf("funding accounts: %w", err)
		}
	}
	return int64(2 * n), nil
}

// caller builds requests for one connection. It remembers its last pay-ins for refunds; not for concurrent use.
type caller struct {
	w      *workload
	rng    *rand.Rand
	payins []string // ids of pay-ins that were accepted
}

func (w *workload) caller(seed uint64) *caller {
	return &caller{w: w, rng: rand.New(rand.NewPCG(seed, 7))} //nolint:gosec // a load, no secrets
}

// item appends one batch item. Bodies are built by hand: the load generator shares the machine with what it measures.
func (c *caller) item(b []byte) []byte {
	key := strconv.AppendInt(append([]byte(c.w.run), '-'), c.w.serial.Add(1), 10)
	roll := c.rng.IntN(1000)
	account := c.w.accounts[c.rng.IntN(len(c.w.accounts))]
	amount := 100 + c.rng.Int64N(20_000)
	kind := "payin"
	if c.rng.IntN(2) == 0 {
		kind = "payout"
	}
	refund := roll < invalidPerMille+refundPerMille && roll >= invalidPerMille && len(c.payins) > 0
	if refund {
		b = append(append(append(b, `{"kind":"refund","idempotency_key":"`...), key...), `","payment_id":"`...)
		b = append(b, c.payins[len(c.payins)-1]...)
		c.payins = c.payins[:len(c.payins)-1]
		return append(b, `","reason":"returned"}`...)
	}
	transfer := roll >= 1000-transferPerMille
	if transfer {
		kind = "transfer"
	}
	b = append(append(append(b, `{"kind":"`...), kind...), `","idempotency_key":"`...)
	b = append(append(append(b, key...), `","account_id":"`...), account...)
	b = append(b, `","amount":`...)
	if roll < invalidPerMille {
		amount = -amount
	}
	b = append(strconv.AppendInt(b, amount, 10), `,"currency":"BRL","reference":"order `...)
	b = append(append(b, key...), '"')
	if transfer {
		b = append(append(append(b, `,"to_account_id":"`...), c.w.accounts[c.rng.IntN(len(c.w.accounts))]...), '"')
	} else {
		b = append(b, `,"method":{"type":"book"}`...)
		if roll >= 1000-transferPerMille-crossPerMille {
			b = append(b, `,"target_currency":"USD"`...)
		}
	}
	return append(b, '}')
}

// batch builds a JSON array of n items into b.
func (c *caller) batch(b []byte, n int) []byte {
	b = append(b[:0], '[')
	for i := range n {
		if i > 0 {
			b = append(b, ',')
		}
		b = c.item(b)
	}
	return append(b, ']')
}

// single builds the body of POST /payins and its key.
func (c *caller) single(b []byte) (body []byte, key string) {
	key = c.w.run + "-" + strconv.FormatInt(c.w.serial.Add(1), 10)
	b = append(append(b[:0], `{"account_id":"`...), c.w.accounts[c.rng.IntN(len(c.w.accounts))]...)
	b = append(b, `","amount":`...)
	b = strconv.AppendInt(b, 100+c.rng.Int64N(20_000), 10)
	b = append(b, `,"currency":"BRL","method":{"type":"book"},"reference":"order `...)
	return append(append(b, key...), `"}`...), key
}
