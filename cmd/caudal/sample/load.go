package sample

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/caudalpay/caudal/cmd/caudal/client"
)

// Loaded says what the front door answered.
type Loaded struct {
	Accepted int64 // acknowledged commands
	Refused  map[string]int64
}

// lanes is how many callers send at once. An account belongs to one lane, so its requests keep their order.
const lanes = 8

// batchSize is the number of items of a batch call.
const batchSize = 200

// Load sends the day. advance is called with the number of requests answered.
func Load(ctx context.Context, api *client.Client, day *Day, advance func(n int)) (Loaded, error) {
	l := &loader{api: api, day: day, advance: advance, ids: make([]string, len(day.Accounts)), payments: map[string]string{}, refused: map[string]int64{}}
	if err := l.open(ctx); err != nil {
		return Loaded{}, err
	}
	for i, phase := range day.Phases {
		if err := l.phase(ctx, phase); err != nil {
			return Loaded{}, fmt.Errorf("loading phase %d of the sample day: %w", i+1, err)
		}
	}
	if err := l.verdicts(ctx); err != nil {
		return Loaded{}, err
	}
	return Loaded{Accepted: l.accepted.Load(), Refused: l.refused}, nil
}

type loader struct {
	api      *client.Client
	day      *Day
	advance  func(int)
	ids      []string // account ids by index
	accepted atomic.Int64

	mu       sync.Mutex
	payments map[string]string // idempotency key to payment id
	refused  map[string]int64  // problem code to count
}

type openBody struct {
	ExternalID string   `json:"external_id"`
	CustomerID string   `json:"customer_id"`
	Kind       string   `json:"kind"`
	Currencies []string `json:"currencies"`
	KYCLevel   int      `json:"kyc_level"`
	Policy     string   `json:"policy"`
}

func (l *loader) open(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8 * lanes)
	for i, a := range l.day.Accounts {
		g.Go(func() error {
			answer, err := l.api.Do(ctx, client.Request{
				Method: http.MethodPost, Path: "/accounts", Key: "open-" + a.ExternalID,
				Body: openBody{a.ExternalID, a.CustomerID, a.Kind, a.Currencies, a.KYCLevel, a.Policy},
			})
			if err != nil {
				return fmt.Errorf("opening account %s: %w", a.ExternalID, err)
			}
			var opened struct {
				AccountID string `json:"account_id"`
			}
			if err := json.Unmarshal(answer.Body, &opened); err != nil || answer.Status >= 300 || opened.AccountID == "" {
				return fmt.Errorf("opening account %s: answered %d: %.300s", a.ExternalID, answer.Status, answer.Body)
			}
			l.ids[i] = opened.AccountID
			l.accepted.Add(1)
			l.advance(1)
			return nil
		})
	}
	return g.Wait()
}

type method struct {
	Type string `json:"type"`
}

type counterparty struct {
	Name    string `json:"name"`
	Country string `json:"country"`
	Account string `json:"account"`
}

type item struct {
	Kind           string        `json:"kind"`
	Key            string        `json:"idempotency_key"`
	AccountID      string        `json:"account_id,omitempty"`
	ToAccountID    string        `json:"to_account_id,omitempty"`
	PaymentID      string        `json:"payment_id,omitempty"`
	Amount         int64         `json:"amount,omitempty"`
	Currency       string        `json:"currency,omitempty"`
	TargetCurrency string        `json:"target_currency,omitempty"`
	Method         *method       `json:"method,omitempty"`
	Reference      string        `json:"reference,omitempty"`
	Reason         string        `json:"reason,omitempty"`
	Counterparty   *counterparty `json:"counterparty,omitempty"`
}

func (l *loader) item(c Command) item {
	if c.Kind == "refund" {
		l.mu.Lock()
		defer l.mu.Unlock()
		return item{Kind: c.Kind, Key: c.Key, PaymentID: l.payments[c.RefundOf], Amount: c.AmountMinor, Reason: c.Reference}
	}
	out := item{
		Kind: c.Kind, Key: c.Key, AccountID: l.ids[c.Account], Amount: c.AmountMinor, Currency: c.Currency,
		TargetCurrency: c.TargetCurrency, Reference: c.Reference,
	}
	if c.Kind == "transfer" {
		out.ToAccountID = l.ids[c.ToAccount]
	} else {
		out.Method = &method{c.Method}
	}
	if c.Counterparty != "" {
		out.Counterparty = &counterparty{Name: c.Counterparty, Country: "BR", Account: c.Counterparty}
	}
	return out
}

func (l *loader) phase(ctx context.Context, commands []Command) error {
	byLane := make([][]Command, lanes)
	for _, c := range commands {
		byLane[c.Account%lanes] = append(byLane[c.Account%lanes], c)
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, lane := range byLane {
		g.Go(func() error {
			for chunk := range slices.Chunk(lane, batchSize) {
				if err := l.batch(ctx, chunk); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

func (l *loader) batch(ctx context.Context, chunk []Command) error {
	items := make([]any, len(chunk))
	for i, c := range chunk {
		items[i] = l.item(c)
	}
	answers, err := l.api.Batch(ctx, items, "respond-async")
	if err != nil {
		return err
	}
	for i, a := range answers {
		var body struct {
			PaymentID string `json:"payment_id"`
			Code      string `json:"code"`
			Detail    string `json:"detail"`
		}
		if err := json.Unmarshal(a.Body, &body); err != nil {
			return fmt.Errorf("reading item answer %.200s: %w", a.Body, err)
		}
		l.mu.Lock()
		if a.Accepted() {
			l.accepted.Add(1)
			l.payments[chunk[i].Key] = body.PaymentID
		} else {
			l.refused[body.Code]++
		}
		l.mu.Unlock()
	}
	l.advance(len(chunk))
	return nil
}

func (l *loader) verdicts(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4 * lanes)
	for _, v := range l.day.Verdicts {
		g.Go(func() error {
			verb := "decline"
			if v.Approve {
				verb = "approve"
			}
			id := l.payments[v.Key]
			answer, err := l.api.Do(ctx, client.Request{Method: http.MethodPost, Path: "/payments/" + id + "/" + verb, Key: "verdict-" + v.Key})
			if err != nil {
				return fmt.Errorf("deciding review of %s: %w", id, err)
			}
			if answer.Status >= 300 {
				return fmt.Errorf("deciding review of %s: answered %d: %.300s", id, answer.Status, answer.Body)
			}
			l.accepted.Add(1)
			l.advance(1)
			return nil
		})
	}
	return g.Wait()
}
