package http

import (
	"bufio"
	"context"
	"net"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// overSocket measures answers per connection over loopback with a client that does next to nothing.
func overSocket(b *testing.B, address string, request []byte) {
	b.Helper()
	b.SetParallelism(8)
	before := cpuTime(b)
	defer func() { b.ReportMetric(float64((cpuTime(b)-before).Nanoseconds())/float64(b.N), "cpu-ns/op") }()
	b.RunParallel(func(pb *testing.PB) {
		var dialer net.Dialer
		conn, err := dialer.DialContext(context.Background(), "tcp", address)
		if err != nil {
			b.Error(err)
			return
		}
		defer func() { _ = conn.Close() }()
		br := bufio.NewReader(conn)
		var resp fasthttp.Response
		for pb.Next() {
			if _, err := conn.Write(request); err != nil {
				b.Error(err)
				return
			}
			if err := resp.Read(br); err != nil || resp.StatusCode() >= 300 {
				b.Error(err, resp.StatusCode())
				return
			}
		}
	})
}

// BenchmarkSocket holds a single write, acknowledged at once, against a bare fasthttp echo of the same bytes (target P3).
func BenchmarkSocket(b *testing.B) {
	_, secret := benchServer(b)
	request := []byte("POST /payins HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + secret +
		"\r\nIdempotency-Key: k\r\nContent-Type: application/json\r\nPrefer: respond-async\r\nContent-Length: " + strconv.Itoa(len(benchBody)) + "\r\n\r\n" + benchBody)
	b.Run("echo", func(b *testing.B) {
		ln := listen(b)
		echo := &fasthttp.Server{Handler: func(ctx *fasthttp.RequestCtx) { ctx.SetBody(ctx.PostBody()) }}
		served := make(chan error, 1)
		go func() { served <- echo.Serve(ln) }()
		overSocket(b, ln.Addr().String(), request)
		if err := echo.Shutdown(); err != nil {
			b.Error(err)
		}
		if err := <-served; err != nil {
			b.Error(err)
		}
	})
	b.Run("door", func(b *testing.B) {
		ln := listen(b)
		ctx, cancel := context.WithCancel(context.Background())
		served := make(chan error, 1)
		s, _ := benchServer(b)
		go func() { served <- s.Serve(ctx, ln) }()
		time.Sleep(10 * time.Millisecond)
		overSocket(b, ln.Addr().String(), request)
		cancel()
		if err := <-served; err != nil {
			b.Error(err)
		}
	})
}

// cpuTime is what this process has used, client included: it holds on a busy machine, where the clock does not.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func listen(b *testing.B) net.Listener {
	b.Helper()
	var lc net.ListenConfig
	ln, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	return ln
}
