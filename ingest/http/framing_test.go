package http_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/caudalpay/caudal/ingest/http"
)

// raw sends bytes as they are, and returns the answers of the connection.
func (d *door) raw(text string, answers int) (statuses []int, closed bool) {
	d.tb.Helper()
	var dialer net.Dialer
	conn, err := dialer.DialContext(d.tb.Context(), "tcp", d.address)
	check(d.tb, err)
	defer func() { check(d.tb, conn.Close()) }()
	check(d.tb, conn.SetDeadline(time.Now().Add(5*time.Second)))
	if _, err := io.WriteString(conn, text); err != nil {
		return nil, true
	}
	br := bufio.NewReader(conn)
	for range answers {
		var resp fasthttp.Response
		if err := resp.Read(br); err != nil {
			return statuses, true
		}
		statuses = append(statuses, resp.StatusCode())
	}
	check(d.tb, conn.SetReadDeadline(time.Now().Add(200*time.Millisecond)))
	_, err = br.ReadByte()
	return statuses, errors.Is(err, io.EOF)
}

// Invariant: a request whose length two parsers could see in two ways is refused, and its connection ends.
func TestFraming(t *testing.T) {
	d := openDoor(t, func(c *http.Config, _ *http.Ports) { c.ReadTimeout = 300 * time.Millisecond })
	body := d.payIn("5", "")
	length := strconv.Itoa(len(body))
	chunked := strconv.FormatInt(int64(len(body)), 16) + "\r\n" + body + "\r\n0\r\n\r\n"
	head := "POST /payins HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + token + "\r\nIdempotency-Key: f\r\nContent-Type: application/json\r\n"
	batch := "POST /payments:batch HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer nobody\r\nContent-Type: application/json\r\n"
	n := 0
	for _, c := range []struct {
		name, text string
		status     int
		closed     bool
	}{
		{"plain", head + "Content-Length: " + length + "\r\n\r\n" + body, 201, false},
		{"chunked", head + "Transfer-Encoding: chunked\r\n\r\n" + chunked, 201, false},
		{"both", head + "Content-Length: " + length + "\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked, 400, true},
		{"both, other order", head + "Transfer-Encoding: chunked\r\nContent-Length: " + length + "\r\n\r\n" + chunked, 400, true},
		{"two lengths", head + "Content-Length: " + length + "\r\nContent-Length: 1\r\n\r\n" + body, 400, true},
		{"two equal lengths", head + "Content-Length: " + length + "\r\nContent-Length: " + length + "\r\n\r\n" + body, 400, true},
		{"length with a sign", head + "Content-Length: +" + length + "\r\n\r\n" + body, 400, true},
		{"length in hexadecimal", head + "Content-Length: 0x10\r\n\r\n" + body, 400, true},
		{"two codings", head + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked, 400, true},
		{"coding identity", head + "Transfer-Encoding: identity\r\n\r\n" + chunked, 400, true},
		{"coding list", head + "Transfer-Encoding: gzip, chunked\r\n\r\n" + chunked, 400, true},
		{"white space before the colon", head + "Content-Length : " + length + "\r\n\r\n" + body, 400, true},
		{"folded", head + "X-A: 1\r\n 2\r\nContent-Length: " + length + "\r\n\r\n" + body, 400, true},
		{"folded by a tab", head + "X-A: 1\r\n\t2\r\nContent-Length: " + length + "\r\n\r\n" + body, 400, true},
		{"first header folded", "GET /healthz HTTP/1.1\r\n Host: x\r\n\r\n", 400, true},
		{"bare line feeds", "GET /healthz HTTP/1.1\r\nHost: x\nX: y\n\r\n\r\n", 400, true},
		{"line feeds only", "GET /healthz HTTP/1.1\nHost: x\n\n", 408, true},
		{"version 9.9", "GET /healthz HTTP/9.9\r\nHost: x\r\n\r\n", 400, true},
		{"version 2.0", "GET /healthz HTTP/2.0\r\nHost: x\r\n\r\n", 400, true},
		{"no version", "GET /healthz\r\nHost: x\r\n\r\n", 400, true},
		{"two hosts", "GET /healthz HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400, true},
		{"no colon", "GET /healthz HTTP/1.1\r\nHost: x\r\nnonsense\r\n\r\n", 400, true},
		{"a read with a body", "GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nGET /", 400, true},
		{"a read with chunks", "GET /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, true},
		{"large headers", "GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 9<<10) + "\r\n\r\n", 431, true},
		{"large body", head + "Content-Length: 20000\r\n\r\n" + body, 413, true},
		{"large chunks", head + "Transfer-Encoding: chunked\r\n\r\n4e20\r\n" + strings.Repeat(" ", 20_000) + "\r\n0\r\n\r\n", 413, true},
		// Who has no key hears of it before the door has taken in what it would take of a caller.
		{"a stranger's batch", batch + "Content-Length: 1000000\r\n\r\n[", 401, true},
		{"a stranger's chunks", batch + "Transfer-Encoding: chunked\r\n\r\n4e20\r\n" + strings.Repeat(" ", 20_000) + "\r\n0\r\n\r\n", 413, true}, // fasthttp has forgotten who sent them
		{"body that does not come", head + "Content-Length: " + length + "\r\n\r\n{", 408, true},
		{"headers that do not come", "POST /payins HTTP/1.1\r\nHost: x\r\n", 408, true},
		{"two keys", head + "Idempotency-Key: g\r\nContent-Length: " + length + "\r\n\r\n" + body, 400, false},
		{"two authorizations", head + "Authorization: Bearer x\r\nContent-Length: " + length + "\r\n\r\n" + body, 401, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, closed := d.raw(c.text, 1)
			if len(got) != 1 || got[0] != c.status || closed != c.closed {
				t.Errorf("%v, closed %v; want %d, closed %v", got, closed, c.status, c.closed)
			}
		})
		if c.status == 201 {
			n++
		}
	}
	if got := len(d.produced()); got != n {
		t.Errorf("%d commands reached the log, want %d", got, n)
	}
}

func TestShutdownFinishesWhatIsInFlight(t *testing.T) {
	d := openDoor(t)
	answer := make(chan reply, 1)
	go func() { answer <- d.post("/payins", "k", d.payIn("1111", "")) }()
	<-d.arrived
	stopped := make(chan struct{})
	go func() {
		d.stop()
		close(stopped)
	}()
	for d.server.Ready() == nil {
		time.Sleep(time.Millisecond)
	}
	select {
	case <-stopped:
		t.Error("the door closed on a caller that waits")
	case <-time.After(30 * time.Millisecond):
	}
	close(d.slow)
	if r := <-answer; r.status != 201 {
		t.Errorf("%d %s", r.status, r.body)
	}
	<-stopped
}

// A caller that waits longer than the grace time is told that its payment is pending.
func TestShutdownHasAnEnd(t *testing.T) {
	d := openDoor(t, func(c *http.Config, _ *http.Ports) {
		c.ShutdownGrace, c.WaitDefault = 50*time.Millisecond, 20*time.Second
	})
	answer := make(chan reply, 1)
	go func() { answer <- d.post("/payins", "k", d.payIn("1111", "")) }()
	<-d.arrived
	start := time.Now()
	d.stop()
	if r := <-answer; r.status != 202 || time.Since(start) > 5*time.Second {
		t.Errorf("%d %s after %v", r.status, r.body, time.Since(start))
	}
}
