package acquirer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// api is the house's, as far as an issuer's back office needs it.
type api struct {
	url, token string
	client     *http.Client
	keys       atomic.Int64
}

const enrolAtOnce = 32

func newAPI(url, token string) *api {
	return &api{url: strings.TrimSuffix(url, "/"), token: token, client: &http.Client{
		Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: enrolAtOnce},
	}}
}

// call repeats what the house has no time for. body nil: GET.
func (a *api) call(ctx context.Context, method, path, key string, body, into any) error {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return fmt.Errorf("encoding %s: %w", path, err)
		}
	}
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		err := a.try(ctx, method, path, key, text, into)
		if err == nil || !errors.Is(err, errBusy) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait):
		}
	}
}

// errBusy marks what may be tried again.
var errBusy = errors.New("the house is busy")

func (a *api) try(ctx context.Context, method, path, key string, body []byte, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, a.url+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("calling %s: %w", path, err)
	}
	req.Header.Set("Authorization", "Bearer "+a.token)
	if method != http.MethodGet {
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Idempotency-Key", key)
		req.Header.Set("Prefer", "wait=20")
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return fmt.Errorf("calling %s: %w", path, err)
	}
	defer func() { _ = resp.Body.Close() }() // read below
	text, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return fmt.Errorf("reading %s: %w", path, err)
	case resp.StatusCode == http.StatusServiceUnavailable || resp.StatusCode == http.StatusConflict || resp.StatusCode == http.StatusAccepted:
		return fmt.Errorf("calling %s: %w: %s", path, errBusy, resp.Status)
	case resp.StatusCode >= http.StatusBadRequest:
		return fmt.Errorf("calling %s: %s: %s", path, resp.Status, text)
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("decoding %s: %w", path, err)
	}
	return nil
}

// Enrol opens and funds the accounts, gives each a card, and connects.
func (a *Acquirer) Enrol(ctx context.Context) error {
	a.accounts = make([]*account, a.cfg.Accounts)
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(enrolAtOnce)
	for i := range a.accounts {
		group.Go(func() (err error) {
			a.accounts[i], err = a.enrol(inner, i)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("enrolling: %w", err)
	}
	for i := range a.cfg.Connections {
		l, err := a.connect(ctx, a.cfg.Connect[i%len(a.cfg.Connect)])
		if err != nil {
			return err
		}
		a.lines = append(a.lines, l)
	}
	return nil
}

func (a *Acquirer) enrol(ctx context.Context, n int) (*account, error) {
	name := fmt.Sprintf("card-%s-%d", a.cfg.Run, n)
	var opened struct {
		AccountID string `json:"account_id"`
	}
	err := a.api.call(ctx, http.MethodPost, "/accounts", name+"-open", map[string]any{
		"external_id": name, "customer_id": name, "kind": "person", "currencies": []string{a.cfg.Currency}, "kyc_level": 3, "policy": a.cfg.Policy,
	}, &opened)
	if err != nil {
		return nil, err
	}
	err = a.api.call(ctx, http.MethodPost, "/payins", name+"-fund", map[string]any{
		"account_id": opened.AccountID, "amount": a.cfg.FundMinor, "currency": a.cfg.Currency, "method": map[string]string{"type": "cash"}, "reference": "to pay with",
	}, &struct{}{})
	if err != nil {
		return nil, err
	}
	card := &account{id: opened.AccountID, number: cardNumber(a.cfg.Run, n)}
	err = a.api.call(ctx, http.MethodPost, "/cards", name+"-card", map[string]any{
		"account_id": opened.AccountID, "number": card.number, "expiry": "2049-12",
	}, &struct{}{})
	if err != nil {
		return nil, err
	}
	card.available, err = a.funded(ctx, opened.AccountID)
	return card, err
}

// funded waits until the store has the first money: what it charged for that is not this acquirer's to know.
func (a *Acquirer) funded(ctx context.Context, account string) (int64, error) {
	for until := time.Now().Add(20 * time.Second); ; {
		funds, err := a.balance(ctx, account)
		if err == nil && funds == 0 {
			err = errors.New("the account has no money")
		}
		if err == nil || time.Now().After(until) {
			return funds, err
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// balance is what the API says is available.
func (a *Acquirer) balance(ctx context.Context, account string) (int64, error) {
	var view struct {
		Balances []struct {
			Currency  string `json:"currency"`
			Available int64  `json:"available"`
		} `json:"balances"`
	}
	if err := a.api.call(ctx, http.MethodGet, "/accounts/"+account+"/balances", "", nil, &view); err != nil {
		return 0, err
	}
	for _, b := range view.Balances {
		if b.Currency == a.cfg.Currency {
			return b.Available, nil
		}
	}
	return 0, nil
}

// cardNumber is that of the run's n-th card: sixteen digits of which the last checks the others.
func cardNumber(run string, n int) string {
	const digits = 9
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", run, n))
	tail := new(big.Int).Mod(new(big.Int).SetBytes(sum[:]), big.NewInt(1_000_000_000))
	return withCheckDigit(fmt.Sprintf("400012%0*d", digits, tail))
}

func withCheckDigit(digits string) string {
	sum := 0
	for i := range len(digits) {
		n := int(digits[len(digits)-1-i] - '0')
		if i%2 == 0 {
			if n *= 2; n > 9 {
				n -= 9
			}
		}
		sum += n
	}
	return digits + string(rune('0'+(10-sum%10)%10))
}

// Agree compares what every account can pay with what the house's store says, waiting for the store for a while, and tells
// each that differs.
func (a *Acquirer) Agree(ctx context.Context, patience time.Duration) ([]string, error) {
	until := time.Now().Add(patience)
	found := make([]string, len(a.accounts))
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(enrolAtOnce)
	for i, account := range a.accounts {
		group.Go(func() error {
			for {
				funds, err := a.balance(inner, account.id)
				if err != nil {
					return err
				}
				if found[i] = ""; funds == account.available {
					return nil
				}
				found[i] = fmt.Sprintf("account %s: %d available, expected %d", account.id, funds, account.available)
				if time.Now().After(until) {
					return nil
				}
				time.Sleep(50 * time.Millisecond)
			}
		})
	}
	if err := group.Wait(); err != nil {
		return nil, fmt.Errorf("comparing balances: %w", err)
	}
	var differing []string
	for _, f := range found {
		if f != "" {
			differing = append(differing, f)
		}
	}
	return differing, nil
}

// MovedTo says where the API is now, after the house was started anew.
func (a *Acquirer) MovedTo(url string) { a.api.url = strings.TrimSuffix(url, "/") }
