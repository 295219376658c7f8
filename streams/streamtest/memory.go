package streamtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// InMemory starts kfake behind pipes of this process. Nothing of it, nor of clients that dial it through Cluster.Dial,
// waits for the operating system: inside testing/synctest's bubble time runs only while everybody waits for it.
func InMemory(tb testing.TB, options ...kfake.Opt) *Cluster {
	tb.Helper()
	network := &pipes{listeners: map[string]*pipeListener{}}
	c := fake(tb, append([]kfake.Opt{kfake.ListenFn(network.listen)}, options...)...)
	c.Dial = network.dial
	return c
}

// pipes is a network of this process.
type pipes struct {
	mu        sync.Mutex
	listeners map[string]*pipeListener
}

func (p *pipes) listen(string, string) (net.Listener, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	addr := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1 + len(p.listeners)} // clients take brokers' addresses apart
	l := &pipeListener{addr: addr, accept: make(chan net.Conn), closed: make(chan struct{})}
	p.listeners[addr.String()] = l
	return l, nil
}

func (p *pipes) dial(ctx context.Context, _, host string) (net.Conn, error) {
	p.mu.Lock()
	l := p.listeners[host]
	p.mu.Unlock()
	if l == nil {
		return nil, fmt.Errorf("dialling %s: nobody listens", host)
	}
	ours, theirs := net.Pipe()
	select {
	case l.accept <- theirs:
		return ours, nil
	case <-l.closed:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

type pipeListener struct {
	addr   net.Addr
	accept chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.accept:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return l.addr }

// dialer is the option for clients of this cluster; none is needed for sockets.
func (c *Cluster) dialer() []kgo.Opt {
	if c.Dial == nil {
		return nil
	}
	return []kgo.Opt{kgo.Dialer(c.Dial)}
}
