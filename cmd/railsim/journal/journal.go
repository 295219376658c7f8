// Package journal is the simulator's memory: one append-only file in which each line is something that really happened at an
// acquirer or the bank, or a fault that really fell. All that answers is written here first, so that a kill -9 loses nothing
// that was answered. Everything else (books, charges, transfers, webhooks) is folded from it again at the start.
//
// It holds against the death of the process, not of the machine: it does not call fsync, since nobody's money depends on it.
package journal

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Kind says what happened.
type Kind string

// Kinds of entries.
const (
	Authorized Kind = "authorized" // a card's money is promised
	Declined   Kind = "declined"
	Captured   Kind = "captured" // promised money is taken
	Voided     Kind = "voided"   // let go again: promised, or taken on the same day
	Refunded   Kind = "refunded" // given back on a later day
	Disputed   Kind = "disputed" // its holder contests it, or a dispute came to another stage

	Accepted Kind = "accepted" // the bank has a transfer
	Sent     Kind = "sent"     // its money has left
	Paid     Kind = "paid"     // it has arrived
	Failed   Kind = "failed"   // it never left
	Returned Kind = "returned" // it came back

	Answered Kind = "answered" // an answer that a repeat gets again
	Fault    Kind = "fault"    // one that fell
)

// Entry is one line. AmountMinor is in minor units of Currency.
type Entry struct {
	Seq         int64           `json:"seq"`
	At          time.Time       `json:"at"`
	Kind        Kind            `json:"kind"`
	Connector   string          `json:"connector"`
	Reference   string          `json:"reference"`           // the client's name of the order at this connector
	Order       string          `json:"order,omitempty"`     // the client's order, where it told one besides the reference
	Charge      string          `json:"charge,omitempty"`    // the connector's own id of the charge or transfer
	Operation   string          `json:"operation,omitempty"` // of the call that led here
	Call        int             `json:"call,omitempty"`      // its number within (connector, reference, operation), from 1
	AmountMinor int64           `json:"amount_minor,omitempty"`
	Currency    string          `json:"currency,omitempty"`
	Taken       bool            `json:"taken,omitempty"` // voided: the money had been captured
	Event       int             `json:"event,omitempty"` // number of its webhook within (connector, reference); 0: none
	Name        string          `json:"name,omitempty"`  // answered: the idempotency key; fault: its kind
	State       json.RawMessage `json:"state,omitempty"` // the connector's own record after it
}

// OrderID is what the books count under: the order, or where none was told the reference.
func (e Entry) OrderID() string {
	if e.Order != "" {
		return e.Order
	}
	return e.Reference
}

// Log is the file. Listeners hear each entry once, in order, under the log's lock: they must not append.
type Log struct {
	now       func() time.Time
	listeners []func(e Entry, replayed bool)

	mu     sync.Mutex
	file   *os.File // nil: memory only
	size   int64
	seq    int64
	broken error // a failed write that could not be taken back
}

// Open replays dir/journal.ndjson to the listeners and goes on behind it. An empty dir keeps nothing.
func Open(dir string, now func() time.Time, listeners ...func(e Entry, replayed bool)) (*Log, error) {
	l := &Log{now: now, listeners: listeners}
	if dir == "" {
		return l, nil
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("making the data folder: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "journal.ndjson"), os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // the operator's folder
	if err != nil {
		return nil, fmt.Errorf("opening the journal: %w", err)
	}
	l.file = f
	if err := l.replay(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return l, nil
}

// replay reads what is there. A last line without an end was never answered: it is cut off.
func (l *Log) replay() error {
	r := bufio.NewReaderSize(l.file, 1<<20)
	for {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("reading the journal: %w", err)
		}
		var e Entry
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("reading the journal at byte %d: %w", l.size, err)
		}
		if e.Seq != l.seq+1 {
			return fmt.Errorf("reading the journal at byte %d: entry %d follows entry %d", l.size, e.Seq, l.seq)
		}
		l.seq = e.Seq
		l.size += int64(len(line))
		l.tell(e, true)
	}
	if err := l.file.Truncate(l.size); err != nil {
		return fmt.Errorf("cutting a torn line off the journal: %w", err)
	}
	if _, err := l.file.Seek(l.size, io.SeekStart); err != nil {
		return fmt.Errorf("going to the end of the journal: %w", err)
	}
	return nil
}

func (l *Log) tell(e Entry, replayed bool) {
	for _, listen := range l.listeners {
		listen(e, replayed)
	}
}

// Append writes entries in one piece: all of them are there after a kill, or none. Seq and At are filled in.
func (l *Log) Append(entries ...Entry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken != nil {
		return l.broken
	}
	var lines bytes.Buffer
	encoder := json.NewEncoder(&lines)
	for i := range entries {
		e := &entries[i]
		e.Seq, e.At = l.seq+1+int64(i), l.now().UTC()
		if err := encoder.Encode(e); err != nil {
			return fmt.Errorf("encoding a journal entry: %w", err)
		}
	}
	if err := l.write(lines.Bytes()); err != nil {
		return err
	}
	l.seq += int64(len(entries))
	for _, e := range entries {
		l.tell(e, false)
	}
	return nil
}

func (l *Log) write(lines []byte) error {
	if l.file == nil {
		return nil
	}
	if _, err := l.file.Write(lines); err != nil {
		err = fmt.Errorf("writing the journal: %w", err)
		// Half a line in the middle would make the rest unreadable.
		if cut := errors.Join(l.file.Truncate(l.size), l.rewind()); cut != nil {
			l.broken = errors.Join(err, cut)
		}
		return err
	}
	l.size += int64(len(lines))
	return nil
}

func (l *Log) rewind() error {
	_, err := l.file.Seek(l.size, io.SeekStart)
	return err //nolint:wrapcheck // joined by its only caller
}

// Close closes the file.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	if l.broken == nil {
		l.broken = errors.New("the journal is closed")
	}
	if err := l.file.Close(); err != nil {
		return fmt.Errorf("closing the journal: %w", err)
	}
	return nil
}
