package faults

import (
	"context"
	"net"
	"net/http"
	"time"
)

// Call is one call of a client under the plan.
type Call struct {
	Site

	plan  *Plan
	fault Kind // at most one, besides latency; empty: none
	told  bool // what is wrong was told
}

// Begin numbers a call and decides what goes wrong with it.
func (p *Plan) Begin(connector, reference, operation string) *Call {
	c := &Call{Site: p.next(connector, reference, operation), plan: p}
	for _, kind := range callKinds() {
		if p.hits(c.Site, kind) {
			c.fault = kind
			break
		}
	}
	return c
}

func (c *Call) fell(kind Kind) { c.plan.fallen(c.Site, kind) }

// Before lets fall what falls before the effect. True: the call ends here, and nothing may be done.
func (c *Call) Before(w http.ResponseWriter, r *http.Request) bool {
	if d := c.plan.latency(c.Site); d > 0 {
		c.fell(Latency)
		sleep(r.Context(), d)
	}
	switch c.fault {
	case TimeoutBefore, ErrorBefore, ResetBefore:
		c.fell(c.fault)
		c.fail(w, r)
		return true
	default:
		return false
	}
}

// Amount is what an answer tells where the truth is amountMinor.
func (c *Call) Amount(amountMinor int64) int64 {
	if c.fault != WrongAmount {
		return amountMinor
	}
	c.told = true
	return c.plan.wrong(c.Site, amountMinor)
}

// Unfinished says whether an answer is to tell that it is not finished yet.
func (c *Call) Unfinished() bool {
	if c.fault != Unfinished {
		return false
	}
	c.told = true
	return true
}

// Either is one of two things to tell, as the plan decides.
func (c *Call) Either(a, b int) int { return []int{a, b}[c.plan.draw(c.Site, "either", 2)] }

// Answer is a response that has not been written.
type Answer struct {
	Status int
	Body   []byte
	Effect bool // something was done: what falls after the effect may fall
}

// Answer writes one, or lets fall what falls after the effect.
func (c *Call) Answer(w http.ResponseWriter, r *http.Request, a Answer) {
	switch c.fault {
	case TimeoutAfter, ErrorAfter, ResetAfter:
		if a.Effect {
			c.fell(c.fault)
			c.fail(w, r)
			return
		}
	case Garbage:
		c.fell(Garbage)
		a.Body = c.garbage(a.Body)
	case WrongAmount, Unfinished:
		if c.told {
			c.fell(c.fault)
		}
	default:
	}
	Write(w, a)
}

// Write writes an answer as it is.
func Write(w http.ResponseWriter, a Answer) {
	if len(a.Body) > 0 {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
	}
	w.WriteHeader(a.Status)
	_, _ = w.Write(a.Body) // a client that has left is none of ours
}

func (c *Call) fail(w http.ResponseWriter, r *http.Request) {
	switch c.fault {
	case TimeoutBefore, TimeoutAfter:
		sleep(r.Context(), c.plan.spec.Timeout())
		panic(http.ErrAbortHandler) // the connection is cut without an answer
	case ResetBefore, ResetAfter:
		reset(w)
	default:
		statuses := []int{http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout}
		status := statuses[c.plan.draw(c.Site, "status", len(statuses))]
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(status)
		_, _ = w.Write([]byte("<html><body>" + http.StatusText(status) + "</body></html>")) // as Write
	}
}

func (c *Call) garbage(body []byte) []byte {
	switch c.plan.draw(c.Site, "garbage", 3) {
	case 0:
		return body[:len(body)/2]
	case 1:
		return []byte("<html><body>Estamos em manutencao</body></html>")
	default:
		return []byte("\x00\xff{\"\xc3\x28")
	}
}

// reset lets the client's kernel hear RST: it cannot tell that from a server that died.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // as near as it gets, on HTTP/2
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // else it is an orderly end, which the client sees too
	}
	_ = conn.Close() // nothing was written
}

// sleep ends early where the client leaves.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
