package http

import (
	"errors"

	"github.com/valyala/fasthttp"
)

// ReceivedView is the answer to a notification that is in the log.
type ReceivedView struct {
	Status string `json:"status"` // received
}

// postWebhook takes a processor's notification, whoever brings it: the processor's own scheme says whether it is the
// processor's, over the bytes as they came.
func (s *Server) postWebhook(c *call) answer {
	if s.ports.Webhooks == nil {
		return refusal(s.problem(ErrorNotFound, "No such address."))
	}
	header := func(name string) []string {
		var all []string
		for _, v := range c.ctx.Request.Header.PeekAll(name) {
			all = append(all, string(v))
		}
		return all
	}
	err := s.ports.Webhooks.Receive(s.requests, c.param, header, c.ctx.Request.Body())
	switch {
	case err == nil:
		return answer{status: fasthttp.StatusOK, body: encode(ReceivedView{Status: "received"})}
	case errors.Is(err, ErrNotFound):
		return refusal(s.problem(ErrorNotFound, "No such address."))
	case errors.Is(err, ErrForged):
		return refusal(s.problem(ErrorNotificationRefused, ""))
	case errors.Is(err, ErrMalformed):
		return refusal(s.problem(ErrorMalformedJSON, ""))
	case errors.Is(err, ErrLimited):
		return refusal(s.problem(ErrorRateLimited, ""))
	case errors.Is(err, ErrBusy):
		return refusal(s.problem(ErrorBusy, "The buffer of notifications is full."))
	case errors.Is(err, ErrUnavailable):
		return refusal(s.problem(ErrorUnavailable, "The log did not acknowledge in time."))
	default:
		s.ports.Log.Error("receiving notification", "processor", c.param, "error", err)
		return refusal(s.problem(ErrorInternal, ""))
	}
}
