package http

import (
	"io"
	"net"
	"sync/atomic"
	"time"
)

// lingerTime is how long a refused caller may go on sending what nobody reads.
const lingerTime = time.Second

// lingerListener hands out connections that can linger. Closing a connection with unread bytes resets it, and the
// reset may overtake the answer: a caller whose body is too large would see a broken pipe in place of its 413.
type lingerListener struct{ net.Listener }

func (l lingerListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if tcp, ok := c.(*net.TCPConn); ok {
		return &lingerConn{TCPConn: tcp}, err
	}
	return c, err
}

type lingerConn struct {
	*net.TCPConn
	refused atomic.Bool
}

// Close ends the writing side first and reads on for a while where the caller was refused in mid-sentence.
func (c *lingerConn) Close() error {
	if c.refused.Load() && c.CloseWrite() == nil && c.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
		_, _ = io.Copy(io.Discard, onlyReader{c.TCPConn}) // whatever it says, or fails to say, is over
	}
	return c.TCPConn.Close()
}

// onlyReader hides the connection's own copying, which would splice.
type onlyReader struct{ io.Reader }
