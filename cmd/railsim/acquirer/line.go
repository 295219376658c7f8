package acquirer

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/caudalpay/caudal/schemas/rails/iso8583"
)

// line is one connection. What is not answered when it breaks is sent again on the next, in the same order, to the next door.
type line struct {
	acquirer *Acquirer
	end      context.CancelFunc
	running  sync.WaitGroup
	signOn   iso8583.Message

	mu      sync.Mutex
	conn    net.Conn
	pending []*exchange
	next    int // door to connect to
}

const reconnectEvery = 100 * time.Millisecond

func (a *Acquirer) connect(ctx context.Context, address string) (*line, error) {
	lasting, end := context.WithCancel(context.WithoutCancel(ctx))
	l := &line{acquirer: a, end: end, next: slices.Index(a.cfg.Connect, address)}
	l.signOn = iso8583.Message{
		MTI: iso8583.NetworkRequest, TransmissionTime: iso8583.TransmissionTimeOf(time.Now()), STAN: "000000", NetworkInformationCode: "001",
	}
	if err := l.dial(ctx); err != nil {
		end()
		return nil, err
	}
	l.running.Go(func() { l.read(lasting) })
	l.running.Go(func() { l.watch(lasting) })
	return l, nil
}

func (l *line) close() {
	l.end()
	l.mu.Lock()
	_ = l.conn.Close() // wakes the reader
	l.mu.Unlock()
	l.running.Wait()
}

// dial connects to the next door, signs on, and sends what is pending.
func (l *line) dial(ctx context.Context) error {
	doors := l.acquirer.cfg.Connect
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", doors[l.next%len(doors)])
	l.next++
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conn = conn
	l.write(&l.signOn)
	for _, ex := range l.pending {
		ex.message, ex.resent = repeated(ex.message), true
		l.write(&ex.message)
	}
	return nil
}

// send writes an exchange, and what stands behind it, as one piece of order.
func (l *line) send(ex *exchange) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for ; ex != nil; ex = ex.behind {
		ex.sent = time.Now()
		l.pending = append(l.pending, ex)
		l.acquirer.report.sent()
		l.write(&ex.message)
	}
}

// write is called under the lock. A connection that does not take it is found broken by its reader.
func (l *line) write(m *iso8583.Message) {
	frames := iso8583.Frames{Header: l.acquirer.cfg.Header}
	raw, err := l.acquirer.codec.Append(nil, m)
	if err == nil {
		raw, err = frames.Append(nil, raw)
	}
	if err != nil {
		panic(fmt.Sprintf("encoding a message of the simulator's own: %v", err))
	}
	_ = l.conn.SetWriteDeadline(time.Now().Add(5 * time.Second)) // as above
	if _, err := l.conn.Write(raw); err != nil {
		_ = l.conn.Close() // as above
	}
}

// read takes answers, and connects again where the connection breaks.
func (l *line) read(ctx context.Context) {
	frames := iso8583.Frames{Header: l.acquirer.cfg.Header}
	for ctx.Err() == nil {
		l.mu.Lock()
		in := bufio.NewReader(l.conn)
		l.mu.Unlock()
		for {
			raw, err := frames.Read(in, nil)
			if err != nil {
				break
			}
			m, err := l.acquirer.codec.Decode(raw)
			if err != nil {
				l.acquirer.report.wrong(fmt.Sprintf("an answer cannot be read: %v", err))
				continue
			}
			l.take(&m)
		}
		for ctx.Err() == nil {
			l.acquirer.report.reconnect()
			if l.dial(ctx) == nil {
				break
			}
			select {
			case <-ctx.Done():
			case <-time.After(reconnectEvery):
			}
		}
	}
}

// take finds what an answer answers. One that comes after its time was given up is the house's to make good.
func (l *line) take(m *iso8583.Message) {
	if m.MTI.Class() == iso8583.ClassNetwork {
		return
	}
	l.mu.Lock()
	at := slices.IndexFunc(l.pending, func(ex *exchange) bool {
		answer, _ := ex.message.MTI.Response()
		return answer == m.MTI && ex.message.MatchKey() == m.MatchKey()
	})
	var ex *exchange
	if at >= 0 {
		ex = l.pending[at]
		l.pending = slices.Delete(l.pending, at, at+1)
	}
	l.mu.Unlock()
	if ex == nil {
		l.acquirer.report.stray()
		return
	}
	l.acquirer.answered(ex, m)
}

// watch gives up what is not answered in time.
func (l *line) watch(ctx context.Context) {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			for _, ex := range l.expired(now) {
				l.acquirer.unanswered(ex)
			}
		}
	}
}

func (l *line) expired(now time.Time) (late []*exchange) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending = slices.DeleteFunc(l.pending, func(ex *exchange) bool {
		over := now.Sub(ex.sent) > l.acquirer.cfg.Timeout
		if over {
			late = append(late, ex)
		}
		return over
	})
	return late
}
