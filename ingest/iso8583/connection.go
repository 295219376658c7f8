package iso8583

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caudalpay/caudal/schemas/rails/iso8583"
)

// Network information codes, field 70.
const (
	networkSignOn  = "001"
	networkSignOff = "002"
	networkEcho    = "301"
)

// writeBytesMost is how much is written at once where many answers are there.
const writeBytesMost = 64 << 10

// connection is one acquirer's. One goroutine reads and begins requests in the order they come, so that a reversal stands
// behind its authorization in the log; one per request waits for the core; one writes answers as they come.
type connection struct {
	server    *Server
	conn      net.Conn
	speaksFor institutions // where clients are bound to their acquirers
	signedOff bool
	hushed    atomic.Bool
	// places are the requests that may be unanswered or unwritten: who does not read his answers is read no more.
	places  chan struct{}
	answers chan answered
	pending sync.WaitGroup
}

// answered is a response on its way out.
type answered struct {
	frame   []byte
	mti     string
	code    string
	arrived time.Time
	ready   time.Time
}

func newConnection(s *Server, conn net.Conn) *connection {
	return &connection{
		server: s, conn: conn, places: make(chan struct{}, s.cfg.PipelineMax), answers: make(chan answered, s.cfg.PipelineMax),
	}
}

// run serves the connection to its end and says why it ended.
func (c *connection) run() string {
	if c.server.tls != nil {
		if !c.handshake() {
			_ = c.conn.Close() // nothing was said yet
			return "handshake"
		}
	}
	var writing sync.WaitGroup
	writing.Go(c.write)
	why := c.read()
	c.pending.Wait() // what was read is answered
	close(c.answers)
	writing.Wait()
	_ = c.conn.Close() // the peer has all there is
	return why
}

func (c *connection) handshake() bool {
	secure := tls.Server(c.conn, c.server.tls)
	ctx, cancel := context.WithTimeout(c.server.life, c.server.cfg.ReadTimeout)
	defer cancel()
	if err := secure.HandshakeContext(ctx); err != nil {
		c.server.ports.Log.Warn("greeting acquirer", "peer", c.conn.RemoteAddr().String(), "error", err)
		return false
	}
	if c.server.acquirers != nil {
		c.speaksFor, _ = c.server.acquirers.of(secure.ConnectionState().PeerCertificates[0]) // the handshake has asked
	}
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	c.conn = secure
	return true
}

// hush ends the reading.
func (c *connection) hush() {
	c.hushed.Store(true)
	_ = c.conn.SetReadDeadline(time.Now()) // a connection that is gone reads no more either
}

// deadline bounds the next read. Where the server ends meanwhile, its word counts.
func (c *connection) deadline(wait time.Duration) {
	_ = c.conn.SetReadDeadline(time.Now().Add(wait)) // a connection that is gone says so when it is read
	if c.hushed.Load() {
		_ = c.conn.SetReadDeadline(time.Now()) // as above
	}
}

func (c *connection) read() string {
	r := bufio.NewReader(c.conn)
	var buf []byte
	for {
		c.places <- struct{}{}
		if r.Buffered() == 0 {
			c.deadline(c.server.cfg.IdleTimeout)
			if _, err := r.Peek(1); err != nil {
				return c.over(err, "idle")
			}
		}
		c.deadline(c.server.cfg.ReadTimeout) // each frame's own: half of it may have come with the one before
		frame, err := c.server.cfg.Frames.Read(r, buf)
		switch {
		case errors.Is(err, iso8583.ErrFrame):
			c.server.metrics.malformed.WithLabelValues("closed").Inc()
			c.server.ports.Log.Warn("reading frame", "peer", c.conn.RemoteAddr().String(), "error", err)
			return "malformed"
		case err != nil:
			return c.over(err, "slow")
		}
		buf = frame
		if !c.guardedTake(frame) {
			c.server.metrics.malformed.WithLabelValues("closed").Inc()
			return "malformed"
		}
	}
}

// over says why a read failed.
func (c *connection) over(err error, late string) string {
	switch {
	case c.hushed.Load():
		return "shutdown"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return late
	case errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		return "peer"
	default:
		return "broken"
	}
}

// guardedTake closes the connection where a message makes its reader panic.
func (c *connection) guardedTake(frame []byte) (open bool) {
	defer c.recovered(func() { open = false })
	return c.take(frame)
}

func (c *connection) recovered(then func()) {
	if r := recover(); r != nil {
		c.server.metrics.panics.Inc()
		c.server.ports.Log.Error("answering message", "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
		then()
	}
}

// take begins one message; false where the connection is of no more use. Its place is given back by whoever is done with it.
func (c *connection) take(frame []byte) (open bool) {
	s, arrived := c.server, time.Now()
	if len(frame) == 0 { // a keep-alive
		<-c.places
		return true
	}
	m, err := s.codec.Decode(frame)
	s.metrics.stage(stageDecode, time.Since(arrived))
	if err != nil {
		return c.refuse(err, arrived)
	}
	switch {
	case m.MTI.IsResponse():
		s.ports.Log.Warn("reading message: a response to nothing", "peer", c.conn.RemoteAddr().String(), "mti", string(m.MTI))
		return false
	case m.MTI.Class() == iso8583.ClassNetwork:
		c.respond(&m, c.network(&m), arrived)
	case c.signedOff:
		c.respond(&m, verdict{code: iso8583.ResponseIssuerUnavailable}, arrived)
	case c.server.acquirers != nil && !c.speaksFor.speak(&m):
		s.metrics.foreign.Inc()
		s.ports.Log.Warn("reading message: not of this client's acquirers", "peer", c.conn.RemoteAddr().String(), "mti", string(m.MTI), "acquirer", m.AcquirerID)
		c.respond(&m, verdict{code: iso8583.ResponseNotPermittedHere}, arrived)
	default:
		c.begin(&m, arrived)
	}
	return true
}

// refuse answers what cannot be read, where there is an answer to give. What it held is not logged.
func (c *connection) refuse(err error, arrived time.Time) (open bool) {
	var format *iso8583.FormatError
	if !errors.As(err, &format) {
		return false
	}
	c.server.ports.Log.Warn("reading message", "peer", c.conn.RemoteAddr().String(), "error", format)
	response, ok := format.Answer()
	if !ok {
		return false
	}
	c.server.metrics.malformed.WithLabelValues("answered").Inc()
	c.send(&response, "malformed", arrived)
	return true
}

func (c *connection) network(m *iso8583.Message) verdict {
	switch m.NetworkInformationCode {
	case networkSignOn:
		c.signedOff = false
	case networkSignOff:
		c.signedOff = true
	case networkEcho:
	default:
		return verdict{code: iso8583.ResponseInvalidTransaction}
	}
	return verdict{code: iso8583.ResponseApproved}
}

// begin hands a message to the log, in order, and lets a goroutine wait for what comes of it.
func (c *connection) begin(m *iso8583.Message, arrived time.Time) {
	s := c.server
	if s.inFlight.Add(1) > int64(s.cfg.InFlightMax) {
		s.inFlight.Add(-1)
		s.metrics.busy.Inc()
		c.respond(m, verdict{code: iso8583.ResponseIssuerUnavailable}, arrived)
		return
	}
	s.metrics.inFlight.Inc()
	started := time.Now()
	finish := c.guardedStart(m, arrived)
	s.metrics.stage(stageResolve, time.Since(started))
	done := func() {
		s.inFlight.Add(-1)
		s.metrics.inFlight.Dec()
	}
	if finish.wait == nil {
		done()
		c.respond(m, finish.verdict, arrived)
		return
	}
	request := *m
	c.pending.Go(func() {
		v := c.guarded(finish.wait)
		done()
		c.respond(&request, v, arrived)
	})
}

// guardedStart turns a panic into 96: one message must not end the others.
func (c *connection) guardedStart(m *iso8583.Message, arrived time.Time) (v started) {
	defer c.recovered(func() { v = refused(iso8583.ResponseSystemMalfunction) })
	return c.server.start(m, arrived)
}

// guarded does the same for what waits.
func (c *connection) guarded(wait func() verdict) (v verdict) {
	defer c.recovered(func() { v = verdict{code: iso8583.ResponseSystemMalfunction} })
	return wait()
}

// respond answers a request.
func (c *connection) respond(m *iso8583.Message, v verdict, arrived time.Time) {
	response, _ := c.server.codec.Respond(m, v.code) // m is a request
	if v.authCode != "" {
		response.AuthCode = v.authCode
	}
	response.AdditionalAmounts = v.amounts
	c.send(&response, string(m.MTI), arrived)
}

func (c *connection) send(response *iso8583.Message, mti string, arrived time.Time) {
	a := answered{mti: mti, code: string(response.ResponseCode), arrived: arrived, ready: time.Now()}
	message, err := c.server.codec.Append(nil, response)
	if err == nil {
		a.frame, err = c.server.cfg.Frames.Append(nil, message)
	}
	if err != nil { // the table of responses makes these
		c.server.ports.Log.Error("encoding response", "mti", string(response.MTI), "error", err)
	}
	c.answers <- a // there is room for all that have a place
}

// write sends answers until there will be none, several at once where they are there. Where the peer does not take them, the
// rest is dropped: the core has decided, and a repeat gets the same answer.
func (c *connection) write() {
	var buf []byte
	var batch []answered
	broken := false
	for a := range c.answers {
		buf, batch = append(buf[:0], a.frame...), append(batch[:0], a)
	more:
		for len(buf) < writeBytesMost {
			select {
			case a, ok := <-c.answers:
				if !ok {
					break more
				}
				buf, batch = append(buf, a.frame...), append(batch, a)
			default:
				break more
			}
		}
		if !broken {
			_ = c.conn.SetWriteDeadline(time.Now().Add(c.server.cfg.WriteTimeout)) // a connection that is gone says so when it is written
			_, err := c.conn.Write(buf)
			if broken = err != nil; broken {
				_ = c.conn.Close() // wakes the reader
			}
		}
		c.wrote(batch)
	}
}

func (c *connection) wrote(batch []answered) {
	now, m := time.Now(), c.server.metrics
	for _, a := range batch {
		<-c.places
		m.stage(stageWrite, now.Sub(a.ready))
		m.requests.WithLabelValues(a.mti, a.code).Inc()
		m.seconds.WithLabelValues(a.mti).Observe(now.Sub(a.arrived).Seconds())
	}
}
