package http

import (
	"context"
	"errors"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/caudalpay/caudal/processors/payment"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

func (s *Server) postPayIns(c *call) answer     { return s.postPayment(c, payment.KindPayIn) }
func (s *Server) postPayOuts(c *call) answer    { return s.postPayment(c, payment.KindPayOut) }
func (s *Server) postTransfers(c *call) answer  { return s.postPayment(c, payment.KindTransfer) }
func (s *Server) postRefunds(c *call) answer    { return s.postPayment(c, payment.KindRefund) }
func (s *Server) postCaptures(c *call) answer   { return s.postOperation(c, payment.KindCapture) }
func (s *Server) postVoids(c *call) answer      { return s.postOperation(c, payment.KindVoid) }
func (s *Server) postIncrements(c *call) answer { return s.postOperation(c, payment.KindIncrement) }
func (s *Server) postApprove(c *call) answer    { return s.postVerdict(c, payment.KindApprove) }
func (s *Server) postDecline(c *call) answer    { return s.postVerdict(c, payment.KindDecline) }

func (s *Server) postPayment(c *call, kind payment.Kind) answer {
	r, a := s.readPayment(c.ctx.Request.Body(), kind)
	if a != nil {
		return *a
	}
	return s.postRead(c, r)
}

// postOperation takes what is to be done about a pay-in, which stands in the address. Where nothing has to be said, nothing
// need be sent.
func (s *Server) postOperation(c *call, kind payment.Kind) answer {
	id, err := payment.ParseID(c.param)
	if err != nil || id.Kind() != payment.KindPayIn {
		return refusal(s.problem(ErrorPaymentUnknown, noPayment))
	}
	body := c.ctx.Request.Body()
	if len(body) == 0 {
		body = []byte("{}")
	}
	r, a := s.readPayment(body, kind)
	if a != nil {
		return *a
	}
	r.concern(id)
	return s.postRead(c, r)
}

func (s *Server) readPayment(body []byte, kind payment.Kind) (*paymentRequest, *answer) {
	var r paymentRequest
	if p := (plain{text: string(body)}); p.payment(&r, kind) && p.end() {
		return &r, nil
	}
	r = paymentRequest{}
	return &r, s.read(body, func(d *decoder) error { return d.payment(&r, kind) })
}

// postRead takes a payment whose body was read to the log.
func (s *Server) postRead(c *call, r *paymentRequest) answer {
	key, a := s.idempotencyKey(c)
	if a != nil {
		return *a
	}
	r.key = key
	p, problem, err := s.pay(c.caller, r, s.ports.Now().UnixMicro(), &parcel{})
	if problem != nil || err != nil {
		return s.refused(problem, err)
	}
	if r.kind == payment.KindFXQuote {
		return s.submit(c, &p, p.quoted)
	}
	return s.submit(c, &p, p.paid)
}

// read decodes a body; what breaks a rule becomes the answer.
func (s *Server) read(body []byte, decode func(*decoder) error) *answer {
	d := s.decoders.get(body)
	defer s.decoders.put(d)
	err := decode(d)
	if err == nil {
		err = d.end()
	}
	if problem := s.unreadable(d, err); problem != nil {
		a := refusal(s.traced(problem))
		return &a
	}
	return nil
}

// unreadable says what is wrong with a body, or nothing.
func (s *Server) unreadable(d *decoder, err error) *Problem {
	if err != nil {
		var bad *syntaxError
		if !errors.As(err, &bad) {
			bad = &syntaxError{detail: "the body cannot be read"}
		}
		return s.problems.make(ErrorMalformedJSON, bad.detail, violation(bad.pointer, codeMalformed, bad.detail))
	}
	if len(d.violations) == 0 {
		return nil
	}
	id := ErrorMethodUnavailable
	for _, v := range d.violations {
		if v.Code != string(ErrorMethodUnavailable) {
			id = ErrorInvalidRequest
		}
	}
	return s.problems.make(id, "", d.violations...)
}

func (s *Server) idempotencyKey(c *call) (string, *answer) {
	headers := c.ctx.Request.Header.PeekAll(headerIdempotencyKey)
	id, code := ErrorMissingKey, codeRequired
	switch {
	case len(headers) == 0, len(headers) == 1 && len(headers[0]) == 0:
	case len(headers) > 1 || !isIdempotencyKey(headers[0]):
		id, code = ErrorInvalidKey, codeMalformed
	default:
		return string(headers[0]), nil
	}
	a := refusal(s.problem(id, "", Violation{Parameter: headerIdempotencyKey, Code: code, Detail: "1 to 255 visible ASCII characters, once"}))
	return "", &a
}

// refused answers what did not become a command.
func (s *Server) refused(problem *Problem, err error) answer {
	if err != nil {
		s.ports.Log.Error("preparing command", "error", err)
		problem = s.problems.make(ErrorUnavailable, "The request cannot be prepared now.")
	}
	return refusal(s.traced(problem))
}

// submit takes one command to the log and answers its decision, or that it is pending.
func (s *Server) submit(c *call, p *prepared, granted func(*paymentsv1.Decision) answer) answer {
	want := prefer(c.ctx.Request.Header.PeekAll(headerPrefer), s.cfg.WaitDefault, s.cfg.WaitMax)
	var a answer
	if want.wait == 0 {
		a = s.submitOnly(p)
	} else {
		a = s.submitAndWait(p, want.wait, granted)
	}
	a.applied = want.applied
	return a
}

func (s *Server) submitOnly(p *prepared) answer {
	holder := s.holders.Add(1)
	known := s.recent.begin(&p.identity, p.asked(), holder, false)
	if known == standingConflict && p.once != nil {
		return s.conflict() // the log would grant it
	}
	err := s.ports.Commands.Submit(s.requests, p.item.Key, p.item.Command)
	s.recent.end(&p.identity, holder, err == nil)
	if a := s.failed(p, err); a != nil {
		return *a
	}
	return s.acknowledged(p, known)
}

// acknowledged answers a caller that does not wait. The command is in the log whatever the memory says, so a
// conflict becomes a decision as well.
func (s *Server) acknowledged(p *prepared, known standing) answer {
	if known == standingConflict {
		return s.conflict()
	}
	a := p.pending()
	a.replayed = known == standingRepeated
	return a
}

func (s *Server) submitAndWait(p *prepared, wait time.Duration, granted func(*paymentsv1.Decision) answer) answer {
	holder := s.holders.Add(1)
	known := s.recent.begin(&p.identity, p.asked(), holder, true)
	switch {
	case known == standingOpen:
		return refusal(s.problem(ErrorInFlight, ""))
	case known == standingConflict && p.once != nil:
		return s.conflict() // the log would judge it by its account or card, and grant another under the same key
	}
	deadline := time.Now().Add(wait)
	acked := false
	defer func() { s.recent.end(&p.identity, holder, acked) }()
	d, err := s.ports.Commands.SubmitAndWait(s.requests, p.item.Key, p.item.Command, wait)
	acked = err == nil || errors.Is(err, ErrPending)
	if a := s.failed(p, err); a != nil {
		return *a
	}
	a := s.decided(p, d, granted)
	if p.kind == payment.KindOpenAccount && known == standingRepeated {
		a.replayed = true // a customer's key declines again without remembering that it did
	}
	if p.kind == payment.KindOpenAccount && a.status == fasthttp.StatusCreated {
		// The account exists; it can be used through this door once the directory has it here.
		ctx, cancel := context.WithDeadline(s.requests, deadline)
		defer cancel()
		if err := s.ports.Accounts.WaitAccount(ctx, p.account); err != nil {
			return p.pending()
		}
	}
	return a
}

func (s *Server) postVerdict(c *call, kind payment.Kind) answer {
	id, err := payment.ParseID(c.param)
	if err != nil {
		return refusal(s.problem(ErrorPaymentUnknown, noPayment))
	}
	if body := c.ctx.Request.Body(); len(body) > 0 {
		if a := s.read(body, (*decoder).nothing); a != nil {
			return *a
		}
	}
	key, a := s.idempotencyKey(c)
	if a != nil {
		return *a
	}
	p, problem, err := s.verdict(c.caller, kind, id, key)
	if problem != nil || err != nil {
		return s.refused(problem, err)
	}
	return s.submit(c, &p, p.ruled)
}
