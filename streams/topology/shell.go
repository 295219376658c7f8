package topology

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/caudalpay/caudal/processors/accounts"
	"github.com/caudalpay/caudal/processors/payment"
	"github.com/caudalpay/caudal/schemas/codec"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/schemas/topics"
	"github.com/caudalpay/caudal/streams/engine"
)

// record is what a shell sees of the engine; the tests bring their own.
type record interface {
	Key() string
	Topic() string
	Partition() int32
	Offset() int64
	Value() []byte
	SetValue(value []byte)
	ByKey() side
	ByPartition() side
	LookupWait(table, key string, timeout time.Duration) ([]byte, bool, error)
	Emit(topic, key string, value []byte)
	EmitTo(topic string, partition int32, key string, value []byte)
}

// side reaches side records of one scope.
type side interface {
	Get(kind, id string) []byte
	Put(kind, id string, value []byte)
	Delete(kind, id string)
	Scan(kind, fromID, toID string, limit int) []engine.Entry
}

type engineRecord struct{ *engine.Context }

func (r engineRecord) ByKey() side                      { return r.Side(engine.ScopeKey) }
func (r engineRecord) ByPartition() side                { return r.Side(engine.ScopePartition) }
func (r engineRecord) Emit(topic, key string, v []byte) { r.Context.Emit(topic, key, v) }
func (r engineRecord) EmitTo(topic string, p int32, key string, v []byte) {
	r.Context.EmitTo(topic, p, key, v)
}

// accountsShell is the thin shell around accounts.Apply.
type accountsShell struct {
	partitions int32
	documents  *documents
}

func newAccountsShell(partitions int32) *accountsShell {
	return &accountsShell{partitions: partitions, documents: newDocuments()}
}

// handle decides one record. An error means that nothing of it was done.
func (s *accountsShell) handle(r record, value []byte) error {
	cmd, envelope, err := codec.DecodeCommand(value)
	if err != nil {
		return fmt.Errorf("decoding command: %w", err)
	}
	snapshot, err := s.load(r, &cmd)
	if err != nil {
		return fmt.Errorf("loading %s %s: %w", cmd.Kind, cmd.CommandID, err)
	}
	kept, err := keptSealed(r, &cmd, snapshot.Related)
	if err != nil {
		return fmt.Errorf("loading %s %s: %w", cmd.Kind, cmd.CommandID, err)
	}
	writes, emissions, err := accounts.Apply(snapshot, cmd, payment.Meta{
		Key: r.Key(), Topic: r.Topic(), Partition: r.Partition(), Offset: r.Offset(),
	})
	if err != nil {
		return err //nolint:wrapcheck // Apply names the command
	}
	if err := s.write(r, &writes, envelope, kept); err != nil {
		return fmt.Errorf("writing %s %s: %w", cmd.Kind, cmd.CommandID, err)
	}
	if kept != nil {
		envelope.Sealed = kept // the decision has the request's own; what leaves now is the payment's
	}
	if err := s.emit(r, emissions, &writes.Decision, envelope); err != nil {
		return fmt.Errorf("emitting for %s %s: %w", cmd.Kind, cmd.CommandID, err)
	}
	return nil
}

// keptSealed is what a payment in review keeps for the order that its approval gives.
func keptSealed(r record, cmd *payment.Command, about *payment.Record) (*paymentsv1.Sealed, error) {
	if about == nil || !keepsSealed(about) {
		return nil, nil //nolint:nilnil // it keeps nothing
	}
	return codec.SealedOfPaymentRecord(r.ByKey().Get(PaymentKind, cmd.PaymentID.Identity()))
}

// keepsSealed tells a payment in review that a rail will execute.
func keepsSealed(rec *payment.Record) bool {
	return rec.Status == payment.StatusInReview && rec.Rail != nil
}

// encodePayment writes a payment's record.
func encodePayment(rec *payment.Record, sealed *paymentsv1.Sealed) ([]byte, error) {
	if keepsSealed(rec) {
		return codec.EncodeSealedPaymentRecord(rec, sealed)
	}
	return codec.EncodePaymentRecord(rec)
}

// load collects what the command is decided on.
func (s *accountsShell) load(r record, cmd *payment.Command) (accounts.Snapshot, error) {
	var snapshot accounts.Snapshot
	if b := r.Value(); b != nil {
		cell, err := codec.DecodeCell(b)
		if err != nil {
			return snapshot, fmt.Errorf("decoding cell: %w", err)
		}
		snapshot.Cell = &cell
	}
	own := r.ByKey()
	for _, k := range accounts.Reads(*cmd, r.Key()) {
		var err error
		switch k.Kind {
		case accounts.KeyPayment:
			snapshot.Payment, err = sideRecord(own, PaymentKind, k.ID, codec.DecodePaymentRecord)
		case accounts.KeyRelated:
			snapshot.Related, err = sideRecord(own, PaymentKind, k.ID, codec.DecodePaymentRecord)
		case accounts.KeyQuote:
			snapshot.Quote, err = sideRecord(own, PaymentKind, k.ID, codec.DecodePaymentRecord)
		case accounts.KeyCommand:
			snapshot.Command, err = sideRecord(own, CommandKind, k.ID, codec.DecodeCommandRecord)
		case accounts.KeyLeg:
			snapshot.Leg, err = sideRecord(own, LegKind, k.ID, codec.DecodeLegRecord)
		case accounts.KeyParty:
			snapshot.PartySeen = own.Get(PartyKind, k.ID) != nil
		case accounts.KeyDue:
			err = loadDue(r.ByPartition(), &snapshot, cmd.Tick.Minute)
		default:
			err = s.documents.resolve(&snapshot, r, k)
		}
		if err != nil {
			return snapshot, err
		}
	}
	return snapshot, nil
}

// sideRecord is a record of the account's own, nil where there is none.
func sideRecord[T any](own side, kind, id string, decode func([]byte) (T, error)) (*T, error) {
	b := own.Get(kind, id)
	if b == nil {
		return nil, nil //nolint:nilnil // absence is an answer
	}
	rec, err := decode(b)
	if err != nil {
		return nil, fmt.Errorf("decoding %s record %s: %w", kind, id, err)
	}
	return &rec, nil
}

func loadDue(partition side, s *accounts.Snapshot, minute int64) error {
	if b := partition.Get(TickKind, ""); len(b) == 8 {
		s.LastMinute = int64(binary.BigEndian.Uint64(b)) //nolint:gosec // written from an int64
	} else if b != nil {
		return fmt.Errorf("last minute of %d bytes", len(b))
	}
	if minute < s.LastMinute {
		return nil
	}
	for _, e := range partition.Scan(DueKind, "", dueAfter(accounts.TickReachUS(minute)), accounts.DuePerTickMax) {
		due, err := parseDueID(e.ID)
		if err != nil {
			return err
		}
		s.Due = append(s.Due, due)
	}
	return nil
}

// present is the value of a side record that says nothing but that it is there.
func present() []byte { return []byte{codec.Version} }

// write stores the cell and the side records, and puts the decision on the log.
func (s *accountsShell) write(r record, w *accounts.Writes, envelope codec.Envelope, kept *paymentsv1.Sealed) error {
	if w.Cell != nil {
		b, err := codec.EncodeCell(w.Cell)
		if err != nil {
			return fmt.Errorf("encoding cell: %w", err)
		}
		r.SetValue(b)
	}
	own, partition := r.ByKey(), r.ByPartition()
	for i := range w.Payments {
		p := &w.Payments[i]
		if p.Record == nil {
			own.Delete(PaymentKind, p.Identity)
			continue
		}
		b, err := encodePayment(p.Record, cmp.Or(envelope.Sealed, kept))
		if err != nil {
			return fmt.Errorf("encoding payment record: %w", err)
		}
		own.Put(PaymentKind, p.Identity, b)
	}
	if w.Command != nil {
		b, err := codec.EncodeCommandRecord(&w.Command.Record)
		if err != nil {
			return fmt.Errorf("encoding command record: %w", err)
		}
		own.Put(CommandKind, w.Command.CommandID, b)
	}
	switch {
	case w.Leg == nil:
	case w.Leg.Record == nil:
		own.Delete(LegKind, w.Leg.Identity)
	default:
		b, err := codec.EncodeLegRecord(w.Leg.Record)
		if err != nil {
			return fmt.Errorf("encoding leg record: %w", err)
		}
		own.Put(LegKind, w.Leg.Identity, b)
	}
	if len(w.Party) > 0 {
		own.Put(PartyKind, string(w.Party), present())
	}
	for _, d := range w.DueRemove {
		partition.Delete(DueKind, dueID(d))
	}
	for _, d := range w.DueAdd {
		partition.Put(DueKind, dueID(d), present())
	}
	if w.Minute != nil {
		partition.Put(TickKind, "", binary.BigEndian.AppendUint64(nil, uint64(*w.Minute))) //nolint:gosec // read back the same way
	}
	return s.chain(r, partition, &w.Decision, envelope)
}

// chain puts the decision on the log, tied to the stored bytes of the one before it in its partition.
func (s *accountsShell) chain(r record, partition side, d *accounts.Decision, envelope codec.Envelope) error {
	b, err := codec.EncodeDecision(d, codec.Seal{PreviousHash: partition.Get(ChainKind, ""), Sealed: envelope.Sealed})
	if err != nil {
		return fmt.Errorf("encoding decision: %w", err)
	}
	head := sha256.Sum256(b)
	partition.Put(ChainKind, "", head[:])
	r.EmitTo(topics.Decisions, r.Partition(), r.Key(), b)
	return nil
}

var errEmission = errors.New("emission without content")

func (s *accountsShell) emit(r record, emissions []accounts.Emission, d *accounts.Decision, envelope codec.Envelope) error {
	for i := range emissions {
		e := &emissions[i]
		switch {
		case e.Command != nil:
			var travels codec.Envelope // what the engine asks by itself answers to nobody and carries no personal data
			if e.Command.Forwarded {
				travels = envelope
			}
			b, err := codec.EncodeCommand(&e.Command.Command, travels)
			if err != nil {
				return fmt.Errorf("encoding command: %w", err)
			}
			if e.Command.Command.Kind == payment.KindTick { // of this partition, which its key alone does not lead to
				r.EmitTo(topics.Commands, r.Partition(), e.Command.Key, b)
			} else {
				r.Emit(topics.Commands, e.Command.Key, b)
			}
		case e.Directory != nil:
			b, err := codec.EncodeDirectoryEntry(e.Directory)
			if err != nil {
				return fmt.Errorf("encoding directory entry: %w", err)
			}
			r.Emit(topics.Directory, string(e.Directory.Account), b)
		case e.Card != nil:
			b, err := codec.EncodeCardEntry(e.Card)
			if err != nil {
				return fmt.Errorf("encoding card entry: %w", err)
			}
			r.Emit(topics.Cards, string(e.Card.Card), b)
		case e.Order != nil:
			b, err := codec.EncodeOrder(e.Order, envelope.Sealed)
			if err != nil {
				return fmt.Errorf("encoding order: %w", err)
			}
			r.Emit(topics.RailsOrders, string(e.Order.Account), b)
		case e.Reply:
			if err := s.reply(r, d, envelope.Reply); err != nil {
				return err
			}
		default:
			return errEmission
		}
	}
	return nil
}

// reply answers a caller that waits. An address that no ingress can have is nobody's: the decision stands all the same.
func (s *accountsShell) reply(r record, d *accounts.Decision, to *codec.ReplyAddress) error {
	if to == nil || to.Partition < 0 || to.Partition >= s.partitions {
		return nil
	}
	b, err := codec.EncodeReply(to.ID, d)
	if err != nil {
		return fmt.Errorf("encoding reply: %w", err)
	}
	r.EmitTo(topics.Replies, to.Partition, r.Key(), b)
	return nil
}
