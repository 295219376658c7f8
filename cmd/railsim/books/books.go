// Package books counts what really happened, per order of the client. It knows money and orders and nothing of protocols:
// it is folded from the journal, never from what a client was told. So it can say of a client whether it has charged anybody
// twice, although each answer on the way may have been lost, late or wrong.
package books

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"

	"github.com/caudalpay/caudal/cmd/railsim/journal"
)

// Line is what one connector did for one reference. Amounts are minor units of Currency.
type Line struct {
	Connector       string `json:"connector"`
	Reference       string `json:"reference"`
	Currency        string `json:"currency"`
	Authorizations  int    `json:"authorizations"` // successful, collects included
	Declines        int    `json:"declines"`
	Captures        int    `json:"captures"`
	Voids           int    `json:"voids"`
	Refunds         int    `json:"refunds"`
	Disputes        int    `json:"disputes,omitzero"` // stages that were told
	Transfers       int    `json:"transfers"`         // accepted by the bank
	Sent            int    `json:"sent"`
	Paid            int    `json:"paid"`
	Failed          int    `json:"failed"`
	Returned        int    `json:"returned"`
	AuthorizedMinor int64  `json:"authorized_minor"`
	CapturedMinor   int64  `json:"captured_minor"`
	VoidedMinor     int64  `json:"voided_minor"`
	RefundedMinor   int64  `json:"refunded_minor"`
	DisputedMinor   int64  `json:"disputed_minor,omitzero"` // taken back for holders that contest, as it stands
	SentMinor       int64  `json:"sent_minor"`
	ReturnedMinor   int64  `json:"returned_minor"`
	NetMinor        int64  `json:"net_minor"` // cards: captured and not given back; bank: sent and not returned, negative
}

// Order is one order of the client over all connectors.
type Order struct {
	OrderID      string `json:"order_id"`
	Charged      int    `json:"charged"`      // charges and transfers that stand now: not wholly voided, not failed, not returned
	ChargedMost  int    `json:"charged_most"` // how many stood at one time
	ChargedTwice bool   `json:"charged_twice"`
	Lines        []Line `json:"lines"`
}

// charge is one charge or transfer.
type charge struct{ authorized, captured, voided int64 }

// stands says whether money is promised or was taken and not let go. What a capture left is let go by itself.
func (c charge) stands() bool {
	if c.captured > 0 {
		return c.captured > c.voided
	}
	return c.authorized > c.voided
}

type order struct {
	charged, most int
	lines         []*Line
	charges       map[string]*charge // by connector and its id
}

// Books are safe for concurrent use.
type Books struct {
	mu     sync.Mutex
	orders map[string]*order
	faults map[string]map[string]int64   // by connector, kind
	met    map[reference]map[string]bool // by what a connector was asked for: the kinds of faults that fell on it
}

// reference is what a client calls a charge or a transfer at a connector.
type reference struct{ connector, name string }

// New are empty books.
func New() *Books {
	return &Books{orders: map[string]*order{}, faults: map[string]map[string]int64{}, met: map[reference]map[string]bool{}}
}

// Count takes in one entry. It fits the journal's listeners.
func (b *Books) Count(e journal.Entry, _ bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e.Kind {
	case journal.Answered:
		return
	case journal.Fault:
		b.fault(e.Connector, e.Reference, e.Name)
		return
	default:
	}
	if at := (reference{e.Connector, e.Reference}); b.met[at] == nil {
		b.met[at] = nil // it is there
	}
	o := b.orders[e.OrderID()]
	if o == nil {
		o = &order{charges: map[string]*charge{}}
		b.orders[e.OrderID()] = o
	}
	o.line(e).count(e)
	o.stand(e)
}

// Fault counts one that is not worth a line of the journal.
func (b *Books) Fault(connector, name, kind string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fault(connector, name, kind)
}

func (b *Books) fault(connector, name, kind string) {
	at := reference{connector, name}
	if b.met[at] == nil {
		b.met[at] = map[string]bool{}
	}
	b.met[at][kind] = true
	if b.faults[connector] == nil {
		b.faults[connector] = map[string]int64{}
	}
	b.faults[connector][kind]++
}

func (o *order) line(e journal.Entry) *Line {
	for _, l := range o.lines {
		if l.Connector == e.Connector && l.Reference == e.Reference && l.Currency == e.Currency {
			return l
		}
	}
	l := &Line{Connector: e.Connector, Reference: e.Reference, Currency: e.Currency}
	o.lines = append(o.lines, l)
	return l
}

func (l *Line) count(e journal.Entry) {
	switch e.Kind {
	case journal.Authorized:
		l.Authorizations++
		l.AuthorizedMinor += e.AmountMinor
	case journal.Declined:
		l.Declines++
	case journal.Captured:
		l.Captures++
		l.CapturedMinor += e.AmountMinor
		l.NetMinor += e.AmountMinor
	case journal.Voided:
		l.Voids++
		l.VoidedMinor += e.AmountMinor
		if e.Taken {
			l.NetMinor -= e.AmountMinor
		}
	case journal.Refunded:
		l.Refunds++
		l.RefundedMinor += e.AmountMinor
		l.NetMinor -= e.AmountMinor
	case journal.Disputed:
		l.Disputes++
		l.DisputedMinor += e.AmountMinor
	case journal.Accepted:
		l.Transfers++
	case journal.Sent:
		l.Sent++
		l.SentMinor += e.AmountMinor
		l.NetMinor -= e.AmountMinor
	case journal.Paid:
		if l.Paid++; l.Paid > l.Sent { // it had been called failed
			l.Sent++
			l.SentMinor += e.AmountMinor
			l.NetMinor -= e.AmountMinor
		}
	case journal.Failed:
		l.Failed++
	case journal.Returned:
		l.Returned++
		l.ReturnedMinor += e.AmountMinor
		l.NetMinor += e.AmountMinor
	default:
	}
}

// stand keeps how many charges of the order stand.
func (o *order) stand(e journal.Entry) {
	key := e.Connector + " " + e.Charge
	c := o.charges[key]
	if c == nil {
		c = &charge{}
		o.charges[key] = c
	}
	before := c.stands()
	switch e.Kind {
	case journal.Authorized, journal.Accepted:
		c.authorized += e.AmountMinor
	case journal.Captured:
		c.captured += e.AmountMinor
	case journal.Voided, journal.Failed, journal.Returned:
		c.voided += e.AmountMinor
	case journal.Paid:
		c.voided = 0
	default:
	}
	switch after := c.stands(); {
	case after && !before:
		o.charged++
		o.most = max(o.most, o.charged)
	case before && !after:
		o.charged--
	}
}

func (o *order) export(id string) Order {
	out := Order{OrderID: id, Charged: o.charged, ChargedMost: o.most, ChargedTwice: o.charged > 1}
	for _, l := range o.lines {
		out.Lines = append(out.Lines, *l)
	}
	return out
}

// Write streams all orders as one JSON array, one order a line. What happens meanwhile may or may not be in it, but an order
// is always whole.
func (b *Books) Write(w io.Writer) error {
	b.mu.Lock()
	ids := slices.Sorted(maps.Keys(b.orders))
	b.mu.Unlock()
	separator := "[\n"
	for chunk := range slices.Chunk(ids, 500) {
		orders := make([]Order, 0, len(chunk))
		b.mu.Lock()
		for _, id := range chunk {
			orders = append(orders, b.orders[id].export(id))
		}
		b.mu.Unlock()
		for _, o := range orders {
			line, err := json.Marshal(o)
			if err != nil {
				return fmt.Errorf("encoding an order: %w", err)
			}
			if _, err := fmt.Fprintf(w, "%s%s", separator, line); err != nil {
				return fmt.Errorf("writing the books: %w", err)
			}
			separator = ",\n"
		}
	}
	end := "\n]\n"
	if len(ids) == 0 {
		end = "[]\n"
	}
	if _, err := io.WriteString(w, end); err != nil {
		return fmt.Errorf("writing the books: %w", err)
	}
	return nil
}

// Find is one order.
func (b *Books) Find(id string) (Order, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	o, ok := b.orders[id]
	if !ok {
		return Order{}, false
	}
	return o.export(id), true
}
