package engine_test

import (
	"testing"

	"github.com/caudalpay/caudal/streams/engine"
)

// TestStockUnharmed: undisturbed, stock Goka does with a callback what the engine does, so a comparison under faults is fair.
func TestStockUnharmed(t *testing.T) {
	c := newCluster(t)
	c.Produce(inputs(2_000, 100)...)
	for range 2 { // the second start restores what the first has left
		e, err := engine.NewStock(testConfig(c.Addrs), count, nil)
		if err != nil {
			t.Fatal(err)
		}
		r := startEngine(t, e)
		r.eventually("all input is done", func() bool { return len(c.ReadCommitted(output)) >= len(c.ReadCommitted(input)) })
		r.stop()
		if wrong := audit(c); len(wrong) > 0 {
			t.Fatalf("%d things wrong, first %s", len(wrong), wrong[0])
		}
		c.Produce(inputs(500, 100)...)
	}
}
