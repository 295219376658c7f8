package acquirer

import (
	"fmt"
	"slices"
	"time"

	"github.com/caudalpay/caudal/processors/money"
	"github.com/caudalpay/caudal/schemas/rails/iso8583"
)

// account is one card, and what the acquirer believes it can pay. One exchange of an account is under way at a time, or a
// pair that must be answered in order, so that every answer can be foretold.
type account struct {
	id, number string
	available  int64 // posted less held
	open       []*authorization
	past       []*authorization // answered, for repeats; the last few
	plan       []*exchange      // what has to come next
	waiting    int              // exchanges under way
}

// authorization is one that was answered.
type authorization struct {
	message    iso8583.Message
	authorized int64
	hold       int64
	captured   int64
	financial  bool
	code       iso8583.ResponseCode
	authCode   string
}

const pastMost = 8

func (a *account) remember(auth *authorization) {
	if a.past = append(a.past, auth); len(a.past) > pastMost {
		a.past = a.past[1:]
	}
}

// undo takes a hold, or what was posted, back.
func (a *account) undo(auth *authorization) {
	a.available += auth.hold
	if auth.financial {
		a.available += auth.captured
	}
	a.close(auth)
}

func (a *account) close(auth *authorization) {
	a.open = slices.DeleteFunc(a.open, func(o *authorization) bool { return o == auth })
}

// exchange is a message and what has to be answered.
type exchange struct {
	account *account
	message iso8583.Message
	accept  []iso8583.ResponseCode // the first is foretold; the others may be, where something went wrong on the way
	// grant takes an approval into the model; answers that approve nothing need none.
	grant  func(ex *exchange, response *iso8583.Message)
	first  *authorization // the request that this has the key of, be it its repeat or in conflict with it
	behind *exchange      // sent at once behind this one on the same connection
	due    time.Time
	sent   time.Time // the last time
	resent bool      // its connection broke before it was answered
}

func (e *exchange) isRequest() bool {
	return e.message.MTI == iso8583.AuthorizationRequest || e.message.MTI == iso8583.FinancialRequest
}

// message makes a request of a type, of which there is no other.
func (a *Acquirer) message(mti iso8583.MTI, of *account, amount int64) iso8583.Message {
	a.mu.Lock()
	a.stan++
	stan := a.stan % 1_000_000
	a.mu.Unlock()
	now := time.Now().UTC()
	m := iso8583.Message{
		MTI: mti, PAN: iso8583.PAN(of.number), ProcessingCode: "003000", AmountMinor: amount, TransmissionTime: iso8583.TransmissionTimeOf(now),
		STAN: iso8583.STAN(fmt.Sprintf("%06d", stan)), AcquirerID: "858300", RRN: iso8583.RRN(fmt.Sprintf("%s%06d", now.Format("150405"), stan)),
		Terminal: "RAILSIM", Merchant: "SIMULATED", Currency: money.Currency(a.cfg.Currency),
	}
	if mti.Class() != iso8583.ClassReversal {
		m.LocalTime, m.LocalDate, m.MCC, m.EntryMode, m.ConditionCode = now.Format("150405"), now.Format("0102"), "5411", "051", "00"
		m.Expiry = "4912"
	}
	return m
}

func naming(m iso8583.Message, original *iso8583.Message) iso8583.Message {
	m.OriginalData = iso8583.OriginalData{
		MTI: original.MTI, STAN: original.STAN, TransmissionTime: original.TransmissionTime, AcquirerID: original.AcquirerID,
	}
	m.Terminal = original.Terminal
	return m
}

// fact is an exchange that is always accepted; effect is what it does to the account.
func (a *Acquirer) fact(of *account, m iso8583.Message, effect func()) *exchange {
	return &exchange{account: of, message: m, accept: []iso8583.ResponseCode{iso8583.ResponseApproved}, grant: func(*exchange, *iso8583.Message) { effect() }}
}

// next is what an account does in its turn.
func (a *Acquirer) next(of *account) *exchange {
	if len(of.plan) > 0 {
		planned := of.plan[0]
		of.plan = of.plan[1:]
		return planned
	}
	if of.available < 100 {
		return a.credit(of)
	}
	var open *authorization
	if len(of.open) > 0 {
		open = of.open[a.roll(int64(len(of.open)))]
	}
	switch dice := a.roll(100); {
	case dice < 10:
		return a.authorize(of, of.available+1+a.roll(of.available)) // more than there is
	case dice < 17 && len(of.past) > 0:
		return a.again(of.past[a.roll(int64(len(of.past)))], of)
	case dice < 18 && len(of.past) > 0:
		return a.conflict(of.past[a.roll(int64(len(of.past)))], of)
	case dice < 27 && open != nil:
		return a.reverse(of, open)
	case dice < 36 && open != nil && !open.financial:
		return a.collect(of, open)
	case dice < 38:
		return a.crossing(of)
	case dice < 39:
		return a.reversalFirst(of, true)
	case dice < 40:
		return a.reversalFirst(of, false)
	case dice < 44:
		return a.advise(of)
	case dice < 45:
		return a.uncollected(of)
	case dice < 46:
		return a.credit(of)
	case dice < 47:
		return a.stranger(of)
	default:
		return a.authorize(of, 1+a.roll(of.available/4))
	}
}

// authorize asks for an amount; some ask for the balance too, and some post at once.
func (a *Acquirer) authorize(of *account, amount int64) *exchange {
	mti := iso8583.AuthorizationRequest
	if a.roll(8) == 0 {
		mti = iso8583.FinancialRequest
	}
	ex := &exchange{account: of, message: a.message(mti, of, amount), accept: []iso8583.ResponseCode{iso8583.ResponseApproved}}
	if amount > of.available {
		ex.accept[0] = iso8583.ResponseInsufficientFunds
	}
	if a.roll(4) == 0 {
		ex.message.AdditionalAmounts = []iso8583.AdditionalAmount{{AccountType: "30", AmountType: "02", Currency: ex.message.Currency}}
	}
	ex.grant = func(ex *exchange, response *iso8583.Message) {
		of.available -= amount
		auth := &authorization{
			message: ex.message, authorized: amount, hold: amount, financial: mti == iso8583.FinancialRequest, code: response.ResponseCode, authCode: response.AuthCode,
		}
		if auth.financial {
			auth.hold, auth.captured = 0, amount
		}
		of.open = append(of.open, auth)
		of.remember(auth)
	}
	return ex
}

func (a *Acquirer) again(auth *authorization, of *account) *exchange {
	m := auth.message
	m.AdditionalAmounts = nil
	return &exchange{account: of, message: m, accept: []iso8583.ResponseCode{auth.code}, first: auth}
}

// conflict is another request with the key of an earlier one.
func (a *Acquirer) conflict(auth *authorization, of *account) *exchange {
	m := auth.message
	m.AmountMinor++
	return &exchange{account: of, message: m, accept: []iso8583.ResponseCode{iso8583.ResponseDuplicate}, first: auth}
}

// reverse takes back an authorization, a part of one, or one that was taken back already.
func (a *Acquirer) reverse(of *account, auth *authorization) *exchange {
	mti := []iso8583.MTI{iso8583.ReversalRequest, iso8583.ReversalAdvice, iso8583.ReversalAdviceRepeat}[a.roll(3)]
	m := naming(a.message(mti, of, auth.message.AmountMinor), &auth.message)
	m.ResponseCode = iso8583.ResponseCustomerCancelled
	if left := auth.authorized / 2; left > 0 && auth.hold == auth.authorized && a.roll(4) == 0 {
		m.ReplacementAmounts = &iso8583.ReplacementAmounts{TransactionMinor: left}
		return a.fact(of, m, func() {
			of.available += auth.authorized - left
			auth.authorized, auth.hold = left, left
		})
	}
	first := a.fact(of, m, func() { of.undo(auth) })
	switch a.roll(4) {
	case 0: // once more, as one whose answer was lost
		m.MTI = iso8583.ReversalAdviceRepeat
		of.plan = append(of.plan, a.fact(of, m, func() {}))
	case 1: // the network collects all the same: that is not the account's loss
		if !auth.financial && auth.captured == 0 {
			late := a.fact(of, naming(a.message(iso8583.FinancialAdvice, of, auth.message.AmountMinor), &auth.message), func() {})
			if !a.filed(late) {
				of.plan = append(of.plan, late)
			}
		}
	}
	return first
}

// collect clears an authorization, by message or by file. What is collected by file is this acquirer's no more until the file is
// loaded: nothing else is done about it.
func (a *Acquirer) collect(of *account, auth *authorization) *exchange {
	ex := a.clearing(of, auth)
	if !a.filed(ex) {
		return ex
	}
	of.close(auth)
	of.past = slices.DeleteFunc(of.past, func(p *authorization) bool { return p == auth })
	return a.authorize(of, 1+a.roll(of.available/4))
}

// clearing is of an authorization: as it stands, of a part, of more or of less.
func (a *Acquirer) clearing(of *account, auth *authorization) *exchange {
	amount := max(1, auth.authorized*(50+a.roll(70))/100)
	m := naming(a.message(iso8583.FinancialAdvice, of, amount), &auth.message)
	if part := auth.authorized / 3; part > 0 && auth.hold > part && a.roll(3) == 0 {
		m.AmountMinor, m.ResponseCode = part, iso8583.ResponsePartiallyApproved
		return a.fact(of, m, func() {
			auth.hold -= part
			if auth.captured += part; auth.captured >= auth.authorized {
				of.available += auth.hold
				of.close(auth)
			}
		})
	}
	return a.fact(of, m, func() {
		of.available += auth.hold - amount
		of.close(auth)
	})
}

// crossing sends an authorization and its reversal without waiting.
func (a *Acquirer) crossing(of *account) *exchange {
	auth := a.authorize(of, 1+a.roll(of.available))
	auth.message.MTI, auth.message.AdditionalAmounts = iso8583.AuthorizationRequest, nil
	// Where the first was told 91, or came again after its reversal, it is refused; the account has its money either way.
	auth.accept = append(auth.accept, iso8583.ResponseNoAction, iso8583.ResponseIssuerUnavailable)
	auth.grant = func(*exchange, *iso8583.Message) {}
	reversal := naming(a.message(iso8583.ReversalAdvice, of, auth.message.AmountMinor), &auth.message)
	reversal.ResponseCode = iso8583.ResponseLate
	auth.behind = a.fact(of, reversal, func() {})
	return auth
}

// reversalFirst reverses what was never asked, or is asked afterwards and must be refused.
func (a *Acquirer) reversalFirst(of *account, asks bool) *exchange {
	auth := a.message(iso8583.AuthorizationRequest, of, 1+a.roll(of.available))
	reversal := naming(a.message(iso8583.ReversalAdvice, of, auth.AmountMinor), &auth)
	reversal.ResponseCode = iso8583.ResponseLate
	if asks {
		of.plan = append(of.plan, &exchange{account: of, message: auth, accept: []iso8583.ResponseCode{iso8583.ResponseNoAction}})
	}
	return a.fact(of, reversal, func() {})
}

// advise tells what somebody else granted, whatever is available, or refused.
func (a *Acquirer) advise(of *account) *exchange {
	amount := 1 + a.roll(of.available+of.available/10)
	m := a.message(iso8583.AuthorizationAdvice, of, amount)
	if a.roll(4) == 0 {
		m.ResponseCode = iso8583.ResponseDoNotHonour
		return a.fact(of, m, func() {})
	}
	return a.fact(of, m, func() {
		of.available -= amount
		of.open = append(of.open, &authorization{message: m, authorized: amount, hold: amount})
	})
}

// uncollected clears what nobody authorised.
func (a *Acquirer) uncollected(of *account) *exchange {
	amount := 1 + a.roll(of.available/10)
	ex := a.fact(of, a.message(iso8583.FinancialAdvice, of, amount), func() { of.available -= amount })
	if a.filed(ex) {
		return a.authorize(of, 1+a.roll(of.available/4))
	}
	return ex
}

// credit gives money, so that the account can go on.
func (a *Acquirer) credit(of *account) *exchange {
	amount := max(a.cfg.FundMinor/2, 100-of.available)
	m := a.message(iso8583.FinancialAdvice, of, amount)
	m.ProcessingCode = "200030"
	return a.fact(of, m, func() { of.available += amount })
}

// stranger asks with a card that nobody has, or a wrong date.
func (a *Acquirer) stranger(of *account) *exchange {
	ex := &exchange{account: of, message: a.message(iso8583.AuthorizationRequest, of, 1), accept: []iso8583.ResponseCode{iso8583.ResponseInvalidCard}}
	if a.roll(2) == 0 {
		ex.message.Expiry, ex.accept[0] = "4811", iso8583.ResponseExpiredCard
		return ex
	}
	ex.message.PAN = iso8583.PAN(cardNumber(a.cfg.Run+" nobody", int(a.roll(1_000_000))))
	return ex
}
