package audit

import (
	"context"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	railsv1 "github.com/caudalpay/caudal/schemas/rails/v1"
	"github.com/caudalpay/caudal/schemas/topics"
	"github.com/caudalpay/caudal/sinks/audit/model"
)

// ordered is an order that a decision had to put on the log, and where that decision stands.
type ordered struct {
	text   string
	offset int64
}

// expectOrders keeps what the orders' topic must hold, by account and in order.
func (p *partition) expectOrders(r *kgo.Record, key string, orders []*railsv1.Order) {
	for _, o := range orders {
		p.orders[key] = append(p.orders[key], ordered{model.Order(o), r.Offset})
	}
}

// checkOrders: rails are asked for exactly what the decisions say, once each and in their order per account. An order too
// many is money sent twice.
func (p *partition) checkOrders(ctx context.Context) error {
	overtaken := map[string][]ordered{} // due before one that was found: out of their order, or not there
	err := each(ctx, p.cfg, topics.RailsOrders, p.id, p.extents[topics.RailsOrders][p.id], func(r *kgo.Record) error {
		p.findings.count(CheckOrders, 1)
		key := string(r.Key)
		place := Difference{Check: CheckOrders, Account: key, Topic: r.Topic, Partition: r.Partition, Offset: r.Offset}
		o := &railsv1.Order{}
		if err := proto.Unmarshal(r.Value, o); err != nil {
			place.Detail = "the order cannot be decoded: " + err.Error()
			p.findings.differ(place)
			return nil
		}
		got := model.Order(o)
		same := func(w ordered) bool { return w.text == got }
		if at := slices.IndexFunc(p.orders[key], same); at >= 0 {
			overtaken[key] = append(overtaken[key], p.orders[key][:at]...)
			p.orders[key] = p.orders[key][at+1:]
			return nil
		}
		if at := slices.IndexFunc(overtaken[key], same); at >= 0 {
			overtaken[key] = slices.Delete(overtaken[key], at, at+1)
			place.Detail = "stands behind an order that was given later: " + got
		} else {
			place.Detail = "no decision gave this order: " + got
		}
		p.orderDiffers(place)
		return nil
	})
	if err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(p.orders)) {
		for _, w := range slices.Concat(overtaken[key], p.orders[key]) {
			p.orderDiffers(Difference{
				Check: CheckOrders, Account: key, Topic: topics.Decisions, Partition: p.id, Offset: w.offset,
				Detail: "the order this decision had to give is not on the log: " + w.text,
			})
		}
	}
	return nil
}

// orderDiffers: an order and its decision are committed together, but not read together where the log is moving.
func (p *partition) orderDiffers(d Difference) {
	if p.moving {
		p.findings.behind(d, 1)
	} else {
		p.findings.differ(d)
	}
}
