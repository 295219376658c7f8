// Package clearing loads a card network's clearing file through the front door of a running installation: what it collects from the
// house's own cards, and gives them back.
//
// The whole file is read and held against its control totals before anything of it is sent. It decides nothing: each item is a fact
// that the house takes in, or knows already, so that a file which was cut half-way is loaded again.
package clearing

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/caudalpay/caudal/cmd/caudal/client"
	"github.com/caudalpay/caudal/cmd/caudal/lines"
)

// Result counts the items. Invariant: where nothing stopped the run, each is cleared, repeated or refused.
type Result struct {
	File     string          `json:"file"` // what the network calls it
	Items    int             `json:"items"`
	Cleared  int             `json:"cleared"`  // now in the books
	Repeated int             `json:"repeated"` // in the books before: nothing has moved
	Reasons  map[string]int  `json:"reasons"`  // of those cleared or repeated: payment_unknown collects nothing known, rail_late waits in suspense
	Refused  []lines.Refusal `json:"refused"`  // in the order of the file
}

// Load sends every item of a file (a header, one item per line, a trailer), those of one authorization in their order. The error tells what stopped it, before anything was sent or
// half-way; then load the file again.
func Load(ctx context.Context, o lines.Options) (Result, error) {
	name, items, err := read(o.File, time.Now())
	if err != nil {
		return Result{}, fmt.Errorf("reading %s: %w", o.File, err)
	}
	result := Result{File: name, Items: len(items), Reasons: map[string]int{}}
	door := lines.Door{Options: o, Path: "/clearings", What: "clearings"}
	result.Refused, err = lines.Send(ctx, door, items, result.take)
	return result, err //nolint:wrapcheck // it says at which line
}

// take counts an item that stands in the books.
func (r *Result) take(_ *lines.Line, a client.Answer) error {
	var told struct {
		Reasons []string `json:"reasons"`
	}
	if err := json.Unmarshal(a.Body, &told); err != nil {
		return fmt.Errorf("decoding: %w", err)
	}
	if a.Replayed {
		r.Repeated++
	} else {
		r.Cleared++
	}
	for _, reason := range told.Reasons {
		r.Reasons[reason]++
	}
	return nil
}
