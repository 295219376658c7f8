package http

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttpadaptor"
)

// The headers that are the API's own.
const (
	headerIdempotencyKey = "Idempotency-Key"
	headerReplayed       = "Idempotency-Replayed"
	headerAccountSeq     = "Caudal-Account-Seq"
	headerPrefer         = "Prefer"
	headerApplied        = "Preference-Applied"
)

// Server is the front door.
type Server struct {
	cfg      Config
	ports    Ports
	problems problems
	meanings meanings
	router   *router
	decoders *decoders
	batches  *sync.Pool
	recent   *recent
	metrics  *metrics
	http     *fasthttp.Server
	exporter fasthttp.RequestHandler
	requests context.Context //nolint:containedctx // outlives single requests: it ends what still waits at shutdown
	abandon  context.CancelFunc
	serving  atomic.Bool
	knowing  atomic.Bool // the directories have read what stood there
	holders  atomic.Uint64
	traces   atomic.Uint64
	prefix   string // of trace ids
}

// New checks and builds; Run or Serve opens the door.
func New(cfg Config, ports Ports) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := ports.validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	var random [8]byte
	if _, err := rand.Read(random[:]); err != nil {
		return nil, fmt.Errorf("making trace ids: %w", err)
	}
	s := &Server{
		cfg: cfg, ports: ports, problems: newProblems(), meanings: newMeanings(), decoders: newDecoders(), batches: newBatches(), recent: newRecent(cfg.RecentKeys),
		metrics: newMetrics(ports.Metrics), prefix: hex.EncodeToString(random[:]),
		exporter: fasthttpadaptor.NewFastHTTPHandler(promhttp.HandlerFor(ports.Gatherer, promhttp.HandlerOpts{})),
	}
	s.router = newRouter(s.routes())
	s.requests, s.abandon = context.WithCancel(context.Background())
	s.http = &fasthttp.Server{
		Handler:                            s.handle,
		ErrorHandler:                       s.broken,
		HeaderReceived:                     s.headerReceived,
		Logger:                             quiet{},
		ReadTimeout:                        cfg.ReadTimeout,
		WriteTimeout:                       cfg.WriteTimeout,
		IdleTimeout:                        cfg.IdleTimeout,
		MaxRequestBodySize:                 cfg.BatchMaxBytes,
		MaxConnsPerIP:                      cfg.ConnsPerIPMax,
		Concurrency:                        cfg.ConnsMax,
		ReadBufferSize:                     cfg.HeaderMaxBytes,
		NoDefaultServerHeader:              true,
		NoDefaultContentType:               true,
		DisablePreParseMultipartForm:       true,
		CloseOnShutdown:                    true,
		SecureErrorLogMessage:              true,
		SleepWhenConcurrencyLimitsExceeded: 10 * time.Millisecond,
	}
	return s, nil
}

// quiet drops fasthttp's own lines: they quote what strangers send.
type quiet struct{}

func (quiet) Printf(string, ...any) {}

// Run listens on Config.Address and serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", s.cfg.Address)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	return s.Serve(ctx, ln)
}

// Serve answers on ln until ctx ends; then what is in flight has the grace time to end. It closes ln. Once only.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	defer s.abandon()
	served := make(chan error, 1)
	s.serving.Store(true)
	go func() { served <- s.http.Serve(lingerListener{ln}) }()
	select {
	case err := <-served:
		s.serving.Store(false)
		if err == nil {
			err = errors.New("the listener ended")
		}
		return fmt.Errorf("serving: %w", err)
	case <-ctx.Done():
	}
	s.serving.Store(false)
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.ShutdownGrace)
	defer cancel()
	err := s.http.ShutdownWithContext(grace)
	s.abandon()
	if serr := <-served; err == nil {
		err = serr
	}
	if err != nil {
		return fmt.Errorf("closing: %w", err)
	}
	return nil
}

// Ready is nil while the door is open and everything behind it is ready.
func (s *Server) Ready() error {
	if !s.serving.Load() {
		return errors.New("not serving")
	}
	for _, c := range s.ports.Checks {
		if err := c.Ready(); err != nil {
			return fmt.Errorf("%s: %w", c.Name, err)
		}
	}
	return nil
}

// known tells whether the directories have once read what stood there.
func (s *Server) known() bool {
	if s.knowing.Load() {
		return true
	}
	for _, ready := range s.ports.Known {
		if ready() != nil {
			return false
		}
	}
	s.knowing.Store(true)
	return true
}

// headerReceived bounds the body by its address, before a byte of it is read. A stranger's batch may be as large as any other
// body: else whoever can connect could fill the memory.
func (s *Server) headerReceived(h *fasthttp.RequestHeader) fasthttp.RequestConfig {
	r := s.addressed(h)
	if r == nil || r.batch && s.caller(h) == nil {
		return fasthttp.RequestConfig{MaxRequestBodySize: s.cfg.BodyMaxBytes}
	}
	return fasthttp.RequestConfig{MaxRequestBodySize: s.cfg.bodyMost(r)}
}

// addressed is a route of the address as it was sent, nil where there is none.
func (s *Server) addressed(h *fasthttp.RequestHeader) *route {
	path, _, _ := strings.Cut(string(h.RequestURI()), "?")
	routes, _ := s.router.find([]byte(path))
	if len(routes) == 0 {
		return nil
	}
	return routes[0]
}

// caller is who holds the key of a request, nil where nobody does.
func (s *Server) caller(h *fasthttp.RequestHeader) *Caller {
	headers := h.PeekAll(fasthttp.HeaderAuthorization)
	if len(headers) != 1 {
		return nil
	}
	caller, ok := s.ports.Keys.caller(headers[0])
	if !ok {
		return nil
	}
	return caller
}

// bodyMost is the longest body that a route takes.
func (c *Config) bodyMost(r *route) int {
	switch {
	case r.batch:
		return c.BatchMaxBytes
	case r.hook:
		return c.HookMaxBytes
	default:
		return c.BodyMaxBytes
	}
}

// broken answers what fasthttp itself could not read.
func (s *Server) broken(ctx *fasthttp.RequestCtx, err error) {
	s.metrics.refused.Inc()
	if c, ok := ctx.Conn().(*lingerConn); ok {
		c.refused.Store(true)
	}
	id, detail := ErrorMalformedRequest, "The request cannot be read."
	var small *fasthttp.ErrSmallBuffer
	var timeout interface{ Timeout() bool }
	switch {
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		id, detail = ErrorTooLarge, ""
		if r := s.addressed(&ctx.Request.Header); r != nil && r.batch && s.caller(&ctx.Request.Header) == nil {
			id = ErrorUnauthorized // the right key takes more
		}
	case errors.As(err, &small):
		id, detail = ErrorHeadersTooLarge, ""
	case errors.As(err, &timeout) && timeout.Timeout():
		id, detail = ErrorTimeout, ""
	}
	s.write(ctx, refusal(s.traced(s.problems.make(id, detail))))
}

func (s *Server) handle(ctx *fasthttp.RequestCtx) {
	start := time.Now()
	s.metrics.open.Inc()
	name := "none"
	defer func() {
		if r := recover(); r != nil {
			// One caller's request must not end the others'. Nothing a panic says is sent out.
			s.metrics.panics.Inc()
			s.ports.Log.Error("handling request", "route", name, "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
			ctx.Response.Reset()
			s.write(ctx, refusal(s.problem(ErrorInternal, "")))
		}
		s.metrics.open.Dec()
		s.metrics.observe(name, ctx.Response.StatusCode(), time.Since(start))
	}()
	if why := framing(&ctx.Request.Header); why != "" {
		s.metrics.refused.Inc()
		s.write(ctx, refusal(s.problem(ErrorMalformedRequest, why)))
		return
	}
	routes, param := s.router.find(ctx.Path())
	if len(routes) == 0 {
		s.write(ctx, refusal(s.problem(ErrorNotFound, "No such address.")))
		return
	}
	for _, r := range routes {
		if string(ctx.Method()) == r.method {
			name = r.template
			s.write(ctx, s.admit(&call{ctx: ctx, param: param}, r))
			return
		}
	}
	a := refusal(s.problem(ErrorMethodNotAllowed, ""))
	for _, r := range routes {
		a.allow = strings.TrimPrefix(a.allow+", "+r.method, ", ")
	}
	s.write(ctx, a)
}

// admit checks who calls and what the body claims to be, then lets the handler answer.
func (s *Server) admit(c *call, r *route) answer {
	if r.scope != "" {
		if c.caller = s.caller(&c.ctx.Request.Header); c.caller == nil {
			return refusal(s.problem(ErrorUnauthorized, ""))
		}
		if !c.caller.may(r.scope) {
			return refusal(s.problem(ErrorInsufficientScope, "The scope "+r.scope+" is needed."))
		}
	}
	if r.method != fasthttp.MethodGet {
		if p := s.bodyForm(c.ctx, r); p != nil {
			return refusal(p)
		}
	}
	if r.scope != "" && !s.known() {
		return refusal(s.problem(ErrorUnavailable, "This door has just started, and still reads which accounts and cards there are."))
	}
	return r.handle(c)
}

func (s *Server) bodyForm(ctx *fasthttp.RequestCtx, r *route) *Problem {
	h := &ctx.Request.Header
	if len(h.ContentEncoding()) > 0 {
		return s.problem(ErrorMediaType, "No content coding is taken.")
	}
	most := s.cfg.bodyMost(r)
	if len(ctx.Request.Body()) > most {
		return s.problem(ErrorTooLarge, "At most "+strconv.Itoa(most)+" bytes.")
	}
	switch media := mediaType(h.ContentType()); {
	case media == "", media == jsonMediaType, media == curlMediaType:
	case r.batch && media == ndjsonMediaType:
	default:
		return s.problem(ErrorMediaType, "Content-Type has to be "+jsonMediaType+".")
	}
	return nil
}

const (
	ndjsonMediaType = "application/x-ndjson"
	// curlMediaType is what curl -d says of any body unless told otherwise. The body has to be JSON all the same, and the
	// Authorization header keeps a page of a browser from sending one.
	curlMediaType = "application/x-www-form-urlencoded"
)

// mediaType is the type of a Content-Type without its parameters.
func mediaType(header []byte) string {
	if string(header) == jsonMediaType {
		return jsonMediaType
	}
	media, _, _ := strings.Cut(string(header), ";")
	media = strings.ToLower(strings.TrimSpace(media))
	if media == "application/ndjson" {
		return ndjsonMediaType
	}
	return media
}

// problem makes a traced Problem: one that is not about a decision.
func (s *Server) problem(id ErrorID, detail string, violations ...Violation) *Problem {
	return s.traced(s.problems.make(id, detail, violations...))
}

func (s *Server) traced(p *Problem) *Problem {
	p.TraceID = s.prefix + fmt.Sprintf("%016x", s.traces.Add(1))
	return p
}

func (s *Server) write(ctx *fasthttp.RequestCtx, a answer) {
	r := &ctx.Response
	r.SetStatusCode(a.status)
	media := a.media
	if media == "" {
		media = jsonMediaType
	}
	h := &r.Header
	h.SetContentType(media)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if a.location != "" {
		h.Set("Location", a.location)
	}
	if a.allow != "" {
		h.Set("Allow", a.allow)
	}
	if a.applied != "" {
		h.Set(headerApplied, a.applied)
	}
	if a.replayed {
		h.Set(headerReplayed, "true")
	}
	if a.accountSeq > 0 {
		h.Set(headerAccountSeq, strconv.FormatUint(a.accountSeq, 10))
	}
	if a.retry {
		h.Set("Retry-After", strconv.Itoa(max(1, int(s.cfg.RetryAfter/time.Second))))
	}
	if a.status == fasthttp.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="caudal"`)
	}
	if a.closing {
		ctx.SetConnectionClose()
	}
	r.SetBodyRaw(a.body)
}
