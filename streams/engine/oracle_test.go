package engine_test

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/caudalpay/caudal/streams/engine"
	"github.com/caudalpay/caudal/streams/streamtest"
)

// oracle recomputes everything from the input alone, once nothing works on the group any more: each input has one output,
// in the order of its key; cells and side records count them; what the state has applied is what the group has committed,
// and that is all there is; no transaction is open.
func oracle(c *streamtest.Cluster) []string {
	wrong := audit(c)
	wrong = append(wrong, orderViolations(c)...)
	wrong = append(wrong, offsetViolations(c)...)
	return append(wrong, openTransactions(c)...)
}

func orderViolations(c *streamtest.Cluster) (wrong []string) {
	truth, got := map[string][]string{}, map[string][]string{}
	for _, r := range c.ReadCommitted(input) {
		truth[string(r.Key)] = append(truth[string(r.Key)], string(place(r.Partition, r.Offset)))
	}
	for _, r := range c.ReadCommitted(output) {
		got[string(r.Key)] = append(got[string(r.Key)], string(r.Value))
	}
	for key, want := range truth {
		if !slices.Equal(want, got[key]) {
			wrong = append(wrong, fmt.Sprintf("%s: %d inputs and %d outputs are not the same list", key, len(want), len(got[key])))
		}
	}
	return wrong
}

func offsetViolations(c *streamtest.Cluster) (wrong []string) {
	last, applied := map[int32]int64{}, map[int32]int64{}
	for _, r := range c.ReadCommitted(input) {
		last[r.Partition] = r.Offset + 1
	}
	for k, v := range sideRecords(c) {
		var p int32
		if k.Kind == engine.AppliedKind {
			if _, err := fmt.Sscanf(k.ID, "%d/", &p); err != nil {
				panic(err)
			}
			applied[p] = int64(binary.BigEndian.Uint64(v))
		}
	}
	committed := c.Committed(group, input)
	for p, at := range last {
		if applied[p] != at || committed[p] != at {
			wrong = append(wrong, fmt.Sprintf("partition %d: input to %d, applied %d, committed %d", p, at, applied[p], committed[p]))
		}
	}
	return wrong
}

// openTransactions gives those of killed members their timeout.
func openTransactions(c *streamtest.Cluster) (wrong []string) {
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		wrong = nil
		admin := kadm.NewClient(c.Client())
		stable, err := admin.ListCommittedOffsets(c.Context(), input, output, table, side, dead)
		if err != nil {
			return []string{err.Error()}
		}
		ends, err := admin.ListEndOffsets(c.Context(), input, output, table, side, dead)
		if err != nil {
			return []string{err.Error()}
		}
		ends.Each(func(end kadm.ListedOffset) {
			if at, _ := stable.Lookup(end.Topic, end.Partition); at.Offset != end.Offset {
				wrong = append(wrong, fmt.Sprintf("%s partition %d has an open transaction", end.Topic, end.Partition))
			}
		})
		if len(wrong) == 0 || time.Now().After(deadline) {
			return wrong
		}
	}
}
