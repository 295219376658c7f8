// Package rest carries requests of JSON to acquirers and says of each failure whether anything may have arrived: the one
// question that decides between trying again and asking. It refuses to follow redirects and to read answers above 1 MiB.
package rest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/caudalpay/caudal/sinks/rails/cards"
)

const bodyMax = 1 << 20

// Client sends requests with the headers of one acquirer.
type Client struct {
	HTTP *http.Client
	// Sign sets what authenticates a request. An error of it means that nothing was sent.
	Sign func(ctx context.Context, header http.Header) error
	// Refusal tells whether a 4xx is the acquirer's own word, and not a page of somebody on the way.
	Refusal func(Reply) bool
	// Unauthorized hears of a 401; nil: nobody does.
	Unauthorized func()
}

// IdempotencyKey is the header of that name, written so that the transport does not know it. A call that has it in the usual
// form is repeated by the transport on a connection that broke, also behind a first sending that arrived, and who calls would
// take the answer to the repeat for the only one.
const IdempotencyKey = "idempotency-key"

// HeaderOrder tells the order along. Acquirers pass over headers that they do not know.
const HeaderOrder = "X-Order-Id"

// Absolute tells an address with a scheme and a host.
func Absolute(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.IsAbs() && u.Host != ""
}

// NewHTTP is a client for one acquirer. It has no timeout of its own: the deadline is the context's.
func NewHTTP(transport http.RoundTripper) *http.Client {
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Call is one request.
type Call struct {
	Method, URL string
	Header      http.Header
	Body        any // nil: none
}

// Reply is an answer that was read whole, or says that there was none.
type Reply struct {
	Status int // 0: the connection broke after the request may have been written, or in the middle of the answer
	Body   []byte
}

// Do sends a request. The error is ErrNotSent, and nothing else.
func (c *Client) Do(ctx context.Context, call Call) (Reply, error) {
	var connected atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		// From here on bytes may have left. What the transport repeats by itself it repeats only where nothing was written,
		// or where the call changes nothing: see IdempotencyKey.
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
	})
	request, err := c.request(traced, call)
	if err != nil {
		return Reply{}, fmt.Errorf("%w: %w", cards.ErrNotSent, err)
	}
	response, err := c.HTTP.Do(request)
	if err != nil {
		if !connected.Load() {
			return Reply{}, fmt.Errorf("%w: %w", cards.ErrNotSent, err)
		}
		return Reply{}, nil
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode == http.StatusUnauthorized {
		if c.Unauthorized != nil {
			c.Unauthorized()
		}
		return Reply{}, turnedAway(response.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, bodyMax+1))
	if err != nil || len(body) > bodyMax {
		return Reply{}, nil // half an answer tells nothing, and its status alone must not pass for the whole
	}
	reply := Reply{Status: response.StatusCode, Body: body}
	switch reply.Status {
	case http.StatusForbidden, http.StatusTooManyRequests:
		// Acquirers say these of an address or a rate, before they look at a request. A filter on the way says them of
		// answers too, behind the effect.
		if c.Refusal(reply) {
			return Reply{}, turnedAway(reply.Status)
		}
	}
	return reply, nil
}

func turnedAway(status int) error {
	return fmt.Errorf("%w: turned away with %d", cards.ErrNotSent, status)
}

func (c *Client) request(ctx context.Context, call Call) (*http.Request, error) {
	var body io.Reader = http.NoBody
	if call.Body != nil {
		b, err := json.Marshal(call.Body)
		if err != nil {
			return nil, fmt.Errorf("encoding request: %w", err)
		}
		body = bytes.NewReader(b)
	}
	request, err := http.NewRequestWithContext(ctx, call.Method, call.URL, body)
	if err != nil {
		return nil, fmt.Errorf("making request: %w", err)
	}
	maps.Copy(request.Header, call.Header)
	request.Header.Set("Accept", "application/json")
	if id := cards.OrderOf(ctx); id != "" {
		request.Header.Set(HeaderOrder, id)
	}
	if call.Body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if err := c.Sign(ctx, request.Header); err != nil {
		return nil, fmt.Errorf("signing request: %w", err)
	}
	return request, nil
}

// OK tells that the acquirer has dealt with the request; whether it did what was asked is in the body.
func (r Reply) OK() bool { return r.Status >= 200 && r.Status < 300 }

// TurnedDown tells that the request was surely not done, if it was the acquirer that says so, and not somebody's page on the
// way: that is in the body. A conflict, a timeout behind it and what came too early are not that.
func (r Reply) TurnedDown() bool {
	switch r.Status {
	case http.StatusRequestTimeout, http.StatusConflict, http.StatusTooEarly:
		return false
	default:
		return r.Status >= 400 && r.Status < 500
	}
}

// Decode reads a body. False: it is not what was expected, and says nothing.
func (r Reply) Decode(into any) bool {
	return len(r.Body) > 0 && json.Unmarshal(r.Body, into) == nil
}

// Digest is n characters a-z and 2-7 of SHA-256 over an attempt at an order: ids of orders are longer than acquirers
// take, and have characters that they do not.
func Digest(orderID string, attempt uint32, n int) string {
	sum := sha256.Sum256([]byte(fmt.Sprintf("%d/%s", attempt, orderID)))
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:]))[:n]
}

// ErrConfig marks settings that cannot work.
var ErrConfig = errors.New("configuring acquirer")
