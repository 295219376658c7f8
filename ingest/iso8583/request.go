package iso8583

import (
	"crypto/sha256"
	"errors"
	"time"

	"github.com/caudalpay/caudal/ingest/door"
	"github.com/caudalpay/caudal/ingest/issuing"
	"github.com/caudalpay/caudal/processors/payment"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/schemas/rails/iso8583"
)

// verdict is what an acquirer is told.
type verdict struct {
	code     iso8583.ResponseCode
	authCode string
	amounts  []iso8583.AdditionalAmount
}

// started is a message that was begun: its verdict, or what waits for it.
type started struct {
	verdict verdict
	wait    func() verdict
}

func refused(code iso8583.ResponseCode) started { return started{verdict: verdict{code: code}} }

// holder is the card of a message, and whose it is.
type holder struct{ issuing.Holder }

// start resolves a message and hands its command to the log.
func (s *Server) start(m *iso8583.Message, arrived time.Time) started {
	h, code := s.resolve(m)
	if code != "" {
		return refused(code)
	}
	now := s.ports.Now()
	own, err := m.TransmissionTime.At(now)
	if err != nil {
		return refused(iso8583.ResponseFormatError)
	}
	switch m.MTI.Repeated() {
	case iso8583.AuthorizationRequest, iso8583.FinancialRequest:
		return s.authorize(m, &h, own, now, arrived)
	case iso8583.AuthorizationAdvice:
		return s.advise(m, &h, own, now, arrived)
	case iso8583.FinancialAdvice:
		return s.clear(m, &h, own, now, arrived)
	case iso8583.ReversalRequest, iso8583.ReversalAdvice:
		return s.reverse(m, &h, own, now, arrived)
	default:
		return refused(iso8583.ResponseInvalidTransaction)
	}
}

// resolve finds whose card it is. An unknown card is refused in facts too: there is no account to post them to.
func (s *Server) resolve(m *iso8583.Message) (holder, iso8583.ResponseCode) {
	h := holder{issuing.Holder{Key: s.ports.Sealer.CardKey(string(m.Card()))}}
	var ok bool
	if h.Card, ok = s.ports.Cards.Card(h.Key); !ok {
		return h, iso8583.ResponseInvalidCard
	}
	if h.Account, ok = s.ports.Accounts.Account(h.Card.Account); !ok {
		return h, iso8583.ResponseInvalidCard
	}
	pins, err := s.ports.Pins.Pin(h.Account.Policy)
	if err != nil {
		s.ports.Log.Error("pinning reference data", "account", string(h.Card.Account), "error", err)
		return h, iso8583.ResponseSystemMalfunction
	}
	h.Pins = pins
	return h, ""
}

// usable is why the card may not pay now; empty: it may.
func (h *holder) usable(m *iso8583.Message, now time.Time) iso8583.ResponseCode {
	now = now.UTC()
	month := int32(now.Year()%100*100) + int32(now.Month()) //nolint:gosec // below 9912
	switch {
	case h.Card.Status != paymentsv1.CardStatus_CARD_STATUS_ACTIVE:
		return iso8583.ResponseRestrictedCard
	case h.Card.Expiry < month, m.Expiry != "" && yearMonth(m.Expiry) != h.Card.Expiry:
		return iso8583.ResponseExpiredCard
	default:
		return ""
	}
}

// yearMonth reads field 14, which is four digits.
func yearMonth(expiry iso8583.Secret) (n int32) {
	for _, c := range []byte(expiry) {
		n = n*10 + int32(c-'0')
	}
	return n
}

// The names of reversals.
const (
	identityReversal = "reversal"
	identityStandIn  = "stand-in"
)

// named is the message itself, with the year it was sent in.
func named(m *iso8583.Message, own time.Time) issuing.Message {
	return issuing.Message{Key: m.MatchKey(), At: own}
}

// original is the message that field 90 names; the zero value where there is no field 90.
func original(m *iso8583.Message, own time.Time) (issuing.Message, error) {
	key, ok := m.OriginalKey()
	if !ok {
		return issuing.Message{}, nil
	}
	at, err := key.TransmissionTime.At(own) // the year nearest to the message that names it
	if err != nil {
		return issuing.Message{}, err //nolint:wrapcheck // it says what it was reading
	}
	return issuing.Message{Key: key, At: at}, nil
}

// transaction is the body of an authorization and of an advice.
func (s *Server) transaction(m *iso8583.Message, h *holder, own time.Time) *paymentsv1.CardTransaction {
	acquirer := m.MatchKey().AcquirerID
	acceptor := s.ports.Sealer.PartyDigest("iso8583/" + acquirer + "/" + m.Merchant)
	return &paymentsv1.CardTransaction{
		AmountMinor: m.AmountMinor, Currency: string(m.Currency), Financial: m.MTI == iso8583.FinancialRequest, Card: string(h.Key),
		Counterparty:   &paymentsv1.Counterparty{Digest: acceptor, AccountDigest: acceptor},
		ProcessingCode: m.ProcessingCode, Mcc: m.MCC, EntryMode: m.EntryMode, ConditionCode: m.ConditionCode,
		Acquirer: acquirer, CardAcceptor: m.Merchant, Terminal: m.Terminal, Rrn: string(m.RRN), Stan: string(m.STAN),
		TransmittedAtUs: own.UnixMicro(),
	}
}

// asked is what a message asks for.
func asked(m *iso8583.Message, own time.Time) issuing.Request {
	return issuing.Request{
		Message: named(m, own), AmountMinor: m.AmountMinor, Currency: string(m.Currency), ProcessingCode: m.ProcessingCode,
		Merchant: m.Merchant, MCC: m.MCC, RRN: string(m.RRN),
	}
}

func (s *Server) bodyHash(m *iso8583.Message, h *holder, own time.Time) []byte {
	r := asked(m, own)
	return r.Hash(make([]byte, 0, sha256.Size), h.Key, s.ports.Sealer.AppendBodyHash)
}

// authorize asks the core whether the card may pay.
func (s *Server) authorize(m *iso8583.Message, h *holder, own, now, arrived time.Time) started {
	if !issuing.Debits(m.ProcessingCode) {
		return refused(iso8583.ResponseInvalidTransaction)
	}
	if code := h.usable(m, now); code != "" {
		return refused(code)
	}
	id := named(m, own).Authorization(h.Card.Account)
	a := &authorization{server: s, id: id, holder: *h, message: *m, own: own, deadline: arrived.Add(s.cfg.Deadline)}
	a.hash = s.bodyHash(m, h, own)
	if first, twin := s.twins.join(a); !first {
		return started{wait: twin.verdict}
	}
	handed := false
	defer func() {
		if !handed { // by a panic: whoever waits for this one is answered as it is
			s.twins.part(a, verdict{code: iso8583.ResponseSystemMalfunction})
		}
	}()
	cmd := h.Command(payment.KindAuthorization, now)
	a.asked = cmd.GetAcceptedAtUs()
	cmd.CommandId, cmd.PaymentId, cmd.BodyHash = string(id), string(id), a.hash
	cmd.Body = &paymentsv1.Command_CardTransaction{CardTransaction: s.transaction(m, h, own)}
	ticket, v := s.hand(cmd)
	handed = true
	if ticket == nil {
		s.twins.part(a, v)
		return started{verdict: v}
	}
	a.ticket = ticket
	return started{wait: a.decide}
}

// hand gives a command to the log. What the log has no room for is nowhere, so nothing has to be taken back.
func (s *Server) hand(cmd *paymentsv1.Command) (door.Ticket, verdict) {
	ticket, err := s.ports.Lane.Begin(cmd.GetAccount(), cmd)
	switch {
	case err == nil:
		return ticket, verdict{}
	case errors.Is(err, door.ErrBusy):
		s.metrics.busy.Inc()
		return nil, verdict{code: iso8583.ResponseIssuerUnavailable}
	default:
		s.ports.Log.Error("beginning command", "kind", payment.Kind(cmd.GetKind()).String(), "account", cmd.GetAccount(), "error", err) //nolint:gosec // the kinds fit a byte
		return nil, verdict{code: iso8583.ResponseSystemMalfunction}
	}
}

// advise takes in what somebody else has granted or refused. A clearing is nothing that is granted: taken for a single message, its
// money would be collected twice.
func (s *Server) advise(m *iso8583.Message, h *holder, own, now, arrived time.Time) started {
	if !issuing.Debits(m.ProcessingCode) || m.OriginalData.MTI.Repeated() == iso8583.FinancialAdvice {
		return refused(iso8583.ResponseInvalidTransaction)
	}
	about, err := original(m, own)
	if err != nil {
		return refused(iso8583.ResponseFormatError)
	}
	if about == (issuing.Message{}) {
		about = named(m, own)
	}
	id := about.Authorization(h.Card.Account)
	cmd := h.Command(payment.KindAuthorizationAdvice, now)
	cmd.CommandId, cmd.PaymentId, cmd.BodyHash = string(id), string(id), s.bodyHash(m, h, own)
	body := s.transaction(m, h, own)
	body.Financial = m.OriginalData.MTI.Class() == iso8583.ClassFinancial
	body.Refused = m.ResponseCode != "" && !m.ResponseCode.Approves()
	cmd.Body = &paymentsv1.Command_CardTransaction{CardTransaction: body}
	return s.state(cmd, arrived, iso8583.ResponseApproved)
}

// clear takes in the second message: the money moves.
func (s *Server) clear(m *iso8583.Message, h *holder, own, now, arrived time.Time) started {
	switch {
	case !issuing.Credits(m.ProcessingCode) && !issuing.Debits(m.ProcessingCode):
		return refused(iso8583.ResponseInvalidTransaction)
	case m.AmountMinor == 0:
		return refused(iso8583.ResponseInvalidAmount)
	}
	collected, err := original(m, own)
	if err != nil {
		return refused(iso8583.ResponseFormatError)
	}
	c := issuing.Clearing{Request: asked(m, own), Authorization: collected, Partial: m.ResponseCode == iso8583.ResponsePartiallyApproved}
	return s.state(c.Command(&h.Holder, now, s.ports.Sealer.AppendBodyHash), arrived, iso8583.ResponseApproved)
}

// reverse takes an authorization back, wholly or in part. A clearing is taken back by a credit, not by a reversal.
func (s *Server) reverse(m *iso8583.Message, h *holder, own, now, arrived time.Time) started {
	if m.OriginalData.MTI.Repeated() == iso8583.FinancialAdvice {
		return refused(iso8583.ResponseInvalidTransaction)
	}
	taken, err := original(m, own)
	switch {
	case err != nil:
		return refused(iso8583.ResponseFormatError)
	case taken == (issuing.Message{}):
		return refused(iso8583.ResponseNotLocated)
	}
	body := &paymentsv1.Reversal{
		Currency: string(m.Currency), Card: string(h.Key), ReasonCode: string(m.ResponseCode), Rrn: string(m.RRN), Acquirer: m.MatchKey().AcquirerID,
	}
	pending := iso8583.ResponseApproved // nothing can refuse a whole reversal that is in the log
	if m.ReplacementAmounts != nil && m.ReplacementAmounts.TransactionMinor > 0 {
		body.LeftMinor, pending = m.ReplacementAmounts.TransactionMinor, iso8583.ResponseIssuerUnavailable
	}
	cmd := h.Command(payment.KindReversal, now)
	cmd.CommandId = payment.CommandIDFrom(string(h.Card.Account), h.Card.Merchant, named(m, own).Identity(identityReversal))
	cmd.PaymentId, cmd.BodyHash = string(taken.Authorization(h.Card.Account)), s.bodyHash(m, h, own)
	cmd.Body = &paymentsv1.Command_Reversal{Reversal: body}
	return s.state(cmd, arrived, pending)
}

// state hands over a fact. It has happened: once the log has it, it will be taken in, so where the core is late the sender
// is told what it will say.
func (s *Server) state(cmd *paymentsv1.Command, arrived time.Time, pending iso8583.ResponseCode) started {
	ticket, v := s.hand(cmd)
	if ticket == nil {
		return started{verdict: v}
	}
	return started{wait: func() verdict {
		defer ticket.Leave()
		d, err := s.await(ticket, arrived.Add(s.cfg.Deadline))
		switch {
		case err == nil:
			return verdict{code: codeOf(d)}
		case errors.Is(err, door.ErrPending):
			return verdict{code: pending}
		default: // nobody knows: a repeat does no harm
			return verdict{code: iso8583.ResponseIssuerUnavailable}
		}
	}}
}
