package iso8583_test

import (
	"context"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	server "github.com/caudalpay/caudal/ingest/iso8583"
	"github.com/caudalpay/caudal/schemas/rails/iso8583"
)

// FuzzConnection: whatever comes in, the connection ends, nobody panics and nothing stays in flight.
func FuzzConnection(f *testing.F) {
	codec, frames := codecOnce(), iso8583.Frames{}
	for _, m := range []iso8583.Message{message("0100", 1, 10), message("0220", 2, 10), of(message("0420", 3, 10), message("0100", 1, 10)), echo(4)} {
		raw, err := codec.Append(nil, &m)
		check(f, err)
		frame, err := frames.Append(nil, raw)
		check(f, err)
		f.Add(frame)
		f.Add(append(slices.Clip(frame), frame[:len(frame)/2]...))
	}
	f.Add([]byte{0, 0, 0, 0, 0, 4, '0', '1', '0', '0'})
	h, s := build(f, func(c *server.Config, _ *server.Ports) { c.PipelineMax = 2 })
	ln := &piped{conns: make(chan net.Conn)}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, ln) }()
	f.Cleanup(func() {
		cancel()
		check(f, <-ended)
	})
	f.Fuzz(func(t *testing.T, sent []byte) {
		near, far := net.Pipe()
		gone := &closing{Conn: far, closed: make(chan struct{})}
		ln.conns <- gone
		read := make(chan struct{})
		go func() {
			defer close(read)
			_, _ = io.Copy(io.Discard, near) // until it is closed
		}()
		_ = near.SetWriteDeadline(time.Now().Add(5 * time.Second))
		_, _ = near.Write(sent) // may be refused half way
		check(t, near.Close())
		<-read
		select {
		case <-gone.closed:
		case <-time.After(10 * time.Second):
			t.Fatal("the connection does not end")
		}
		h.tb = t
		h.eventually("nothing is in flight", func() bool {
			return h.metric("caudal_ingest_iso8583_in_flight_requests") == 0 && h.metric("caudal_ingest_iso8583_open_connections") == 0
		})
		if h.metric("caudal_ingest_iso8583_panics_total") > 0 {
			t.Fatal("a panic")
		}
	})
}

// closing tells when it is closed.
type closing struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

func (c *closing) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// piped is a listener of connections within this process.
type piped struct{ conns chan net.Conn }

func (p *piped) Accept() (net.Conn, error) {
	c, ok := <-p.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (p *piped) Close() error {
	defer func() { _ = recover() }() // closed before
	close(p.conns)
	return nil
}

func (p *piped) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }
