package bank

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/caudalpay/caudal/sinks/rails/cards"
	"github.com/caudalpay/caudal/sinks/rails/cards/rest"
)

// Bank is one bank.
type Bank struct {
	cfg  Config
	rest rest.Client
}

var _ cards.Bank = (*Bank)(nil)

// The codes of what is never sent to the bank.
const (
	codeAccount = "account_malformed" // not ISPB/branch/number, and no token
)

// endToEndIDLen fits the EndToEndId of ISO 20022, which has at most 35 characters.
const endToEndIDLen = 32

// New takes the credentials of one client of the bank.
func New(cfg Config) (*Bank, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("%w bank: %w", rest.ErrConfig, err)
	}
	b := &Bank{cfg: cfg, rest: rest.Client{HTTP: rest.NewHTTP(cfg.Transport), Refusal: turnedDown}}
	b.rest.Sign = func(_ context.Context, h http.Header) error {
		h.Set("Authorization", "Bearer "+cfg.Token)
		return nil
	}
	return b, nil
}

// Capabilities of the bank. The id of a transfer is its name there, so it is never used for a second one.
func (b *Bank) Capabilities() cards.Capabilities {
	return cards.Capabilities{Currencies: b.cfg.Currencies, Synchronous: true, Repeatable: true, Deduplicates: true}
}

// OwnReference is the end-to-end id: one for an order, however often it is sent.
func (b *Bank) OwnReference(orderID string, _ uint32) string {
	return rest.Digest(orderID, 0, endToEndIDLen)
}

// Send asks for a transfer.
func (b *Bank) Send(ctx context.Context, r cards.Request) (cards.Result, error) {
	to, ok := accountOf(r.Destination, r.Instrument)
	if !ok {
		return cards.Result{Outcome: cards.OutcomeRefused, Code: codeAccount}, nil
	}
	reply, err := b.rest.Do(ctx, rest.Call{Method: http.MethodPost, URL: b.cfg.URL + "/transfers", Body: transferRequest{
		EndToEndID: r.OwnReference, OrderID: r.OrderID, Amount: r.AmountMinor, Currency: r.Currency, Account: to,
	}})
	if err != nil {
		return cards.Result{}, err
	}
	if turnedDown(reply) {
		return cards.Result{Outcome: cards.OutcomeRefused, Code: failureCode(reply)}, nil
	}
	return told(reply, r), nil
}

// Find asks by the end-to-end id.
func (b *Bank) Find(ctx context.Context, r cards.Request) (cards.Result, error) {
	reply, err := b.rest.Do(ctx, rest.Call{Method: http.MethodGet, URL: b.cfg.URL + "/transfers/" + url.PathEscape(r.OwnReference)})
	if err != nil {
		return cards.Result{}, err
	}
	if reply.Status == http.StatusNotFound && failureCode(reply) == "not_found" { // and not somebody's page on the way
		return cards.Result{Outcome: cards.OutcomeNotFound}, nil
	}
	return told(reply, r), nil
}

// told is what an answer says of the transfer that was asked for. One about another transfer says nothing.
func told(reply rest.Reply, r cards.Request) cards.Result {
	var t transferReply
	if !reply.OK() || !reply.Decode(&t) || t.EndToEndID != r.OwnReference {
		return cards.Result{}
	}
	return t.result()
}
