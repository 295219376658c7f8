package broker

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// kfake writes the markers of a transaction one partition after the other. A broker that dies among them leaves a
// transaction committed in some partitions and open in others, and drops the open part at its next start. mend ends
// every open transaction first, the same way everywhere: committed if any partition has the commit marker, else aborted.
// It also fences the producers of these transactions, so that none goes on in the middle of one. What mend cannot give
// back are the group offsets of a commit that it completes: they were in memory. The streams worker finds that out.

// The parts of a record batch's header that are needed (Kafka's message format, version 2).
const (
	batchHeader      = 61
	transactionalBit = 0x10
	controlBit       = 0x20
)

// transaction is one transaction of one producer: with protocol 2 each has an epoch of its own.
type transaction struct {
	producer int64
	epoch    int16
}

// openPartition is a partition whose log ends inside transactions.
type openPartition struct {
	segment string // path of the last segment, without its suffix
	next    int64  // the log's end
	leader  int32
	open    map[transaction]bool
}

// mended is what was found and done.
type mended struct{ committed, aborted int }

func mend(dir string, log *slog.Logger) error {
	folders, err := filepath.Glob(filepath.Join(dir, "partitions", "*"))
	if err != nil {
		return fmt.Errorf("listing partitions: %w", err)
	}
	var partitions []*openPartition
	committed := map[transaction]bool{}
	for _, folder := range folders {
		p, err := scanPartition(folder, committed)
		if err != nil {
			return fmt.Errorf("reading %s: %w", folder, err)
		}
		if len(p.open) > 0 {
			partitions = append(partitions, p)
		}
	}
	// Fenced first: should this die half-way, the next start finds the rest still open.
	fence := map[int64]int16{}
	for _, p := range partitions {
		for t := range p.open {
			fence[t.producer] = max(fence[t.producer], t.epoch+1)
		}
	}
	if err := fenceProducers(filepath.Join(dir, "pids.log"), fence); err != nil {
		return fmt.Errorf("fencing producers: %w", err)
	}
	var done mended
	for _, commit := range []bool{true, false} { // a commit that is cut short here must still be recognised as one
		for _, p := range partitions {
			n, err := p.end(committed, commit)
			if err != nil {
				return fmt.Errorf("ending transactions in %s: %w", p.segment, err)
			}
			if commit {
				done.committed += n
			} else {
				done.aborted += n
			}
		}
	}
	log.Warn("the broker was not stopped in order; its open transactions are ended", "committed", done.committed, "aborted", done.aborted)
	return nil
}

// scanPartition finds what is open at the end of a partition and notes the commits it meets. It cuts off a batch that
// was not written to its end, and completes the index, without which a batch would pass for one outside transactions.
func scanPartition(folder string, committed map[transaction]bool) (*openPartition, error) {
	names, err := filepath.Glob(filepath.Join(folder, "*.dat"))
	if err != nil {
		return nil, err
	}
	slices.SortFunc(names, func(a, b string) int { return int(base(a) - base(b)) })
	p := &openPartition{open: map[transaction]bool{}}
	for _, name := range names {
		p.segment = strings.TrimSuffix(name, ".dat")
		raw, err := os.ReadFile(name) //nolint:gosec // the broker's own folder
		if err != nil {
			return nil, err
		}
		whole, index := p.scan(raw, committed)
		if whole < len(raw) {
			if err := os.Truncate(name, int64(whole)); err != nil {
				return nil, err
			}
		}
		if err := completeIndex(p.segment+".idx", index); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func base(name string) int64 {
	n, _ := strconv.ParseInt(strings.TrimSuffix(filepath.Base(name), ".dat"), 10, 64) // kfake's own names
	return n
}

// scan reads batches up to the first that is not whole. It returns where that begins, and the index as it should be.
func (p *openPartition) scan(raw []byte, committed map[transaction]bool) (whole int, index []byte) {
	for {
		b := raw[whole:]
		if len(b) < batchHeader {
			return whole, index
		}
		size := 12 + int(int32(binary.BigEndian.Uint32(b[8:]))) //nolint:gosec // signed on the wire
		if size < batchHeader || size > len(b) || crc32.Checksum(b[21:size], castagnoli()) != binary.BigEndian.Uint32(b[17:]) {
			return whole, index
		}
		b = b[:size]
		whole += size
		attributes := binary.BigEndian.Uint16(b[21:])
		p.next = int64(binary.BigEndian.Uint64(b)) + int64(binary.BigEndian.Uint32(b[23:])) + 1          //nolint:gosec // offsets
		p.leader = int32(binary.BigEndian.Uint32(b[12:]))                                                //nolint:gosec // signed on the wire
		t := transaction{int64(binary.BigEndian.Uint64(b[43:])), int16(binary.BigEndian.Uint16(b[51:]))} //nolint:gosec // signed on the wire
		within := attributes&transactionalBit != 0 && attributes&controlBit == 0
		switch {
		case within:
			p.open[t] = true
		case attributes&controlBit != 0:
			// A coordinator that aborts for a producer does so under a later epoch.
			for other := range p.open {
				if other.producer == t.producer && other.epoch <= t.epoch {
					delete(p.open, other)
				}
			}
			if isCommit(b[batchHeader:]) {
				committed[t] = true
			}
		}
		index = append(index, indexEntry(p.leader, int64(binary.BigEndian.Uint64(b[35:])), within)...) //nolint:gosec // a time
	}
}

func isCommit(record []byte) bool {
	var r kmsg.Record
	var key kmsg.ControlRecordKey
	return r.ReadFrom(record) == nil && key.ReadFrom(r.Key) == nil && key.Type == kmsg.ControlRecordKeyTypeCommit
}

// end writes the markers of this partition's open transactions that commit, or of those that do not.
func (p *openPartition) end(committed map[transaction]bool, commit bool) (n int, err error) {
	for t := range p.open {
		if committed[t] != commit {
			continue
		}
		now := time.Now().UnixMilli()
		if err := appendFile(p.segment+".idx", indexEntry(p.leader, now, false)); err != nil {
			return n, err
		}
		if err := appendFile(p.segment+".dat", p.marker(t, commit, now)); err != nil {
			return n, err
		}
		p.next++
		n++
	}
	return n, nil
}

func (p *openPartition) marker(t transaction, commit bool, now int64) []byte {
	key := kmsg.ControlRecordKey{Type: kmsg.ControlRecordKeyTypeAbort}
	if commit {
		key.Type = kmsg.ControlRecordKeyTypeCommit
	}
	var end kmsg.EndTxnMarker
	record := kmsg.Record{Key: key.AppendTo(nil), Value: end.AppendTo(nil)}
	record.Length = int32(len(record.AppendTo(nil)) - 1) //nolint:gosec // some twenty bytes: its own length takes one
	b := kmsg.RecordBatch{
		FirstOffset: p.next, PartitionLeaderEpoch: p.leader, Magic: 2, Attributes: transactionalBit | controlBit,
		FirstTimestamp: now, MaxTimestamp: now, ProducerID: t.producer, ProducerEpoch: t.epoch, FirstSequence: -1,
		NumRecords: 1, Records: record.AppendTo(nil),
	}
	raw := b.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[8:], uint32(len(raw)-12)) //nolint:gosec // some eighty bytes
	binary.BigEndian.PutUint32(raw[17:], crc32.Checksum(raw[21:], castagnoli()))
	return raw
}

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// indexEntry is kfake's entry of one batch.
func indexEntry(leader int32, newest int64, within bool) []byte {
	b := make([]byte, 15)
	b[0] = 1
	binary.LittleEndian.PutUint32(b[2:], uint32(leader)) //nolint:gosec // signed on disk
	binary.LittleEndian.PutUint64(b[6:], uint64(newest)) //nolint:gosec // signed on disk
	if within {
		b[14] = 1
	}
	b[1] = byte(crc32.Checksum(b[2:], castagnoli())) //nolint:gosec // kfake keeps the lowest byte
	return b
}

// completeIndex adds the entries that are missing at the end of an index, and drops those that are too many.
func completeIndex(path string, want []byte) error {
	have, err := os.ReadFile(path) //nolint:gosec // the broker's own folder
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	const entry = 15
	whole := min(len(have)/entry*entry, len(want))
	if whole == len(want) && len(have) == len(want) {
		return nil
	}
	return os.WriteFile(path, append(bytes.Clone(have[:whole]), want[whole:]...), 0o644) //nolint:gosec // as kfake writes it
}

// fenceProducers raises epochs in kfake's log of producers.
func fenceProducers(path string, epochs map[int64]int16) error {
	if len(epochs) == 0 {
		return nil
	}
	raw, err := os.ReadFile(path) //nolint:gosec // the broker's own folder
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	whole := 0 // entries: length, checksum, 4 bytes each, little endian; version and JSON
	for rest := raw; len(rest) >= 10; rest = raw[whole:] {
		n := int(binary.LittleEndian.Uint32(rest))
		if n < 2 || 8+n > len(rest) || crc32.Checksum(rest[8:8+n], castagnoli()) != binary.LittleEndian.Uint32(rest[4:]) {
			break
		}
		whole += 8 + n
	}
	if whole < len(raw) {
		if err := os.Truncate(path, int64(whole)); err != nil {
			return err
		}
	}
	for producer, epoch := range epochs {
		body, err := json.Marshal(map[string]any{"type": "timeout", "pid": producer, "epoch": epoch})
		if err != nil {
			return err
		}
		entry := binary.LittleEndian.AppendUint32(nil, uint32(2+len(body))) //nolint:gosec // short
		entry = binary.LittleEndian.AppendUint32(entry, 0)
		entry = append(binary.LittleEndian.AppendUint16(entry, 1), body...)
		binary.LittleEndian.PutUint32(entry[4:], crc32.Checksum(entry[8:], castagnoli()))
		if err := appendFile(path, entry); err != nil {
			return err
		}
	}
	return nil
}

func appendFile(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644) //nolint:gosec // as kfake writes it
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Close())
}
