package acquirer

import (
	"fmt"
	"slices"
	"time"

	"github.com/caudalpay/caudal/schemas/rails/iso8583"
)

// act sends an account's next message.
func (a *Acquirer) act(of *account, due time.Time) {
	ex := a.next(of)
	of.waiting = 1
	ex.due = due
	l := a.lines[a.roll(int64(len(a.lines)))]
	if ex.behind != nil {
		of.waiting = 2
		ex.behind.due = due
	}
	l.send(ex)
}

// answered judges an answer, and lets the account go on.
func (a *Acquirer) answered(ex *exchange, response *iso8583.Message) {
	latency := time.Since(ex.due)
	a.report.answer(ex.message.MTI, response.ResponseCode, latency)
	a.judge(ex, response, latency)
	a.done(ex)
}

func (a *Acquirer) done(ex *exchange) {
	if ex.account.waiting--; ex.account.waiting == 0 {
		a.idle <- ex.account
	}
}

func (a *Acquirer) judge(ex *exchange, response *iso8583.Message, latency time.Duration) {
	code, wanted := response.ResponseCode, ex.accept[0]
	stoodIn := latency >= a.cfg.Deadline*9/10
	switch {
	case code == iso8583.ResponseIssuerUnavailable && !ex.isRequest(): // nobody knows: once more
		a.report.unavailable()
		ex.account.plan = slices.Insert(ex.account.plan, 0, &exchange{
			account: ex.account, message: repeated(ex.message), accept: ex.accept, grant: ex.grant,
		})
	case code == iso8583.ResponseIssuerUnavailable: // declined without the core: nothing is held, by what it repeats neither
		a.report.standIn()
		if ex.first != nil && wanted != iso8583.ResponseDuplicate && stoodIn { // of another request under its key nothing is taken back
			a.forget(ex)
		}
	case code == wanted:
		a.agreed(ex, response)
	case code == iso8583.ResponseApproved && wanted == iso8583.ResponseInsufficientFunds && stoodIn: // granted without the core
		a.report.standIn()
		a.force(ex, response)
	case code == iso8583.ResponseApproved && wanted == iso8583.ResponseNoAction && stoodIn: // and the core knows that it was taken back
		a.report.standIn()
	case code == iso8583.ResponseApproved && wanted == iso8583.ResponseDuplicate && stoodIn: // and the core, which knows the key, holds nothing
		a.report.standIn()
	case code == iso8583.ResponseDoNotHonour && ex.resent && ex.isRequest(): // declined without the core, and that answer was lost
		a.report.standIn()
	case slices.Contains(ex.accept, code):
	default:
		a.report.wrong(fmt.Sprintf("%s is answered %s, expected %s; available %d", &ex.message, string(code), string(wanted), ex.account.available))
	}
}

// forget takes back the first request of a key, which a decline without the core, or this acquirer, has reversed.
func (a *Acquirer) forget(ex *exchange) {
	of := ex.account
	if slices.Contains(of.open, ex.first) {
		of.undo(ex.first)
	}
	of.past = slices.DeleteFunc(of.past, func(p *authorization) bool { return p == ex.first })
}

// force takes in a grant that there was no money for.
func (a *Acquirer) force(ex *exchange, response *iso8583.Message) {
	if ex.first == nil {
		ex.grant(ex, response)
		return
	}
	amount := ex.message.AmountMinor
	ex.first.code, ex.first.authCode = response.ResponseCode, response.AuthCode
	ex.first.authorized, ex.first.hold = amount, amount
	if ex.first.financial = ex.message.MTI == iso8583.FinancialRequest; ex.first.financial {
		ex.first.hold, ex.first.captured = 0, amount
	}
	ex.account.available -= amount
	ex.account.open = append(ex.account.open, ex.first)
}

// agreed takes in an answer that was foretold, and looks at the rest of it.
func (a *Acquirer) agreed(ex *exchange, response *iso8583.Message) {
	if ex.first != nil && response.ResponseCode == ex.first.code && response.AuthCode != ex.first.authCode {
		a.report.wrong(fmt.Sprintf("%s is answered with code %q, at first with %q", &ex.message, response.AuthCode, ex.first.authCode))
	}
	approved := response.ResponseCode.Approves()
	if ex.isRequest() && approved != (response.AuthCode != "") {
		a.report.wrong(fmt.Sprintf("%s is answered %s with authorization code %q", &ex.message, string(response.ResponseCode), response.AuthCode))
	}
	switch {
	case approved && ex.grant != nil:
		ex.grant(ex, response)
	case ex.isRequest() && response.ResponseCode == iso8583.ResponseInsufficientFunds && ex.first == nil && ex.behind == nil:
		ex.account.remember(&authorization{message: ex.message, code: response.ResponseCode})
	}
	for _, b := range response.AdditionalAmounts {
		if b.AmountType == "02" && ex.first == nil && ex.isRequest() && b.AmountMinor != ex.account.available {
			a.report.wrong(fmt.Sprintf("%s is answered with a balance of %d, expected %d", &ex.message, b.AmountMinor, ex.account.available))
		}
	}
}

// unanswered goes on as an acquirer must: what was asked is reversed, what was told is told again. A repeat is reversed as well: a
// door that stands in for it may take back, or grant, what its first was told.
func (a *Acquirer) unanswered(ex *exchange) {
	a.report.timeout()
	again := &exchange{account: ex.account, message: repeated(ex.message), accept: ex.accept, grant: ex.grant}
	if ex.isRequest() {
		m := naming(a.message(iso8583.ReversalAdvice, ex.account, ex.message.AmountMinor), &ex.message)
		m.ResponseCode = iso8583.ResponseLate
		again = a.fact(ex.account, m, func() {
			if ex.first != nil {
				a.forget(ex)
			}
		})
	}
	ex.account.plan = slices.Insert(ex.account.plan, 0, again)
	a.done(ex)
}

// repeated is a message sent again: facts have a type of their own for that, requests have none.
func repeated(m iso8583.Message) iso8583.Message {
	switch m.MTI {
	case iso8583.AuthorizationAdvice:
		m.MTI = iso8583.AuthorizationAdviceRepeat
	case iso8583.FinancialAdvice:
		m.MTI = iso8583.FinancialAdviceRepeat
	case iso8583.ReversalRequest:
		m.MTI = iso8583.ReversalRequestRepeat
	case iso8583.ReversalAdvice:
		m.MTI = iso8583.ReversalAdviceRepeat
	default:
	}
	return m
}
