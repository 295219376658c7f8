package chaos

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// answering is a broker that answers every request with its correlation id, and tells which keys it got.
func answering(t *testing.T) (address string, got <-chan kmsg.Key) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	keys := make(chan kmsg.Key, 100)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				r := bufio.NewReader(conn)
				for {
					size := make([]byte, 4)
					if _, err := io.ReadFull(r, size); err != nil {
						return
					}
					body := make([]byte, binary.BigEndian.Uint32(size))
					if _, err := io.ReadFull(r, body); err != nil {
						return
					}
					keys <- kmsg.Key(binary.BigEndian.Uint16(body))
					_, _ = conn.Write(append(binary.BigEndian.AppendUint32(nil, 7), append(body[4:8:8], "abc"...)...))
				}
			}()
		}
	}()
	return l.Addr().String(), keys
}

func request(key kmsg.Key, id uint32) []byte {
	body := binary.BigEndian.AppendUint16(nil, uint16(key))
	body = binary.BigEndian.AppendUint16(body, 3)
	body = append(binary.BigEndian.AppendUint32(body, id), make([]byte, 1000)...)
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

func through(t *testing.T, p *proxy, broker string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", p.address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, broker+"\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// answer reads one, and returns its correlation id.
func answer(conn net.Conn) (uint32, error) {
	b := make([]byte, 11)
	_, err := io.ReadFull(conn, b)
	return binary.BigEndian.Uint32(b[4:]), err
}

func TestProxyCuts(t *testing.T) {
	for name, after := range map[string]bool{"before the broker has it": false, "after the broker did it": true} {
		t.Run(name, func(t *testing.T) {
			broker, got := answering(t)
			p, err := newProxy(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer p.close()
			conn := through(t, p, broker)
			fired := p.arm(kmsg.EndTxn, after)
			// One write: what comes before the request must pass, and be answered.
			if _, err := conn.Write(append(append(request(kmsg.Produce, 1), request(kmsg.EndTxn, 2)...), request(kmsg.Produce, 3)...)); err != nil {
				t.Fatal(err)
			}
			if id, err := answer(conn); after && (err != nil || id != 1) {
				t.Fatalf("answer %d, %v", id, err)
			}
			if id, err := answer(conn); err == nil {
				t.Fatalf("the request that was cut is answered: %d", id)
			}
			<-fired
			if after {
				if first, second := <-got, <-got; first != kmsg.Produce || second != kmsg.EndTxn {
					t.Errorf("the broker got %v and %v", first, second)
				}
			}
			p.close()
			for len(got) > 0 {
				if k := <-got; k == kmsg.EndTxn {
					t.Error("the broker got what was cut")
				}
			}
			// Only one is cut.
			q, err := newProxy(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer q.close()
			again := through(t, q, broker)
			if _, err := again.Write(request(kmsg.EndTxn, 9)); err != nil {
				t.Fatal(err)
			}
			if id, err := answer(again); err != nil || id != 9 {
				t.Errorf("answer %d, %v", id, err)
			}
		})
	}
}

// TestProxySaysWhenThereIsNoBroker: else a client would take a dead broker for one that speaks another language.
func TestProxySaysWhenThereIsNoBroker(t *testing.T) {
	broker, _ := answering(t)
	p, err := newProxy(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	_ = through(t, p, broker)
	conn, err := net.Dial("tcp", p.address())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, "127.0.0.1:1\n"); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 1)); err == nil || n > 0 {
		t.Errorf("the proxy reached nobody: %d bytes, %v", n, err)
	}
}
