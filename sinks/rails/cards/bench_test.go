package cards

import (
	"testing"

	railsv1 "github.com/caudalpay/caudal/schemas/rails/v1"
)

// BenchmarkOrders is an acquirer that answers at once: what is left is the price of two transactions an order.
func BenchmarkOrders(b *testing.B) {
	h, bank := newHouse(b), newBank(b)
	cfg := h.config(map[string]Acquirer{"bank": newTeller(bank.server.URL)})
	var orders []*railsv1.Order
	for i := range b.N {
		orders = append(orders, collect(i, "ok"))
	}
	h.order(orders...)
	b.ResetTimer()
	_, stop := h.start(cfg)
	h.answers(orders...)
	b.StopTimer()
	stop()
}
