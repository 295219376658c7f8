package chaos

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/maphash"

	"github.com/tidwall/btree"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/caudalpay/caudal/processors/accounts"
	"github.com/caudalpay/caudal/processors/payment"
	"github.com/caudalpay/caudal/schemas/codec"
	"github.com/caudalpay/caudal/schemas/topics"
	"github.com/caudalpay/caudal/streams/engine"
	"github.com/caudalpay/caudal/streams/topology"
)

// oracle folds the commands of one partition, in their order, through the pure functions of processors/, and so knows what
// must stand everywhere. It shares with the engine what a durable format is and nothing else: no store, no transaction, no
// offset.
type oracle struct {
	partition, partitions int32
	seed                  maphash.Seed
	documents             *documents

	cells     map[string]*accounts.Cell
	side      map[string][]byte // by key in the side topic
	due       btree.Set[string]
	directory map[string]uint64
	cards     map[string]uint64 // of the house, as the directory of cards has them
	decisions []uint64          // digest of what was decided, by command offset; 0: no command stands there
	commands  int64
	outside   int64 // commands that were not sent by the engine
	emitted   sums  // commands and orders, by topic and partition
	orders    map[string]int64
}

// place of emissions.
type place struct {
	topic     string
	partition int32
}

// sum of records as a set: how many, and their digests added up.
type sum struct {
	count  int64
	digest uint64
}

type sums map[place]sum

func (s sums) add(at place, by int64, digest uint64) {
	x := s[at]
	x.count += by
	x.digest += uint64(by) * digest //nolint:gosec // by is 1 or -1
	s[at] = x
}

func newOracle(partition, partitions int32, seed maphash.Seed, docs *documents) *oracle {
	return &oracle{
		partition: partition, partitions: partitions, seed: seed, documents: docs,
		cells: map[string]*accounts.Cell{}, side: map[string][]byte{}, directory: map[string]uint64{}, cards: map[string]uint64{}, emitted: sums{}, orders: map[string]int64{},
	}
}

// decide folds the next command.
func (o *oracle) decide(key string, offset int64, value []byte) error {
	cmd, envelope, err := codec.DecodeCommand(value)
	if err != nil {
		return fmt.Errorf("decoding command: %w", err)
	}
	o.commands++
	if sentByEngine(key, cmd.Kind) {
		o.emitted.add(place{topics.Commands, o.partition}, -1, o.digest(key, value))
	} else {
		o.outside++
	}
	snapshot, err := o.snapshot(key, &cmd)
	if err != nil {
		return err
	}
	w, out, err := accounts.Apply(snapshot, cmd, payment.Meta{Key: key, Topic: topics.Commands, Partition: o.partition, Offset: offset})
	if err != nil {
		return fmt.Errorf("deciding: %w", err)
	}
	decision, err := codec.EncodeDecision(&w.Decision, codec.Seal{Sealed: envelope.Sealed})
	if err != nil {
		return fmt.Errorf("encoding decision: %w", err)
	}
	for int64(len(o.decisions)) <= offset {
		o.decisions = append(o.decisions, 0)
	}
	o.decisions[offset] = o.digest(key, decision) | 1
	if err := o.keep(key, &w); err != nil {
		return err
	}
	return o.send(out, envelope)
}

// sentByEngine tells the commands that follow from decisions: also an opening that was passed on by the customer's key.
func sentByEngine(key string, k payment.Kind) bool {
	switch k {
	case payment.KindExpire, payment.KindCounterLeg, payment.KindLegResult, payment.KindReleaseClaim:
		return true
	case payment.KindOpenAccount, payment.KindSetKYCLevel:
		return !payment.IsCustomerKey(key)
	default:
		return false
	}
}

func (o *oracle) digest(key string, value []byte) uint64 {
	var h maphash.Hash
	h.SetSeed(o.seed)
	_, _ = h.WriteString(key)
	_ = h.WriteByte(0)
	_, _ = h.Write(value)
	return h.Sum64()
}

func own(key, kind, id string) string {
	return string(engine.SideKey{Scope: engine.ScopeKey, Key: key, Kind: kind, ID: id}.Encode())
}

func shared(kind, id string) string {
	return string(engine.SideKey{Scope: engine.ScopePartition, Kind: kind, ID: id}.Encode())
}

// snapshot is what the command is decided on.
func (o *oracle) snapshot(key string, cmd *payment.Command) (s accounts.Snapshot, err error) {
	s.Cell = o.cells[key]
	for _, k := range accounts.Reads(*cmd, key) {
		switch k.Kind {
		case accounts.KeyPayment:
			s.Payment, err = decoded(o.side[own(key, topology.PaymentKind, k.ID)], codec.DecodePaymentRecord)
		case accounts.KeyRelated:
			s.Related, err = decoded(o.side[own(key, topology.PaymentKind, k.ID)], codec.DecodePaymentRecord)
		case accounts.KeyQuote:
			s.Quote, err = decoded(o.side[own(key, topology.PaymentKind, k.ID)], codec.DecodePaymentRecord)
		case accounts.KeyCommand:
			s.Command, err = decoded(o.side[own(key, topology.CommandKind, k.ID)], codec.DecodeCommandRecord)
		case accounts.KeyLeg:
			s.Leg, err = decoded(o.side[own(key, topology.LegKind, k.ID)], codec.DecodeLegRecord)
		case accounts.KeyParty:
			s.PartySeen = o.side[own(key, topology.PartyKind, k.ID)] != nil
		case accounts.KeyDue:
			s.LastMinute, s.Due = o.dueBy(cmd.Tick.Minute)
		default:
			err = o.documents.into(&s, k)
		}
		if err != nil {
			return s, err
		}
	}
	return s, nil
}

func decoded[T any](b []byte, decode func([]byte) (T, error)) (*T, error) {
	if b == nil {
		return nil, nil //nolint:nilnil // absence is an answer
	}
	v, err := decode(b)
	if err != nil {
		return nil, fmt.Errorf("decoding a record of our own: %w", err)
	}
	return &v, nil
}

// dueBy lists what a tick takes out, in order.
func (o *oracle) dueBy(minute int64) (last int64, list []accounts.Due) {
	if b := o.side[shared(topology.TickKind, "")]; b != nil {
		last = int64(binary.BigEndian.Uint64(b)) //nolint:gosec // written below
	}
	if minute <= last {
		return last, nil
	}
	o.due.Scan(func(id string) bool {
		d := parseDue(id)
		if d.AtUS > accounts.TickReachUS(minute) || len(list) == accounts.DuePerTickMax {
			return false
		}
		list = append(list, d)
		return true
	})
	return last, list
}

// keep takes over what a decision changed.
func (o *oracle) keep(key string, w *accounts.Writes) error {
	if w.Cell != nil {
		cell := *w.Cell // where Apply made it, it keeps all that it was decided on, the cell before among it
		o.cells[key] = &cell
	}
	present := []byte{codec.Version}
	put := func(at string, value []byte, err error) error {
		o.side[at] = value
		return err
	}
	var err error
	for i := range w.Payments {
		at := own(key, topology.PaymentKind, w.Payments[i].Identity)
		if w.Payments[i].Record == nil {
			delete(o.side, at)
			continue
		}
		b, failed := codec.EncodePaymentRecord(w.Payments[i].Record)
		err = firstOf(err, put(at, b, failed))
	}
	if w.Command != nil {
		b, failed := codec.EncodeCommandRecord(&w.Command.Record)
		err = firstOf(err, put(own(key, topology.CommandKind, w.Command.CommandID), b, failed))
	}
	if w.Leg != nil {
		if at := own(key, topology.LegKind, w.Leg.Identity); w.Leg.Record == nil {
			delete(o.side, at)
		} else {
			b, failed := codec.EncodeLegRecord(w.Leg.Record)
			err = firstOf(err, put(at, b, failed))
		}
	}
	if len(w.Party) > 0 {
		o.side[own(key, topology.PartyKind, string(w.Party))] = present
	}
	for _, d := range w.DueRemove {
		o.due.Delete(dueID(d))
		delete(o.side, shared(topology.DueKind, dueID(d)))
	}
	for _, d := range w.DueAdd {
		o.due.Insert(dueID(d))
		o.side[shared(topology.DueKind, dueID(d))] = present
	}
	if w.Minute != nil {
		o.side[shared(topology.TickKind, "")] = binary.BigEndian.AppendUint64(nil, uint64(*w.Minute)) //nolint:gosec // a minute of our time
	}
	return err
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return fmt.Errorf("encoding what the oracle knows: %w", err)
		}
	}
	return nil
}

// send notes what must leave with a decision. Nobody waits for answers.
func (o *oracle) send(out []accounts.Emission, envelope codec.Envelope) error {
	for _, e := range out {
		switch {
		case e.Command != nil:
			var travels codec.Envelope
			if e.Command.Forwarded {
				travels = envelope
			}
			b, err := codec.EncodeCommand(&e.Command.Command, travels)
			if err != nil {
				return fmt.Errorf("encoding command: %w", err)
			}
			o.emitted.add(place{topics.Commands, topics.Partition([]byte(e.Command.Key), o.partitions)}, 1, o.digest(e.Command.Key, b))
		case e.Directory != nil:
			b, err := codec.EncodeDirectoryEntry(e.Directory)
			if err != nil {
				return fmt.Errorf("encoding directory entry: %w", err)
			}
			o.directory[string(e.Directory.Account)] = o.digest(string(e.Directory.Account), b)
		case e.Card != nil:
			b, err := codec.EncodeCardEntry(e.Card)
			if err != nil {
				return fmt.Errorf("encoding card entry: %w", err)
			}
			o.cards[string(e.Card.Card)] = o.digest(string(e.Card.Card), b)
		case e.Order != nil:
			b, err := codec.EncodeOrder(e.Order, envelope.Sealed)
			if err != nil {
				return fmt.Errorf("encoding order: %w", err)
			}
			o.emitted.add(place{topics.RailsOrders, o.partition}, 1, o.digest(string(e.Order.Account), b))
			o.orders[e.Order.OrderID]++
		}
	}
	return nil
}

// chained is the head of a partition's chain after its last decision.
func chained(last []byte) []byte {
	head := sha256.Sum256(last)
	return head[:]
}

// Fields of the decision.
const (
	commandPartitionField = 12
	commandOffsetField    = 13
	previousHashField     = 34
)

// decision as it stands in the log. bare is all of it but the digest of the one before it: after a wrong one, those behind
// it can still be right.
type decision struct {
	partition, offset int64 // of the command
	bare, previous    []byte
}

func parseDecision(b []byte) (d decision, err error) {
	d.bare = make([]byte, 0, len(b))
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return d, fmt.Errorf("decoding decision: %w", protowire.ParseError(n))
		}
		m := protowire.ConsumeFieldValue(number, kind, b[n:])
		if m < 0 {
			return d, fmt.Errorf("decoding decision: %w", protowire.ParseError(m))
		}
		switch v, _ := protowire.ConsumeVarint(b[n:]); number {
		case commandPartitionField:
			d.partition = int64(v) //nolint:gosec // two's complement, as the wire has it
		case commandOffsetField:
			d.offset = int64(v) //nolint:gosec // as above
		default:
		}
		if number == previousHashField {
			d.previous, _ = protowire.ConsumeBytes(b[n:])
		} else {
			d.bare = append(d.bare, b[:n+m]...)
		}
		b = b[n+m:]
	}
	return d, nil
}

// The id of a due entry: time, account, payment, purpose, as docs/domain.md and the side topic have it.
const (
	dueTime    = 8
	dueAccount = 24
	duePayment = 43
)

func dueID(d accounts.Due) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(d.AtUS)) //nolint:gosec // times are positive
	return string(append(append(append(b, d.Account...), d.Payment...), byte(d.Purpose)))
}

func parseDue(id string) accounts.Due {
	return accounts.Due{
		AtUS:    int64(binary.BigEndian.Uint64([]byte(id[:dueTime]))), //nolint:gosec // dueID wrote it
		Account: payment.AccountID(id[dueTime : dueTime+dueAccount]), Payment: payment.ID(id[dueTime+dueAccount : dueTime+dueAccount+duePayment]),
		Purpose: payment.ExpirePurpose(id[len(id)-1]),
	}
}
