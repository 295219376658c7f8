package gokagroup_test

import (
	"context"

	"github.com/lovoo/goka"
	"github.com/lovoo/goka/codec"

	"github.com/caudalpay/caudal/streams/engine"
	"github.com/caudalpay/caudal/streams/gokagroup"
)

// A processor that counts clicks, as it was written for Goka.
func Example() {
	clicked := func(ctx goka.Context, _ any) {
		n, _ := ctx.Value().(int64)
		ctx.SetValue(n + 1)
		ctx.Emit("counts", ctx.Key(), n+1)
	}
	graph := gokagroup.DefineGroup("clicks",
		gokagroup.Input("clicked", new(codec.String), clicked),
		goka.Output("counts", new(codec.Int64)),
		goka.Persist(new(codec.Int64)),
	)
	// The topics clicked, counts, clicks-table, clicks-side and clicked.dead are there, with 16 partitions each.
	processor, err := gokagroup.New(graph, engine.Config{
		Brokers: []string{"127.0.0.1:9092"}, Partitions: 16,
		TransactionalID: "clicks-0", InstanceID: "clicks-0", // of this member, the same at every start
	})
	if err != nil {
		panic(err)
	}
	if err := processor.Run(context.Background()); err != nil {
		panic(err) // start again
	}
}
