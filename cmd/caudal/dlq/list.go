package dlq

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/schemas/topics"
)

// parkedLine is one parked account or customer.
type parkedLine struct {
	Account   string    `json:"account"` // the key: an account, or a customer
	Partition int32     `json:"partition"`
	Offset    int64     `json:"first_offset"` // of the first command that waits
	Reason    string    `json:"reason"`
	Count     int       `json:"count"`
	Since     time.Time `json:"since"`
	Lag       int64     `json:"lag"`       // records of the partition that the worker has not handled yet
	UnderWay  string    `json:"under_way"` // what an operator has asked for and is not done
}

// deadLine is one dead letter.
type deadLine struct {
	Account   string    `json:"account"` // empty: it has no key
	Partition int32     `json:"partition"`
	Offset    int64     `json:"offset"`
	Reason    string    `json:"reason"`
	At        time.Time `json:"at"`
	By        string    `json:"discarded_by,omitempty"`
	Why       string    `json:"discarded_why,omitempty"`
}

type listing struct {
	Parked []parkedLine `json:"parked"`
	Dead   []deadLine   `json:"dead_letters"`
}

func (o *options) listCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List parked accounts and dead letters",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.run(cmd, func(ctx context.Context, in *installation) error {
				l, err := in.list(ctx, cmd.ErrOrStderr())
				if err != nil {
					return err
				}
				if o.output == "json" {
					return writeJSON(cmd.OutOrStdout(), l)
				}
				return l.print(cmd.OutOrStdout())
			})
		},
	}
}

func (in *installation) list(ctx context.Context, draw io.Writer) (listing, error) {
	l := listing{Parked: []parkedLine{}, Dead: []deadLine{}}
	state, err := in.readParked(ctx, draw, everyPartition)
	if err != nil {
		return l, err
	}
	behind, err := in.lag(ctx)
	if err != nil {
		return l, err
	}
	underWay := map[string]string{}
	for _, a := range state.underWay {
		underWay[string(a.Key)] = fmt.Sprintf("%s by %s", a.Verb, a.By)
	}
	for key, records := range state.records {
		first, p := state.first(key), in.home(key)
		l.Parked = append(l.Parked, parkedLine{
			Account: key, Partition: p, Offset: first, Reason: records[first].reason, Count: len(records), Since: records[first].at.UTC(),
			Lag: behind[p], UnderWay: underWay[key],
		})
	}
	slices.SortFunc(l.Parked, func(a, b parkedLine) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Account, b.Account))
	})
	err = in.read(ctx, draw, topics.DeadLetters, everyPartition, func(r *kgo.Record) error {
		d, err := newLetter(r)
		if err != nil {
			return err
		}
		l.Dead = append(l.Dead, deadLine{d.key, d.partition, d.offset, d.reason, d.at.UTC(), d.by, d.why})
		return nil
	})
	slices.SortFunc(l.Dead, func(a, b deadLine) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
	})
	return l, err
}

// first is the offset that a key waits for.
func (s *parkedState) first(key string) int64 {
	lowest := int64(-1)
	for offset := range s.records[key] {
		if lowest < 0 || offset < lowest {
			lowest = offset
		}
	}
	return lowest
}

func (l listing) print(w io.Writer) error {
	if len(l.Parked) == 0 && len(l.Dead) == 0 {
		return say(w, "nothing is parked, and there are no dead letters")
	}
	t := newTable(w)
	if len(l.Parked) > 0 {
		t.AppendHeader(table.Row{"parked", "first", "reason", "count", "since", "lag", "under way"})
		for _, p := range l.Parked {
			t.AppendRow(table.Row{p.Account, place{p.Partition, p.Offset}, p.Reason, p.Count, p.Since.Format(time.RFC3339), p.Lag, p.UnderWay})
		}
		t.Render()
	}
	if len(l.Dead) > 0 {
		t = newTable(w)
		t.AppendHeader(table.Row{"dead letter", "key", "reason", "at", "discarded by", "why"})
		for _, d := range l.Dead {
			t.AppendRow(table.Row{place{d.Partition, d.Offset}, d.Account, d.Reason, d.At.Format(time.RFC3339), d.By, d.Why})
		}
		t.Render()
	}
	return say(w, "look at one with: caudal dlq show PARTITION/OFFSET")
}

func newTable(w io.Writer) table.Writer {
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.StyleLight)
	t.SetColumnConfigs([]table.ColumnConfig{{Name: "reason", WidthMax: 60}, {Name: "why", WidthMax: 40}})
	return t
}

func say(w io.Writer, line string) error {
	if _, err := fmt.Fprintln(w, line); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	return nil
}
