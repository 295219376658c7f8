package http

import (
	"strings"

	"github.com/valyala/fasthttp"

	"github.com/caudalpay/caudal/schemas/openapi"
)

// ReadyView is GET /readyz.
type ReadyView struct {
	Status string      `json:"status"` // ready, or not_ready
	Checks []CheckView `json:"checks"`
}

// CheckView is one part of the house.
type CheckView struct {
	Name   string `json:"name"`
	Ready  bool   `json:"ready"`
	Detail string `json:"detail,omitzero"`
}

// HealthView is GET /healthz: the process answers.
type HealthView struct {
	Status string `json:"status"` // ok
}

// ErrorView is GET /errors/{id}: what docs/errors.md says.
type ErrorView struct {
	Code    ErrorID `json:"code"`
	Status  int     `json:"status"`
	Title   string  `json:"title"`
	Meaning string  `json:"meaning"`
}

func (s *Server) getHealth(*call) answer {
	return answer{status: fasthttp.StatusOK, body: encode(HealthView{Status: "ok"})}
}

func (s *Server) getReady(*call) answer {
	view := ReadyView{Status: "ready", Checks: make([]CheckView, 0, len(s.ports.Checks)+1)}
	checks := append([]Check{{Name: "http", Ready: func() error {
		if s.serving.Load() {
			return nil
		}
		return fasthttp.ErrConnectionClosed
	}}}, s.ports.Checks...)
	status := fasthttp.StatusOK
	for _, c := range checks {
		row := CheckView{Name: c.Name, Ready: true}
		if err := c.Ready(); err != nil {
			row.Ready, row.Detail = false, err.Error()
			view.Status, status = "not_ready", fasthttp.StatusServiceUnavailable
		}
		view.Checks = append(view.Checks, row)
	}
	return answer{status: status, body: encode(view), retry: status != fasthttp.StatusOK}
}

func (s *Server) getMetrics(c *call) answer {
	s.exporter(c.ctx)
	r := &c.ctx.Response
	return answer{status: r.StatusCode(), media: string(r.Header.ContentType()), body: append([]byte(nil), r.Body()...)}
}

func (s *Server) getOpenAPI(*call) answer {
	return answer{status: fasthttp.StatusOK, body: []byte(openapi.Document())}
}

func (s *Server) getError(c *call) answer {
	e, ok := s.problems[ErrorID(c.param)]
	if !ok {
		return refusal(s.problem(ErrorNotFound, "No such error id."))
	}
	return answer{status: fasthttp.StatusOK, body: encode(ErrorView{Code: e.id, Status: e.status, Title: e.title, Meaning: e.meaning})}
}

// getIndex lists the addresses, for whoever opens the door with a browser.
func (s *Server) getIndex(*call) answer {
	var b strings.Builder
	b.WriteString("Caudal: payments, decided in order and proven.\n\n")
	for _, r := range s.routes() {
		key := ""
		if r.scope != "" {
			key = "   (Authorization: Bearer, scope " + r.scope + ")"
		}
		b.WriteString(r.method + strings.Repeat(" ", 5-len(r.method)) + r.template + key + "\n")
	}
	b.WriteString("\nThe contract is /openapi.json; what an error code means is at /errors/{code}.\n")
	return answer{status: fasthttp.StatusOK, media: "text/plain; charset=utf-8", body: []byte(b.String())}
}
