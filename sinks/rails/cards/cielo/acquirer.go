package cielo

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/caudalpay/caudal/sinks/rails/cards"
	"github.com/caudalpay/caudal/sinks/rails/cards/rest"
)

// Acquirer is Cielo.
type Acquirer struct {
	cfg  Config
	rest rest.Client
}

var (
	_ cards.Acquirer = (*Acquirer)(nil)
	_ cards.Namer    = (*Acquirer)(nil)
)

// New takes the credentials of one merchant.
func New(cfg Config) (*Acquirer, error) {
	cfg.URL, cfg.QueryURL = cmp.Or(cfg.URL, DefaultURL), cmp.Or(cfg.QueryURL, DefaultQueryURL)
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("%w cielo: %w", rest.ErrConfig, err)
	}
	return &Acquirer{cfg: cfg, rest: rest.Client{
		HTTP: rest.NewHTTP(cfg.Transport), Refusal: turnedDown,
		Sign: func(_ context.Context, h http.Header) error {
			h["MerchantId"], h["MerchantKey"] = []string{cfg.MerchantID}, []string{cfg.MerchantKey}
			return nil
		},
	}}, nil
}

// Capabilities of Cielo.
func (a *Acquirer) Capabilities() cards.Capabilities {
	return cards.Capabilities{Currencies: []string{"BRL"}, VoidsByOwn: true, Synchronous: true}
}

// OwnReference is the MerchantOrderId: letters and digits only.
func (a *Acquirer) OwnReference(orderID string, attempt uint32) string {
	return rest.Digest(orderID, attempt, 32)
}

// Authorize makes a sale.
func (a *Acquirer) Authorize(ctx context.Context, r cards.Request) (cards.Result, error) {
	reply, err := a.rest.Do(ctx, rest.Call{Method: http.MethodPost, URL: a.cfg.URL + "/1/sales/", Body: saleOf(r, a.cfg.SoftDescriptor)})
	if err != nil {
		return cards.Result{}, err
	}
	var s sale
	switch {
	case turnedDown(reply):
		return cards.Result{Outcome: cards.OutcomeRefused, Code: errorCode(reply)}, nil
	case !reply.OK() || !reply.Decode(&s):
		return cards.Result{}, nil
	default:
		return s.Payment.sold(r.Operation), nil
	}
}

// Capture takes part or all of an authorised sale, once.
func (a *Acquirer) Capture(ctx context.Context, r cards.Request) (cards.Result, error) {
	return a.change(ctx, r, "/1/sales/"+url.PathEscape(r.Reference)+"/capture")
}

// Void gives up an authorised sale.
func (a *Acquirer) Void(ctx context.Context, r cards.Request) (cards.Result, error) {
	path := "/1/sales/" + url.PathEscape(r.Reference) + "/void"
	if r.Reference == "" {
		path = "/1/sales/OrderId/" + url.PathEscape(r.OwnReference) + "/void"
	}
	return a.change(ctx, r, path)
}

// Refund gives back part or all of a captured sale; Cielo calls that a void too.
func (a *Acquirer) Refund(ctx context.Context, r cards.Request) (cards.Result, error) {
	return a.change(ctx, r, "/1/sales/"+url.PathEscape(r.Reference)+"/void")
}

func (a *Acquirer) change(ctx context.Context, r cards.Request, path string) (cards.Result, error) {
	address := a.cfg.URL + path + "?amount=" + strconv.FormatInt(r.AmountMinor, 10)
	reply, err := a.rest.Do(ctx, rest.Call{Method: http.MethodPut, URL: address})
	if err != nil {
		return cards.Result{}, err
	}
	var c change
	switch {
	case absent(reply) && r.Reference == "":
		return cards.Result{Outcome: cards.OutcomeNotFound, Code: errorCode(reply)}, nil
	case turnedDown(reply):
		return cards.Result{Outcome: cards.OutcomeRefused, Code: errorCode(reply), Reference: r.Reference}, nil
	case !reply.OK() || !reply.Decode(&c):
		return cards.Result{Reference: r.Reference}, nil
	case r.Operation == cards.OperationCapture:
		return c.captured(r), nil
	default:
		return c.voided(r), nil
	}
}

// Status asks the query host, by PaymentId or, where there is none, by MerchantOrderId.
func (a *Acquirer) Status(ctx context.Context, r cards.Request) (cards.Standing, error) {
	if r.Reference != "" {
		return a.byPayment(ctx, r.Reference)
	}
	reply, err := a.rest.Do(ctx, rest.Call{Method: http.MethodGet, URL: a.cfg.QueryURL + "/1/sales?merchantOrderId=" + url.QueryEscape(r.OwnReference)})
	if err != nil {
		return cards.Standing{}, err
	}
	var list salesList
	switch {
	case absent(reply):
		return cards.Standing{State: cards.StateAbsent}, nil
	case !reply.OK() || !reply.Decode(&list):
		return cards.Standing{}, nil
	}
	ids, told := list.payments()
	if !told {
		return cards.Standing{}, nil
	}
	var all []cards.Standing
	for _, id := range ids {
		found, s, err := a.sale(ctx, id)
		if err != nil {
			return cards.Standing{}, err
		}
		if found.MerchantOrderID != "" && found.MerchantOrderID != r.OwnReference { // a filter that is not understood lists everything
			return cards.Standing{}, nil
		}
		all = append(all, s)
	}
	return cards.Foremost(all), nil
}

// Name gives the MerchantOrderId of a sale: Cielo's notifications tell only its PaymentId.
func (a *Acquirer) Name(ctx context.Context, reference string) (string, cards.Standing, error) {
	s, standing, err := a.sale(ctx, reference)
	return s.MerchantOrderID, standing, err
}

func (a *Acquirer) byPayment(ctx context.Context, id string) (cards.Standing, error) {
	_, standing, err := a.sale(ctx, id)
	return standing, err
}

func (a *Acquirer) sale(ctx context.Context, id string) (sale, cards.Standing, error) {
	reply, err := a.rest.Do(ctx, rest.Call{Method: http.MethodGet, URL: a.cfg.QueryURL + "/1/sales/" + url.PathEscape(id)})
	if err != nil {
		return sale{}, cards.Standing{}, err
	}
	var s sale
	switch {
	case absent(reply):
		return sale{}, cards.Standing{State: cards.StateAbsent}, nil
	case !reply.OK() || !reply.Decode(&s) || !strings.EqualFold(s.Payment.PaymentID, id): // another sale says nothing of this one
		return sale{}, cards.Standing{}, nil
	default:
		return s, s.Payment.standing(), nil
	}
}
