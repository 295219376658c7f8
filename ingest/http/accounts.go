package http

import "github.com/caudalpay/caudal/processors/payment"

func (s *Server) postAccounts(c *call) answer {
	r := accountRequest{policy: s.cfg.PolicyDefault}
	if a := s.read(c.ctx.Request.Body(), func(d *decoder) error { return d.account(&r) }); a != nil {
		return *a
	}
	key, a := s.idempotencyKey(c)
	if a != nil {
		return *a
	}
	p, problem, err := s.open(c.caller, &r, key)
	if problem != nil || err != nil {
		return s.refused(problem, err)
	}
	return s.submit(c, &p, p.opened)
}

func (s *Server) putKYCLevel(c *call) answer {
	var account payment.AccountID
	known := false
	if isName(c.param) {
		account, known = s.ports.Accounts.CustomerAccount(c.caller.Tenant, c.caller.Merchant, c.param)
	}
	if !known {
		return refusal(s.problem(ErrorNotFound, "No such customer of yours."))
	}
	var level int64
	if a := s.read(c.ctx.Request.Body(), func(d *decoder) error { return d.kycLevel(&level) }); a != nil {
		return *a
	}
	key, a := s.idempotencyKey(c)
	if a != nil {
		return *a
	}
	p, err := s.level(c.caller, c.param, account, level, key)
	if err != nil {
		return s.refused(nil, err)
	}
	return s.submit(c, &p, p.leveled)
}
