package chaos

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// proxy stands between one worker and the brokers: the worker names the broker in a first line and
// gets a byte once that is reached. It understands of Kafka's
// protocol where a request begins, what it asks and which answer is its own, so that a connection can be cut inside a
// request of a kind: before the broker gets it, or after the broker did it and before the worker hears of it.
type proxy struct {
	listener net.Listener
	armed    atomic.Pointer[cut]
	serving  sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{} // nil once the proxy is closed
}

// cut waits for its request.
type cut struct {
	key   kmsg.Key
	after bool
	fired chan time.Time
}

// cutPatience bounds the wait for the broker's answer to a request whose answer is dropped.
const cutPatience = 3 * time.Second

func newProxy(ctx context.Context) (*proxy, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening for a worker: %w", err)
	}
	p := &proxy{listener: l, conns: map[net.Conn]struct{}{}}
	p.serving.Go(p.accept)
	return p, nil
}

func (p *proxy) address() string { return p.listener.Addr().String() }

// arm cuts the next request of a kind; the channel says when.
func (p *proxy) arm(key kmsg.Key, after bool) <-chan time.Time {
	c := &cut{key: key, after: after, fired: make(chan time.Time, 1)}
	p.armed.Store(c)
	return c.fired
}

func (p *proxy) disarm() { p.armed.Store(nil) }

func (p *proxy) close() {
	_ = p.listener.Close() // there is nothing to lose
	p.mu.Lock()
	for c := range p.conns {
		_ = c.Close() // as above
	}
	p.conns = nil
	p.mu.Unlock()
	p.serving.Wait()
}

func (p *proxy) accept() {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.serving.Go(func() { p.serve(conn) })
	}
}

// keep remembers a connection for close; false when the proxy is closed.
func (p *proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conns == nil {
		_ = c.Close() // nobody has used it
		return false
	}
	p.conns[c] = struct{}{}
	return true
}

func (p *proxy) drop(c net.Conn) {
	_ = c.Close() // it may have been closed by the other side
	p.mu.Lock()
	delete(p.conns, c)
	p.mu.Unlock()
}

func (p *proxy) serve(worker net.Conn) {
	if !p.keep(worker) {
		return
	}
	defer p.drop(worker)
	requests := bufio.NewReaderSize(worker, 64<<10)
	target, err := requests.ReadString('\n')
	if err != nil {
		return
	}
	broker, err := net.DialTimeout("tcp", strings.TrimSpace(target), cutPatience)
	if err != nil || !p.keep(broker) {
		return
	}
	defer p.drop(broker)
	if _, err := worker.Write([]byte{'+'}); err != nil {
		return
	}
	w := &wire{proxy: p, worker: worker, broker: broker}
	w.dropped.Store(-1)
	answers := make(chan struct{})
	go func() {
		defer close(answers)
		w.answers()
		_ = worker.Close() // ends the other direction
		_ = broker.Close()
	}()
	w.requests(requests)
	if w.dropped.Load() < 0 {
		_ = broker.Close() // ends the other direction
	}
	<-answers
}

// wire is one connection through the proxy.
type wire struct {
	proxy          *proxy
	worker, broker net.Conn
	dropped        atomic.Int64 // correlation id of the request whose answer is dropped, -1: none
}

const frameHeader = 4 + 2 + 2 + 4 // size, key, version, correlation id

// requests forwards to the broker until the connection ends or is cut.
func (w *wire) requests(from *bufio.Reader) {
	to := bufio.NewWriterSize(w.broker, 64<<10)
	for {
		head, err := from.Peek(frameHeader)
		if err != nil {
			return
		}
		size := int64(4 + binary.BigEndian.Uint32(head))
		key, id := kmsg.Key(binary.BigEndian.Uint16(head[4:])), int64(binary.BigEndian.Uint32(head[8:])) //nolint:gosec // a key of the protocol
		hit := w.proxy.take(key)
		if hit != nil && !hit.after {
			hit.fired <- time.Now()
			_ = w.broker.Close() // that is the cut
			_ = w.worker.Close()
			return
		}
		if hit != nil {
			w.dropped.Store(id)
		}
		if _, err := io.CopyN(to, from, size); err != nil {
			return
		}
		if hit != nil || from.Buffered() < frameHeader {
			if err := to.Flush(); err != nil {
				return
			}
		}
		if hit != nil {
			_ = w.broker.SetReadDeadline(time.Now().Add(cutPatience))
			hit.fired <- time.Now()
			return // answers() cuts
		}
	}
}

// take gives the cut that waits for such a request.
func (p *proxy) take(key kmsg.Key) *cut {
	c := p.armed.Load()
	if c == nil || c.key != key || !p.armed.CompareAndSwap(c, nil) {
		return nil
	}
	return c
}

// answers forwards to the worker until the connection ends, or the answer comes that is to be dropped.
func (w *wire) answers() {
	from := bufio.NewReaderSize(w.broker, 64<<10)
	to := bufio.NewWriterSize(w.worker, 64<<10)
	for {
		head, err := from.Peek(8)
		if err != nil {
			return
		}
		if int64(binary.BigEndian.Uint32(head[4:])) == w.dropped.Load() {
			return
		}
		if _, err := io.CopyN(to, from, int64(4+binary.BigEndian.Uint32(head))); err != nil {
			return
		}
		if from.Buffered() == 0 {
			if err := to.Flush(); err != nil && !errors.Is(err, net.ErrClosed) {
				return
			}
		}
	}
}
