package rede

import (
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"

	"github.com/caudalpay/caudal/sinks/rails/cards"
	"github.com/caudalpay/caudal/sinks/rails/cards/rest"
)

// Acquirer is Rede.
type Acquirer struct {
	cfg  Config
	rest rest.Client
}

var _ cards.Acquirer = (*Acquirer)(nil)

// referenceLen is the longest reference that e.Rede takes.
const referenceLen = 16

// New takes the credentials of one affiliation.
func New(cfg Config) (*Acquirer, error) {
	cfg.URL = cmp.Or(cfg.URL, DefaultURL)
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("%w rede: %w", rest.ErrConfig, err)
	}
	a := &Acquirer{cfg: cfg, rest: rest.Client{HTTP: rest.NewHTTP(cfg.Transport), Refusal: refusal}}
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte(cfg.PV+":"+cfg.Token))
	if cfg.TokenURL == "" {
		a.rest.Sign = func(_ context.Context, h http.Header) error {
			h.Set("Authorization", basic)
			return nil
		}
		return a, nil
	}
	b := &bearer{url: cfg.TokenURL, basic: basic, http: a.rest.HTTP}
	a.rest.Sign, a.rest.Unauthorized = b.sign, b.drop
	return a, nil
}

// Capabilities of Rede.
func (a *Acquirer) Capabilities() cards.Capabilities {
	return cards.Capabilities{Currencies: []string{"BRL"}, Synchronous: true}
}

// OwnReference is the reference of a transaction.
func (a *Acquirer) OwnReference(orderID string, attempt uint32) string {
	return rest.Digest(orderID, attempt, referenceLen)
}

// Authorize makes a transaction.
func (a *Acquirer) Authorize(ctx context.Context, r cards.Request) (cards.Result, error) {
	credential, err := a.cfg.Vault.Credential(ctx, r.Instrument)
	if err != nil {
		return cards.Result{}, fmt.Errorf("%w: asking the vault: %w", cards.ErrNotSent, err)
	}
	reply, err := a.do(ctx, http.MethodPost, "/transactions", transactionOf(r, credential, a.cfg.SoftDescriptor))
	if err != nil {
		return cards.Result{}, err
	}
	t, told := read(reply)
	if !told {
		return cards.Result{}, nil
	}
	return t.made(), nil
}

// Capture takes part or all of an authorised transaction, once.
func (a *Acquirer) Capture(ctx context.Context, r cards.Request) (cards.Result, error) {
	return a.change(ctx, http.MethodPut, "/transactions/"+url.PathEscape(r.Reference), r, transactionReply.captured)
}

// Void gives up an authorised transaction; for Rede that is a refund too.
func (a *Acquirer) Void(ctx context.Context, r cards.Request) (cards.Result, error) {
	return a.Refund(ctx, r)
}

// Refund gives back part or all of a captured transaction.
func (a *Acquirer) Refund(ctx context.Context, r cards.Request) (cards.Result, error) {
	return a.change(ctx, http.MethodPost, "/transactions/"+url.PathEscape(r.Reference)+"/refunds", r, transactionReply.refunded)
}

func (a *Acquirer) change(
	ctx context.Context, method, path string, r cards.Request, say func(transactionReply) cards.Result,
) (cards.Result, error) {
	reply, err := a.do(ctx, method, path, amountRequest{Amount: r.AmountMinor})
	if err != nil {
		return cards.Result{}, err
	}
	t, told := read(reply)
	if !told {
		return cards.Result{Reference: r.Reference}, nil
	}
	result := say(t)
	result.Reference = r.Reference
	return result, nil
}

// Status asks by tid or, where there is none, by reference.
func (a *Acquirer) Status(ctx context.Context, r cards.Request) (cards.Standing, error) {
	path := "/transactions?reference=" + url.QueryEscape(r.OwnReference)
	if r.Reference != "" {
		path = "/transactions/" + url.PathEscape(r.Reference)
	}
	reply, err := a.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return cards.Standing{}, err
	}
	var q queryReply
	switch {
	case !reply.OK() && !reply.TurnedDown(), !reply.Decode(&q), !q.about(r):
		return cards.Standing{}, nil
	default:
		return q.standing(), nil
	}
}

func (a *Acquirer) do(ctx context.Context, method, path string, body any) (rest.Reply, error) {
	return a.rest.Do(ctx, rest.Call{
		Method: method, URL: a.cfg.URL + path, Body: body,
		Header: http.Header{"Transaction-Response": []string{"brand-return-opened"}},
	})
}

// read takes an answer that says something, also one of 4xx: e.Rede tells what it turns down by return code. What has none is
// somebody's page on the way.
func read(reply rest.Reply) (t transactionReply, told bool) {
	told = (reply.OK() || reply.TurnedDown()) && reply.Decode(&t) && t.ReturnCode != ""
	return t, told
}

func refusal(reply rest.Reply) bool {
	_, told := read(reply)
	return told
}
