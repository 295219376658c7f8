package pagarme

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

// Acquirer is Stone by Pagar.me.
type Acquirer struct {
	cfg  Config
	rest rest.Client
}

var _ cards.Acquirer = (*Acquirer)(nil)

// New takes the credentials of one merchant.
func New(cfg Config) (*Acquirer, error) {
	cfg.URL = cmp.Or(cfg.URL, DefaultURL)
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("%w pagarme: %w", rest.ErrConfig, err)
	}
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte(cfg.SecretKey+":"))
	return &Acquirer{cfg: cfg, rest: rest.Client{
		HTTP: rest.NewHTTP(cfg.Transport), Refusal: turnedDown,
		Sign: func(_ context.Context, h http.Header) error {
			h.Set("Authorization", basic)
			return nil
		},
	}}, nil
}

// Capabilities of Pagar.me. A charge may be processing for a while: not found is not yet never.
func (a *Acquirer) Capabilities() cards.Capabilities {
	return cards.Capabilities{Currencies: []string{"BRL"}, Synchronous: true, Repeatable: true, TellsDisputes: true}
}

// OwnReference is the code of the order there, and its idempotency key.
func (a *Acquirer) OwnReference(orderID string, attempt uint32) string {
	return rest.Digest(orderID, attempt, 32)
}

// Authorize makes an order of one charge.
func (a *Acquirer) Authorize(ctx context.Context, r cards.Request) (cards.Result, error) {
	reply, err := a.do(ctx, http.MethodPost, "/core/v5/orders", r, orderOf(r, a.cfg))
	if err != nil {
		return cards.Result{}, err
	}
	var o orderReply
	switch {
	case reply.Status == http.StatusPreconditionFailed: // valid, and failed all the same: how far it came is not said
		return cards.Result{}, nil
	case turnedDown(reply):
		return cards.Result{Outcome: cards.OutcomeRefused, Code: fmt.Sprintf("http_%d", reply.Status)}, nil
	case !reply.OK() || !reply.Decode(&o) || len(o.Charges) != 1:
		return cards.Result{}, nil
	default:
		return o.Charges[0].made(r.Operation), nil
	}
}

// Capture takes part or all of an authorised charge, once.
func (a *Acquirer) Capture(ctx context.Context, r cards.Request) (cards.Result, error) {
	reply, err := a.do(ctx, http.MethodPost, charge(r.Reference)+"/capture", r, amountOf(r))
	return changed(r, reply, err)
}

// Void gives up an authorised charge.
func (a *Acquirer) Void(ctx context.Context, r cards.Request) (cards.Result, error) {
	reply, err := a.do(ctx, http.MethodDelete, charge(r.Reference), r, amountOf(r))
	return changed(r, reply, err)
}

// Refund gives back part or all of a captured charge; Pagar.me calls that cancelling too.
func (a *Acquirer) Refund(ctx context.Context, r cards.Request) (cards.Result, error) {
	return a.Void(ctx, r)
}

// Status asks by the charge's id or, where there is none, by the order's code.
func (a *Acquirer) Status(ctx context.Context, r cards.Request) (cards.Standing, error) {
	if r.Reference != "" {
		reply, err := a.look(ctx, charge(r.Reference))
		if err != nil {
			return cards.Standing{}, err
		}
		var c chargeReply
		switch {
		case reply.Status == http.StatusNotFound && turnedDown(reply):
			return cards.Standing{State: cards.StateAbsent}, nil
		case !reply.OK() || !reply.Decode(&c) || c.ID != r.Reference: // another charge says nothing of this one
			return cards.Standing{}, nil
		default:
			return c.standing(), nil
		}
	}
	reply, err := a.look(ctx, "/core/v5/orders?code="+url.QueryEscape(r.OwnReference))
	if err != nil {
		return cards.Standing{}, err
	}
	var list ordersReply
	if !reply.OK() || !reply.Decode(&list) || list.Data == nil {
		return cards.Standing{}, nil
	}
	var all []cards.Standing
	for _, o := range *list.Data {
		if o.Code != r.OwnReference { // a filter that is not understood lists everything
			return cards.Standing{}, nil
		}
		for _, c := range o.Charges {
			all = append(all, c.standing())
		}
		if len(o.Charges) == 0 {
			all = append(all, cards.Standing{State: cards.StatePending})
		}
	}
	return cards.Foremost(all), nil
}

func (a *Acquirer) do(ctx context.Context, method, path string, r cards.Request, body any) (rest.Reply, error) {
	key := r.OwnReference + "-" + r.Operation.String()
	return a.rest.Do(ctx, rest.Call{
		Method: method, URL: a.cfg.URL + path, Body: body,
		Header: http.Header{rest.IdempotencyKey: []string{key}},
	})
}

func (a *Acquirer) look(ctx context.Context, path string) (rest.Reply, error) {
	return a.rest.Do(ctx, rest.Call{Method: http.MethodGet, URL: a.cfg.URL + path})
}

// turnedDown tells that Pagar.me itself turned a call down: it says why.
func turnedDown(reply rest.Reply) bool {
	var f failure
	return reply.TurnedDown() && reply.Decode(&f) && f.Message != ""
}

func charge(id string) string { return "/core/v5/charges/" + url.PathEscape(id) }

func changed(r cards.Request, reply rest.Reply, err error) (cards.Result, error) {
	if err != nil {
		return cards.Result{}, err
	}
	var c chargeReply
	switch {
	case turnedDown(reply):
		return cards.Result{Outcome: cards.OutcomeRefused, Code: fmt.Sprintf("http_%d", reply.Status), Reference: r.Reference}, nil
	case !reply.OK() || !reply.Decode(&c):
		return cards.Result{Reference: r.Reference}, nil
	default:
		return c.changed(r), nil
	}
}
