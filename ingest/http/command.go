package http

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/caudalpay/caudal/ingest/disputes"
	"github.com/caudalpay/caudal/ingest/door"
	"github.com/caudalpay/caudal/processors/payment"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

// prepared is a request that may go to the log.
type prepared struct {
	item     Item
	kind     payment.Kind
	account  payment.AccountID
	id       payment.ID // payments: its own id
	identity identity
	once     []byte    // the identity is the key's alone: the hash of what was asked for under it, than which nothing else is taken
	card     *CardView // cards: what is known before the decision
}

// asked is the hash by which the door tells one body from another under a key.
func (p *prepared) asked() []byte {
	if p.once != nil {
		return p.once
	}
	return p.item.Command.GetBodyHash()
}

// onceUnder is the identity of a key that names one request of its caller's, whatever that is about: kind tells the keys of
// openings, cards and clearings apart, and ends in a space, which no key holds. No customer has the name "".
func onceUnder(caller *Caller, kind, key string) identity {
	nobody := string(payment.CustomerKeyFrom(caller.Tenant, caller.Merchant, ""))
	return identityOf(payment.CommandIDFrom(nobody, caller.Merchant, kind+key))
}

// parcel is the memory of a payment's command: all that the command points to, in one piece.
type parcel struct {
	command     paymentsv1.Command
	moves       paymentsv1.Command_Instruction
	instruction paymentsv1.Instruction
	party       paymentsv1.Counterparty
	refunds     paymentsv1.Command_Refund
	refund      paymentsv1.RefundInstruction
	card        paymentsv1.Card
	captures    paymentsv1.Command_Capture
	capture     paymentsv1.CaptureInstruction
	voids       paymentsv1.Command_Void
	void        paymentsv1.VoidInstruction
	increments  paymentsv1.Command_Increment
	increment   paymentsv1.IncrementInstruction
	quotes      paymentsv1.Command_FxQuote
	quote       paymentsv1.FxQuote
	sealed      paymentsv1.Sealed
	personal    paymentsv1.Personal
	hash        [sha256.Size]byte
	canonical   door.Canonical
	ciphertext  []byte
}

// clear makes a parcel ready for the next command. What it holds of a person goes; the memory of its bytes stays.
func (p *parcel) clear() {
	ciphertext := p.sealed.GetCiphertext()
	if ciphertext == nil {
		ciphertext = p.ciphertext
	}
	clear(p.canonical)
	*p = parcel{canonical: p.canonical[:0], ciphertext: ciphertext}
}

// pay turns a request into a command, or says why it can never be granted. What the reducer decides from its state
// (funds, limits, a closed account) is not asked here.
func (s *Server) pay(caller *Caller, r *paymentRequest, at int64, in *parcel) (prepared, *Problem, error) {
	account, ok := s.owned(caller, r.account)
	if !ok {
		switch {
		case !r.kind.Operation():
		case r.seen&fieldPayment == 0: // it stands in the address
			return prepared{}, s.problems.make(ErrorPaymentUnknown, noPayment), nil
		default:
			return prepared{}, s.problems.make(ErrorPaymentUnknown, "", violation("/payment_id", codeUnknown, "no such payment of yours")), nil
		}
		return prepared{}, s.problems.make(ErrorAccountUnknown, "", violation("/account_id", codeUnknown, "no such account of yours")), nil
	}
	if p := s.reachable(caller, &account, r); p != nil {
		return prepared{}, p, nil
	}
	pins, err := s.ports.Pins.Pin(account.Policy)
	if err != nil {
		return prepared{}, nil, fmt.Errorf("pinning reference data: %w", err)
	}
	id := payment.IDFrom(r.kind, r.account, caller.Merchant, r.key)
	cmd := &in.command
	cmd.Version, cmd.Kind, cmd.AcceptedAtUs = door.CommandVersion, paymentsv1.CommandKind(r.kind), at
	cmd.Tenant, cmd.Merchant, cmd.Customer, cmd.Account = caller.Tenant, caller.Merchant, account.Customer, string(r.account)
	cmd.CommandId, cmd.PaymentId = string(id), string(id)
	in.canonical = r.canonical(in.canonical[:0])
	cmd.BodyHash = s.ports.Sealer.AppendBodyHash(in.hash[:0], in.canonical)
	cmd.Pins = pins
	if cmd.Sealed, err = s.seal(r, in); err != nil {
		return prepared{}, nil, err
	}
	s.fill(r, in)
	return prepared{
		item: Item{Key: string(r.account), Command: cmd},
		kind: r.kind, account: r.account, id: id, identity: identityOf(string(id)),
	}, nil, nil
}

// noPayment answers an address that names no payment of the caller's.
const noPayment = "No such payment of yours."

// fill gives a command its body.
func (s *Server) fill(r *paymentRequest, in *parcel) {
	cmd := &in.command
	if r.kind.Operation() {
		cmd.PaymentId = string(r.paymentID) // the payment concerned; the operation's own id is the command's
	}
	switch r.kind {
	case payment.KindRefund:
		in.refund.AmountMinor = r.amount
		in.refunds.Refund, cmd.Body = &in.refund, &in.refunds
	case payment.KindCapture:
		in.capture.AmountMinor, in.capture.Final = r.amount, r.final
		in.captures.Capture, cmd.Body = &in.capture, &in.captures
	case payment.KindVoid:
		in.voids.Void, cmd.Body = &in.void, &in.voids
	case payment.KindIncrement:
		in.increment.AmountMinor = r.amount
		in.increments.Increment, cmd.Body = &in.increment, &in.increments
	case payment.KindFXQuote:
		in.quote.AmountMinor, in.quote.Currency, in.quote.TargetCurrency = r.amount, r.currency, r.targetCurrency
		in.quotes.FxQuote, cmd.Body = &in.quote, &in.quotes
	default:
		s.instruct(r, in)
		in.moves.Instruction, cmd.Body = &in.instruction, &in.moves
	}
}

// owned finds an account of the caller. Somebody else's account looks like none.
func (s *Server) owned(caller *Caller, id payment.AccountID) (Account, bool) {
	account, ok := s.ports.Accounts.Account(id)
	if !ok || account.Tenant != caller.Tenant || account.Merchant != caller.Merchant {
		return Account{}, false
	}
	return account, true
}

// reachable checks the payee and the currencies. The payee's currencies are its owner's business: what it does not
// hold comes back as the leg's reason, and not as an answer to a probe.
func (s *Server) reachable(caller *Caller, account *Account, r *paymentRequest) *Problem {
	pointer, currency := "/currency", r.currency
	switch r.kind {
	case payment.KindTransfer:
		payee, ok := s.ports.Accounts.Account(r.toAccount)
		if !ok || payee.Tenant != caller.Tenant {
			return s.problems.make(ErrorAccountUnknown, "", violation("/to_account_id", codeUnknown, "no such account"))
		}
	case payment.KindPayIn:
		if r.targetCurrency != "" {
			pointer, currency = "/target_currency", r.targetCurrency
		}
	case payment.KindRefund, payment.KindCapture, payment.KindVoid, payment.KindIncrement:
		return nil // the payment has its currency
	case payment.KindFXQuote:
		return nil // which of the two has to be held depends on what will use it
	default:
	}
	if !account.Holds(currency) {
		return s.problems.make(ErrorInvalidRequest, "", violation(pointer, codeNotHeld, "the account does not hold this currency"))
	}
	return nil
}

func violation(pointer, code, detail string) Violation {
	return Violation{Pointer: &pointer, Code: code, Detail: detail}
}

func (s *Server) command(caller *Caller, kind payment.Kind, account payment.AccountID) *paymentsv1.Command {
	return &paymentsv1.Command{
		Version: door.CommandVersion, Kind: paymentsv1.CommandKind(kind), Tenant: caller.Tenant, Merchant: caller.Merchant,
		Account: string(account), AcceptedAtUs: s.ports.Now().UnixMicro(),
	}
}

func (s *Server) instruct(r *paymentRequest, in *parcel) {
	m := &in.instruction
	m.AmountMinor, m.Currency, m.TargetCurrency, m.Method = r.amount, r.currency, r.targetCurrency, r.method
	m.ToAccount, m.Instrument, m.EffectiveDate, m.Quote = string(r.toAccount), r.instrument, r.effectiveDay, string(r.quote)
	if r.method == methodCard {
		in.card.Capture, in.card.Brand = paymentsv1.CaptureMethod(r.card.capture), r.card.brand
		in.card.Installments = uint32(r.card.installments) //nolint:gosec // 1 to 99
		m.Card = &in.card
	}
	if r.counterparty != (counterparty{}) {
		s.party(&r.counterparty, &in.party)
		m.Counterparty = &in.party
	}
}

// party keeps of a counterparty what may stand on a log for ever: the country and keyed digests.
func (s *Server) party(c *counterparty, p *paymentsv1.Counterparty) {
	digest := func(normalised string) []byte {
		if normalised == "" {
			return nil
		}
		return s.ports.Sealer.PartyDigest(normalised)
	}
	p.Country = c.country
	p.NameDigest = digest(NormaliseName(c.name))
	p.DocumentDigest = digest(NormaliseCode(c.document))
	p.AccountDigest = digest(NormaliseCode(c.account))
	for _, d := range [...][]byte{p.GetDocumentDigest(), p.GetAccountDigest(), p.GetNameDigest()} {
		if d != nil {
			p.Digest = d
			break
		}
	}
}

// seal hides what is personal about a request; nil where nothing is.
func (s *Server) seal(r *paymentRequest, in *parcel) (*paymentsv1.Sealed, error) {
	c, p := &r.counterparty, &in.personal
	p.Reference, p.Reason, p.MetadataJson = r.reference, r.reason, string(r.metadata)
	p.CounterpartyName, p.CounterpartyDocument, p.CounterpartyAccount = c.name, c.document, c.account
	in.sealed.Ciphertext = in.ciphertext
	hidden, err := s.ports.Sealer.SealInto(&in.sealed, p)
	if err != nil {
		return nil, fmt.Errorf("sealing request: %w", err)
	}
	if !hidden {
		return nil, nil //nolint:nilnil // nothing to seal
	}
	return &in.sealed, nil
}

// open turns POST /accounts into a command to the customer's key.
func (s *Server) open(caller *Caller, r *accountRequest, key string) (prepared, *Problem, error) {
	pins, err := s.ports.Pins.Pin(r.policy)
	if errors.Is(err, ErrPolicyUnknown) {
		return prepared{}, s.problems.make(ErrorInvalidRequest, "", violation("/policy", codeUnknownPolicy, "no such policy")), nil
	}
	if err != nil {
		return prepared{}, nil, fmt.Errorf("pinning reference data: %w", err)
	}
	account := payment.AccountIDFrom(caller.Tenant, caller.Merchant, r.externalID)
	if entry, ok := s.owned(caller, account); ok && entry.Customer != r.customerID {
		// On the log this would end as a conflict too, but only after the customer has claimed an account that is another's.
		return prepared{}, s.problems.make(ErrorIdempotencyConflict, "The account of this external_id is another customer's; nothing changed.",
			violation("/customer_id", codeConflict, "the account is another customer's")), nil
	}
	customer := string(payment.CustomerKeyFrom(caller.Tenant, caller.Merchant, r.customerID))
	cmd := s.command(caller, payment.KindOpenAccount, account)
	cmd.Customer = r.customerID
	cmd.CommandId = payment.CommandIDFrom(customer, caller.Merchant, key)
	cmd.BodyHash = s.ports.Sealer.AppendBodyHash(nil, r.canonical(nil))
	cmd.Pins = pins
	cmd.Body = &paymentsv1.Command_OpenAccount{OpenAccount: &paymentsv1.OpenAccount{
		ExternalId: r.externalID, Kind: r.kind, Currencies: r.currencies, KycLevel: uint32(r.kycLevel), //nolint:gosec // 0 to 3
		OverdraftLimitMinor: r.overdraft, Policy: r.policy,
	}}
	// The log knows the request by its customer, and in the end by its account. The door remembers the key alone, for as long as
	// it can: under one key there is one opening, whoever it is for.
	return prepared{
		item: Item{Key: customer, Command: cmd}, kind: payment.KindOpenAccount, account: account, identity: onceUnder(caller, "account ", key), once: cmd.GetBodyHash(),
	}, nil, nil
}

// level turns PUT /customers/{id}/kyc-level into a command to the customer's key.
func (s *Server) level(caller *Caller, customerID string, account payment.AccountID, level int64, key string) (prepared, error) {
	entry, ok := s.owned(caller, account)
	if !ok {
		return prepared{}, fmt.Errorf("finding account %s of its customer: %w", account, ErrNotFound)
	}
	pins, err := s.ports.Pins.Pin(entry.Policy)
	if err != nil {
		return prepared{}, fmt.Errorf("pinning reference data: %w", err)
	}
	customer := string(payment.CustomerKeyFrom(caller.Tenant, caller.Merchant, customerID))
	cmd := s.command(caller, payment.KindSetKYCLevel, account)
	cmd.Customer = customerID
	cmd.CommandId = payment.CommandIDFrom(customer, caller.Merchant, key)
	cmd.BodyHash = s.ports.Sealer.AppendBodyHash(nil, door.Canonical(nil).Text("set_kyc_level").Text(customerID).Number(level))
	cmd.Pins = pins
	cmd.Body = &paymentsv1.Command_SetKycLevel{SetKycLevel: &paymentsv1.SetKycLevel{KycLevel: uint32(level)}} //nolint:gosec // 0 to 3
	return prepared{item: Item{Key: customer, Command: cmd}, kind: payment.KindSetKYCLevel, account: account, identity: identityOf(cmd.GetCommandId())}, nil
}

// verdict turns approve and decline into a command to the payment's account.
func (s *Server) verdict(caller *Caller, kind payment.Kind, id payment.ID, key string) (prepared, *Problem, error) {
	p, problem, err := s.about(caller, kind, id, key, nil)
	if problem == nil && err == nil {
		p.item.Command.Body = &paymentsv1.Command_Verdict{Verdict: &paymentsv1.Verdict{Actor: caller.Name}}
	}
	return p, problem, err
}

// about prepares a request that is no payment, to the account of what it names. What it says beside that is more.
func (s *Server) about(caller *Caller, kind payment.Kind, id payment.ID, key string, more func(door.Canonical) door.Canonical) (prepared, *Problem, error) {
	account := id.Account()
	entry, ok := s.owned(caller, account)
	if !ok {
		return prepared{}, s.noneSuch(id), nil
	}
	pins, err := s.ports.Pins.Pin(entry.Policy)
	if err != nil {
		return prepared{}, nil, fmt.Errorf("pinning reference data: %w", err)
	}
	form := door.Canonical(nil).Text(kind.String()).Text(string(id))
	if more != nil {
		form = more(form)
	}
	cmd := s.command(caller, kind, account)
	cmd.Customer = entry.Customer
	cmd.CommandId = payment.CommandIDFrom(string(account), caller.Merchant, key)
	cmd.PaymentId = string(id)
	cmd.BodyHash = s.ports.Sealer.AppendBodyHash(nil, form)
	cmd.Pins = pins
	return prepared{item: Item{Key: string(account), Command: cmd}, kind: kind, account: account, id: id, identity: identityOf(cmd.GetCommandId())}, nil, nil
}

// noneSuch answers an address that names nothing of the caller's.
func (s *Server) noneSuch(id payment.ID) *Problem {
	if id.Kind() == payment.KindDispute {
		return s.problems.make(ErrorDisputeUnknown, noDispute)
	}
	return s.problems.make(ErrorPaymentUnknown, noPayment)
}

// dispute turns what is told of a dispute into a command to the account of the payment, which is the caller's own. The key names
// the message: whatever it tells, it is taken once.
func (s *Server) dispute(caller *Caller, r *disputes.Told, key string) (prepared, *Problem, error) {
	account := r.Payment.Account()
	entry, ok := s.owned(caller, account)
	if !ok {
		return prepared{}, s.problems.make(ErrorPaymentUnknown, "", violation("/payment_id", codeUnknown, "no such payment of yours")), nil
	}
	pins, err := s.ports.Pins.Pin(entry.Policy)
	if err != nil {
		return prepared{}, nil, fmt.Errorf("pinning reference data: %w", err)
	}
	r.MessageID = payment.CommandIDFrom(string(account), caller.Merchant, key)
	return prepared{
		item: Item{Key: string(account), Command: r.Command(&entry, pins, s.ports.Now(), s.ports.Sealer.AppendBodyHash)},
		kind: payment.KindDispute, account: account, id: r.ID(), identity: identityOf(r.MessageID),
	}, nil, nil
}
