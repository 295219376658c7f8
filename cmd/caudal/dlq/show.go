package dlq

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/schemas/topics"
	"github.com/caudalpay/caudal/streams/engine"
)

// stuck is one record in full. What stands in it is told as bytes, or decoded without what is sealed: who wrote a record
// that cannot be decoded may have put anything into it.
type stuck struct {
	State     string          `json:"state"` // parked, dead or discarded
	Account   string          `json:"account"`
	Partition int32           `json:"partition"`
	Offset    int64           `json:"offset"`
	Time      time.Time       `json:"time"`
	Reason    string          `json:"reason"` // empty: it queues behind one that failed
	By        string          `json:"discarded_by,omitempty"`
	Why       string          `json:"discarded_why,omitempty"`
	Headers   []headerBytes   `json:"headers"`
	Null      bool            `json:"null"` // there is no value
	Left      bool            `json:"value_left"`
	Bytes     int             `json:"bytes"`
	Hex       string          `json:"hex"`
	Command   json.RawMessage `json:"command,omitempty"` // where it can be decoded
	Warning   string          `json:"warning,omitempty"` // what discarding it would leave behind
}

type headerBytes struct {
	Name string `json:"name"`
	Hex  string `json:"hex"`
}

func (o *options) showCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show PARTITION/OFFSET | ACCOUNT",
		Short: "Show one record: a place of the command log, or the first that an account waits for",
		Long: "Shows a parked record or a dead letter with its bytes in hexadecimal, and decoded where it can be. What is sealed\n" +
			"stays sealed. An argument without a stroke is an account or a customer's key: then the first record it waits for.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd, func(ctx context.Context, in *installation) error {
				s, err := in.find(ctx, cmd.ErrOrStderr(), args[0])
				if err != nil {
					return err
				}
				if o.output == "json" {
					return writeJSON(cmd.OutOrStdout(), s)
				}
				return s.print(cmd.OutOrStdout())
			})
		},
	}
}

// find looks among the parked records, then among the dead letters.
func (in *installation) find(ctx context.Context, draw io.Writer, what string) (*stuck, error) {
	if strings.Contains(what, "/") {
		var at place
		if _, err := fmt.Sscanf(what, "%d/%d", &at.partition, &at.offset); err != nil || at.String() != what || at.partition < 0 || at.partition >= in.partitions {
			return nil, fmt.Errorf("%q is not PARTITION/OFFSET with a partition below %d, as `caudal dlq list` shows it", what, in.partitions)
		}
		s, err := in.findParked(ctx, draw, at.partition, func(_ string, offset int64) bool { return offset == at.offset })
		if err != nil || s != nil {
			return s, err
		}
		if s, err = in.findDead(ctx, draw, at); err == nil && s == nil {
			err = fmt.Errorf("offset %d of partition %d is neither parked nor a dead letter: `caudal dlq list` shows what is", at.offset, at.partition)
		}
		return s, err
	}
	s, err := in.findParked(ctx, draw, in.home(what), func(key string, _ int64) bool { return key == what })
	if err == nil && s == nil {
		err = notParked(what)
	}
	return s, err
}

func notParked(key string) error {
	return fmt.Errorf("%s is not parked: `caudal dlq list` shows what is", key)
}

// findParked gives the first parked record that fits, nil if none does.
func (in *installation) findParked(ctx context.Context, draw io.Writer, partition int32, fits func(key string, offset int64) bool) (*stuck, error) {
	found := map[int64]*stuck{}
	err := in.read(ctx, draw, topics.AccountsSide, partition, func(r *kgo.Record) error {
		k, err := engine.DecodeSideKey(r.Key)
		switch {
		case errors.Is(err, engine.ErrFence):
			return nil
		case err != nil:
			return fmt.Errorf("reading %s: %w", r.Topic, err)
		case k.Kind != engine.ParkedKind:
			return nil
		}
		offset, err := engine.ParkedOffset(k.ID)
		switch {
		case err != nil:
			return fmt.Errorf("reading %s: %w", r.Topic, err)
		case !fits(k.Key, offset):
		case r.Value == nil:
			delete(found, offset)
		default:
			found[offset] = newParked(k.Key, place{partition, offset}, r.Value)
		}
		return nil
	})
	var first *stuck
	for _, s := range found {
		if first == nil || s.Offset < first.Offset {
			first = s
		}
	}
	return first, err
}

func newParked(key string, at place, stored []byte) *stuck {
	s := &stuck{State: "parked", Account: key, Partition: at.partition, Offset: at.offset}
	p, err := engine.DecodeParked(stored)
	if err != nil {
		s.Reason = err.Error()
		s.setValue(stored)
		return s
	}
	s.Time, s.Reason, s.Left = p.Timestamp.UTC(), p.Reason, p.ValueLeft
	s.setHeaders(p.Headers)
	s.setValue(p.Value)
	return s
}

func (in *installation) findDead(ctx context.Context, draw io.Writer, at place) (found *stuck, err error) {
	err = in.read(ctx, draw, topics.DeadLetters, at.partition, func(r *kgo.Record) error {
		l, err := newLetter(r)
		if err != nil || l.place != at {
			return err
		}
		found = &stuck{State: "dead", Account: l.key, Partition: at.partition, Offset: at.offset, Time: l.at.UTC(), Reason: l.reason, By: l.by, Why: l.why}
		if l.by != "" {
			found.State = "discarded"
		}
		var own []kgo.RecordHeader
		for _, h := range r.Headers {
			found.Left = found.Left || h.Key == engine.DeadValueLeft
			if !strings.HasPrefix(h.Key, "dead.") {
				own = append(own, h)
			}
		}
		found.setHeaders(own)
		found.setValue(r.Value)
		return nil
	})
	return found, err
}

func (s *stuck) setHeaders(headers []kgo.RecordHeader) {
	s.Headers = []headerBytes{}
	for _, h := range headers {
		s.Headers = append(s.Headers, headerBytes{h.Key, hex.EncodeToString(h.Value)})
	}
}

// setValue tells the bytes, and the command in them if there is one. What is sealed is replaced by its length.
func (s *stuck) setValue(value []byte) {
	s.Null, s.Bytes, s.Hex = value == nil && !s.Left, len(value), hex.EncodeToString(value)
	c := &paymentsv1.Command{}
	if len(value) == 0 || proto.Unmarshal(value, c) != nil || c.GetKind() == 0 {
		return
	}
	s.Warning = unsettled(c)
	if sealed := c.GetSealed(); sealed != nil {
		sealed.Ciphertext = nil
	}
	if text, err := protojson.Marshal(c); err == nil {
		s.Command = text
	}
}

// unsettled says what never ends if this command is dropped: what the house asks of itself has nobody who would repeat it.
func unsettled(c *paymentsv1.Command) string {
	switch {
	case c.GetCounterLeg() != nil:
		return "it is the payee's leg of a transfer: discarded, the payer's money stays in transit for ever"
	case c.GetLegResult() != nil:
		return "it is the end of a transfer: discarded, the transfer stays processing for ever, and what was refused is not given back"
	case c.GetReleaseClaim() != nil:
		return "it frees a customer: discarded, the customer can never open another account"
	case c.GetExpire() != nil:
		return "it is a deadline, which comes once: discarded, a payment in review holds its money until somebody approves or declines it, " +
			"and an authorisation until it is captured or voided"
	case c.GetRailAnswer() != nil:
		return "it is what a rail says it did: discarded, the order waits and its money stays held unless the rail says it again"
	case c.GetDispute() != nil:
		return "it is what a card network says of a dispute: discarded, what it moved is not in the books unless it is told again"
	default:
		return ""
	}
}

func (s *stuck) print(w io.Writer) error {
	t := newTable(w)
	t.AppendRows([]table.Row{
		{"state", s.State}, {"account", s.Account}, {"place", place{s.Partition, s.Offset}}, {"time", s.Time.Format(time.RFC3339Nano)},
	})
	reason := s.Reason
	if reason == "" {
		reason = "it queues behind one that failed"
	}
	t.AppendRow(table.Row{"reason", reason})
	for _, line := range [][2]string{{"discarded by", s.By}, {"why", s.Why}, {"warning", s.Warning}} {
		if line[1] != "" {
			t.AppendRow(table.Row{line[0], line[1]})
		}
	}
	for _, h := range s.Headers {
		t.AppendRow(table.Row{"header " + h.Name, h.Hex})
	}
	switch {
	case s.Left:
		t.AppendRow(table.Row{"value", "too large to be copied: it is at its place on " + topics.Commands})
	case s.Null:
		t.AppendRow(table.Row{"value", "null"})
	default:
		t.AppendRow(table.Row{"value", fmt.Sprintf("%d bytes", s.Bytes)})
	}
	t.Render()
	if s.Command != nil {
		var text strings.Builder
		if err := writeJSON(&text, s.Command); err != nil {
			return err
		}
		if err := say(w, "command, without what is sealed:\n"+text.String()); err != nil {
			return err
		}
	}
	return say(w, lines(s.Hex))
}

// shownMax is how many bytes a terminal gets to see.
const shownMax = 4 << 10

// lines breaks hexadecimal digits into lines of 32 bytes with their position.
func lines(digits string) string {
	var b strings.Builder
	for at := 0; at < min(len(digits), 2*shownMax); at += 64 {
		fmt.Fprintf(&b, "%06x  %s\n", at/2, digits[at:min(at+64, len(digits))])
	}
	if more := len(digits)/2 - shownMax; more > 0 {
		fmt.Fprintf(&b, "%d bytes more: -o json shows all\n", more)
	}
	return strings.TrimSuffix(b.String(), "\n")
}
