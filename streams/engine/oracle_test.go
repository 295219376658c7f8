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
	for _, r := range allInputs(c) {
		at := place(r.Topic, r.Partition, r.Offset)
		of := string(r.Key) + " of " + string(at[:4])
		truth[of] = append(truth[of], string(at))
	}
	for _, r := range c.ReadCommitted(output) {
		of := string(r.Key) + " of " + string(r.Value[:4])
		got[of] = append(got[of], string(r.Value))
	}
	for key, want := range truth {
		if !slices.Equal(want, got[key]) {
			wrong = append(wrong, fmt.Sprintf("%q: %d inputs and %d outputs are not the same list", key, len(want), len(got[key])))
		}
	}
	return wrong
}

func offsetViolations(c *streamtest.Cluster) (wrong []string) {
	last, applied := map[string]int64{}, map[string]int64{} // by partition/topic
	for _, r := range allInputs(c) {
		last[fmt.Sprintf("%d/%s", r.Partition, r.Topic)] = r.Offset + 1
	}
	for k, v := range sideRecords(c) {
		if k.Kind == engine.AppliedKind {
			applied[k.ID] = int64(binary.BigEndian.Uint64(v))
		}
	}
	committed := map[string]int64{}
	for _, topic := range []string{input, second} {
		for p, at := range c.Committed(group, topic) {
			committed[fmt.Sprintf("%d/%s", p, topic)] = at
		}
	}
	for of, at := range last {
		if applied[of] != at || committed[of] != at {
			wrong = append(wrong, fmt.Sprintf("partition %s: input to %d, applied %d, committed %d", of, at, applied[of], committed[of]))
		}
	}
	return wrong
}

// openTransactions gives those of killed members their timeout.
func openTransactions(c *streamtest.Cluster) (wrong []string) {
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		wrong = nil
		admin := kadm.NewClient(c.Client())
		stable, err := admin.ListCommittedOffsets(c.Context(), input, second, output, table, side, dead)
		if err != nil {
			return []string{err.Error()}
		}
		ends, err := admin.ListEndOffsets(c.Context(), input, second, output, table, side, dead)
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
