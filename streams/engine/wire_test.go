package engine_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// fate is what becomes of one request.
type fate uint8

const (
	delivered   fate = iota
	cutBefore        // the connection breaks, the broker never saw the request
	cutAfter         // the broker did it, the connection breaks before the answer
	misanswered      // the broker did it and answers with an error
	deadBefore       // as cutBefore, and the process with all of its connections is gone
	deadAfter
)

// doom is a fate, and the error of a wrong answer: for the request as a whole or for each thing it names.
type doom struct {
	fate     fate
	err      *kerr.Error
	entities bool
}

var errCut = errors.New("connection cut")

// wire is how one life of a process reaches the broker. It knows where one request ends and the next one begins.
type wire struct {
	dialling func(ctx context.Context, network, host string) (net.Conn, error)
	judge    func(kmsg.Key) doom // called once for each request
	onDeath  func()

	mu     sync.Mutex
	conns  map[*wireConn]struct{}
	dead   bool
	pulled chan struct{} // closed when the plug is in again; nil while it is
}

func newWire(dial func(context.Context, string, string) (net.Conn, error), judge func(kmsg.Key) doom, onDeath func()) *wire {
	return &wire{dialling: dial, judge: judge, onDeath: onDeath, conns: map[*wireConn]struct{}{}}
}

// dial takes some time: the client asks for a producer id again and again, without any pause, while it cannot connect, and
// time would stand still.
func (w *wire) dial(ctx context.Context, network, host string) (net.Conn, error) {
	time.Sleep(time.Millisecond)
	conn, err := w.dialling(ctx, network, host)
	if err != nil {
		return nil, err
	}
	c := &wireConn{Conn: conn, wire: w, gone: make(chan struct{})}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.dead {
		w.conns[c] = struct{}{}
		return c, nil
	}
	_ = conn.Close()
	return nil, errCut
}

// die is the end of the process as the broker sees it.
func (w *wire) die() {
	w.mu.Lock()
	conns := make([]*wireConn, 0, len(w.conns))
	for c := range w.conns {
		conns = append(conns, c)
	}
	died := !w.dead
	w.dead = true
	w.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
	}
	if died && w.onDeath != nil {
		w.onDeath()
	}
}

// unplug holds back everything both ways, until plug.
func (w *wire) unplug() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pulled == nil {
		w.pulled = make(chan struct{})
	}
}

func (w *wire) plug() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pulled != nil {
		close(w.pulled)
		w.pulled = nil
	}
}

// wireConn is one connection; its client writes one request at a time and reads from one goroutine.
type wireConn struct {
	net.Conn
	wire *wire
	once sync.Once
	gone chan struct{}

	reads, writes atomic.Pointer[time.Time] // deadlines

	mu     sync.Mutex
	asked  []asked // and not answered yet, in order
	answer []byte  // what is left of the one being read
}

type asked struct {
	key     kmsg.Key
	version int16
	doom    doom
}

func (c *wireConn) Close() error {
	c.once.Do(func() {
		close(c.gone)
		c.wire.mu.Lock()
		delete(c.wire.conns, c)
		c.wire.mu.Unlock()
	})
	return c.Conn.Close()
}

// wait returns when the plug is in, or the client's deadline has passed; that may change meanwhile.
func (c *wireConn) wait(deadline *atomic.Pointer[time.Time]) error {
	for {
		c.wire.mu.Lock()
		pulled := c.wire.pulled
		c.wire.mu.Unlock()
		if pulled == nil {
			return nil
		}
		if d := deadline.Load(); d != nil && !d.IsZero() && !time.Now().Before(*d) {
			return os.ErrDeadlineExceeded
		}
		select {
		case <-pulled:
		case <-c.gone:
			return errCut
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (c *wireConn) SetReadDeadline(d time.Time) error {
	c.reads.Store(&d)
	return c.Conn.SetReadDeadline(d)
}

func (c *wireConn) SetWriteDeadline(d time.Time) error {
	c.writes.Store(&d)
	return c.Conn.SetWriteDeadline(d)
}

// Write sees: size, 4 bytes; key, 2; version, 2.
func (c *wireConn) Write(b []byte) (int, error) {
	if err := c.wait(&c.writes); err != nil {
		return 0, err
	}
	a := asked{key: kmsg.Key(binary.BigEndian.Uint16(b[4:])), version: int16(binary.BigEndian.Uint16(b[6:]))}
	a.doom = c.wire.judge(a.key)
	if c.breaks(a.doom.fate, cutBefore, deadBefore) {
		return 0, errCut
	}
	c.mu.Lock()
	c.asked = append(c.asked, a)
	c.mu.Unlock()
	return c.Conn.Write(b)
}

func (c *wireConn) Read(b []byte) (int, error) {
	if len(c.answer) == 0 {
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	n := copy(b, c.answer)
	c.answer = c.answer[n:]
	return n, nil
}

// next takes an answer from the broker: answers come in the order of their requests.
func (c *wireConn) next() error {
	size := make([]byte, 4)
	if _, err := io.ReadFull(c.Conn, size); err != nil {
		return err
	}
	body := make([]byte, binary.BigEndian.Uint32(size))
	if _, err := io.ReadFull(c.Conn, body); err != nil {
		return err
	}
	if err := c.wait(&c.reads); err != nil {
		return err
	}
	c.mu.Lock()
	a := c.asked[0]
	c.asked = c.asked[1:]
	c.mu.Unlock()
	if c.breaks(a.doom.fate, cutAfter, deadAfter) {
		return errCut
	}
	if a.doom.fate == misanswered {
		body = misanswer(body, a)
	}
	c.answer = append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
	return nil
}

// breaks ends the connection, or all of them.
func (c *wireConn) breaks(f, cut, death fate) bool {
	switch f {
	case cut:
		_ = c.Close()
	case death:
		c.wire.die()
	default:
		return false
	}
	return true
}

// misanswer puts an error into an answer: correlation id, 4 bytes; tags where the version has them; the answer.
func misanswer(body []byte, a asked) []byte {
	response := kmsg.ResponseForKey(a.key.Int16())
	response.SetVersion(a.version)
	reader := kbin.Reader{Src: body[4:]}
	if response.IsFlexible() && a.key != kmsg.ApiVersions {
		kmsg.SkipTags(&reader)
	}
	header := slices.Clone(body[:len(body)-len(reader.Src)])
	if err := response.ReadFrom(reader.Src); err != nil {
		panic(err) // the broker's answers are well formed
	}
	setErrors(reflect.ValueOf(response).Elem(), a.doom.err.Code, a.doom.entities)
	return response.AppendTo(header)
}

// setErrors sets the error of the request as a whole, or the innermost ones below it, and tells whether there was a place for
// any. What was not done keeps the error that it has.
func setErrors(v reflect.Value, code int16, entities bool) (set bool) {
	if entities {
		for _, f := range v.Fields() {
			if f.Kind() == reflect.Slice && f.Type().Elem().Kind() == reflect.Struct {
				for j := range f.Len() {
					set = setErrors(f.Index(j), code, true) || set
				}
			}
		}
	}
	if f := v.FieldByName("ErrorCode"); f.IsValid() && !set {
		if f.Int() == 0 {
			f.SetInt(int64(code))
		}
		set = true
	}
	return set
}
