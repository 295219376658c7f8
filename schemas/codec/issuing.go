package codec

import (
	"cmp"

	"github.com/caudalpay/caudal/processors/accounts"
	"github.com/caudalpay/caudal/processors/payment"
	directoryv1 "github.com/caudalpay/caudal/schemas/directory/v1"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

// cardKey reads the key of a card.
func cardKey(s string, required bool) (payment.CardKey, error) {
	if s == "" && !required {
		return "", nil
	}
	key, err := payment.ParseCardKey(s)
	if err != nil {
		return "", refuse("card key of %d characters", len(s)) // whatever else it is may be a card's number
	}
	return key, nil
}

// fitting refuses texts that no field of ISO 8583 can have.
func fitting(what string, texts ...string) error {
	for _, s := range texts {
		if len(s) > textMax {
			return refuse("%s with a field of %d bytes", what, len(s))
		}
	}
	return nil
}

// shown is what may be told of a card: the first six and the last four digits of its number, and when it expires.
func shown(first6, last4 string, expiry int32) error {
	if !digits(first6, 6) || !digits(last4, 4) || expiry < 0 || expiry > 9912 || expiry%100 < 1 || expiry%100 > 12 {
		return refuse("card shown by %d and %d characters, expiry %d", len(first6), len(last4), expiry)
	}
	return nil
}

func digits(s string, n int) bool {
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(s) == n
}

// cardIDs holds what an acquirer tells to the id of an authorization. A clearing may be of none.
func cardIDs(c *payment.Command) error {
	switch c.Kind {
	case payment.KindAuthorizationAdvice:
		if c.CommandID != string(c.PaymentID) {
			return refuse("advice %s of %s", c.CommandID, c.PaymentID)
		}
	case payment.KindReversal:
	case payment.KindClearing:
		if c.PaymentID == "" {
			return nil
		}
	default:
		return nil
	}
	if c.PaymentID.Kind() != payment.KindAuthorization {
		return refuse("%s of %s", c.Kind, c.PaymentID)
	}
	return nil
}

// issuingFrom reads the body of a command about an issued card; false where it is not that of the command's kind.
func issuingFrom(m *paymentsv1.Command, c *payment.Command) (fits bool, err error) {
	switch b := m.GetBody().(type) {
	case *paymentsv1.Command_IssueCard:
		fits = c.Kind == payment.KindIssueCard
		c.IssueCard, err = issueCardFrom(b.IssueCard)
	case *paymentsv1.Command_SetCardStatus:
		fits = c.Kind == payment.KindSetCardStatus
		c.CardStatus, err = setCardStatusFrom(b.SetCardStatus)
	case *paymentsv1.Command_CardTransaction:
		fits = c.Kind == payment.KindAuthorization || c.Kind == payment.KindAuthorizationAdvice
		c.CardTransaction, err = cardTransactionFrom(c.Kind, b.CardTransaction)
	case *paymentsv1.Command_Reversal:
		fits = c.Kind == payment.KindReversal
		c.Reversal, err = reversalFrom(b.Reversal)
	case *paymentsv1.Command_Clearing:
		fits = c.Kind == payment.KindClearing
		c.Clearing, err = clearingFrom(b.Clearing)
	}
	return fits, err
}

func issueCardFrom(b *paymentsv1.IssueCard) (*payment.IssueCard, error) {
	if err := shown(b.GetFirst6(), b.GetLast4(), b.GetExpiry()); err != nil {
		return nil, err
	}
	return &payment.IssueCard{First6: b.GetFirst6(), Last4: b.GetLast4(), Expiry: b.GetExpiry()}, known(b)
}

func cardStatus(n paymentsv1.CardStatus) (payment.CardStatus, error) {
	status, err := enum[payment.CardStatus](n, paymentsv1.CardStatus_name)
	if err != nil || status == payment.CardStatusUnknown {
		return 0, refuse("card status %d", n)
	}
	return status, nil
}

func setCardStatusFrom(b *paymentsv1.SetCardStatus) (*payment.SetCardStatus, error) {
	status, err := cardStatus(b.GetStatus())
	if err != nil {
		return nil, err
	}
	return &payment.SetCardStatus{Status: status, Once: b.GetOnce()}, known(b)
}

func cardTransactionFrom(kind payment.Kind, b *paymentsv1.CardTransaction) (*payment.CardTransaction, error) {
	card, err := cardKey(b.GetCard(), true)
	if err != nil {
		return nil, err
	}
	if b.GetAmountMinor() < 0 || !currencyFits(b.GetCurrency()) || !timeFits(b.GetTransmittedAtUs()) || !timeFits(b.GetAskedAtUs()) {
		return nil, refuse("card transaction of %d %q at %d", b.GetAmountMinor(), b.GetCurrency(), b.GetTransmittedAtUs())
	}
	if kind == payment.KindAuthorization && (b.GetStandIn() || b.GetRefused()) {
		return nil, refuse("authorization that tells an outcome")
	}
	if err := fitting("card transaction", b.GetProcessingCode(), b.GetMcc(), b.GetEntryMode(), b.GetConditionCode(), b.GetAcquirer(),
		b.GetCardAcceptor(), b.GetTerminal(), b.GetRrn(), b.GetStan()); err != nil {
		return nil, err
	}
	t := &payment.CardTransaction{
		AmountMinor: b.GetAmountMinor(), Currency: b.GetCurrency(), Financial: b.GetFinancial(), Card: card,
		ProcessingCode: b.GetProcessingCode(), MCC: b.GetMcc(), EntryMode: b.GetEntryMode(), ConditionCode: b.GetConditionCode(),
		Acquirer: b.GetAcquirer(), CardAcceptor: b.GetCardAcceptor(), Terminal: b.GetTerminal(), RRN: b.GetRrn(), STAN: b.GetStan(),
		TransmittedAtUS: b.GetTransmittedAtUs(), StandIn: b.GetStandIn(), Refused: b.GetRefused(),
		AskedAtUS: b.GetAskedAtUs(),
	}
	if t.Counterparty, err = counterpartyFrom(b.GetCounterparty()); err != nil {
		return nil, err
	}
	return t, known(b)
}

func reversalFrom(b *paymentsv1.Reversal) (*payment.Reversal, error) {
	card, err := cardKey(b.GetCard(), true)
	if err != nil {
		return nil, err
	}
	if b.GetLeftMinor() < 0 || !timeFits(b.GetAskedAtUs()) {
		return nil, refuse("reversal that leaves %d of what was asked at %d", b.GetLeftMinor(), b.GetAskedAtUs())
	}
	if b.GetCurrency() != "" && !currencyFits(b.GetCurrency()) {
		return nil, refuse("reversal in %q", b.GetCurrency())
	}
	return &payment.Reversal{
		LeftMinor: b.GetLeftMinor(), Currency: b.GetCurrency(), Card: card, ReasonCode: b.GetReasonCode(), StandIn: b.GetStandIn(), RRN: b.GetRrn(),
		Acquirer: b.GetAcquirer(), AskedAtUS: b.GetAskedAtUs(),
	}, cmp.Or(fitting("reversal", b.GetReasonCode(), b.GetRrn(), b.GetAcquirer()), known(b))
}

func clearingFrom(b *paymentsv1.Clearing) (*payment.Clearing, error) {
	card, err := cardKey(b.GetCard(), true)
	if err != nil {
		return nil, err
	}
	if b.GetAmountMinor() <= 0 || !currencyFits(b.GetCurrency()) {
		return nil, refuse("clearing of %d %q", b.GetAmountMinor(), b.GetCurrency())
	}
	return &payment.Clearing{
		AmountMinor: b.GetAmountMinor(), Currency: b.GetCurrency(), Credit: b.GetCredit(), Final: b.GetFinal(), Card: card,
		RRN: b.GetRrn(), Acquirer: b.GetAcquirer(), MCC: b.GetMcc(), CardAcceptor: b.GetCardAcceptor(),
	}, cmp.Or(fitting("clearing", b.GetRrn(), b.GetAcquirer(), b.GetMcc(), b.GetCardAcceptor()), known(b))
}

// issuingBody is the body of a command about an issued card.
func issuingBody(m *paymentsv1.Command, c *payment.Command) {
	switch {
	case c.IssueCard != nil:
		m.Body = &paymentsv1.Command_IssueCard{IssueCard: &paymentsv1.IssueCard{
			First6: c.IssueCard.First6, Last4: c.IssueCard.Last4, Expiry: c.IssueCard.Expiry,
		}}
	case c.CardStatus != nil:
		m.Body = &paymentsv1.Command_SetCardStatus{SetCardStatus: &paymentsv1.SetCardStatus{
			Status: paymentsv1.CardStatus(c.CardStatus.Status), Once: c.CardStatus.Once,
		}}
	case c.CardTransaction != nil:
		t := c.CardTransaction
		m.Body = &paymentsv1.Command_CardTransaction{CardTransaction: &paymentsv1.CardTransaction{
			AmountMinor: t.AmountMinor, Currency: t.Currency, Financial: t.Financial, Card: string(t.Card), Counterparty: counterpartyTo(&t.Counterparty),
			ProcessingCode: t.ProcessingCode, Mcc: t.MCC, EntryMode: t.EntryMode, ConditionCode: t.ConditionCode, Acquirer: t.Acquirer,
			CardAcceptor: t.CardAcceptor, Terminal: t.Terminal, Rrn: t.RRN, Stan: t.STAN, TransmittedAtUs: t.TransmittedAtUS,
			StandIn: t.StandIn, Refused: t.Refused, AskedAtUs: t.AskedAtUS,
		}}
	case c.Reversal != nil:
		v := c.Reversal
		m.Body = &paymentsv1.Command_Reversal{Reversal: &paymentsv1.Reversal{
			LeftMinor: v.LeftMinor, Currency: v.Currency, Card: string(v.Card), ReasonCode: v.ReasonCode, StandIn: v.StandIn, Rrn: v.RRN,
			Acquirer: v.Acquirer, AskedAtUs: v.AskedAtUS,
		}}
	case c.Clearing != nil:
		l := c.Clearing
		m.Body = &paymentsv1.Command_Clearing{Clearing: &paymentsv1.Clearing{
			AmountMinor: l.AmountMinor, Currency: l.Currency, Credit: l.Credit, Final: l.Final, Card: string(l.Card), Rrn: l.RRN,
			Acquirer: l.Acquirer, Mcc: l.MCC, CardAcceptor: l.CardAcceptor,
		}}
	}
}

func cardStateTo(s *accounts.CardState) *paymentsv1.CardState {
	if s == nil {
		return nil
	}
	return &paymentsv1.CardState{
		Account: string(s.Account), Status: paymentsv1.CardStatus(s.Status), First6: s.First6, Last4: s.Last4, Expiry: s.Expiry,
		IssuedAtUs: s.IssuedAtUS,
	}
}

func cardStateFrom(m *paymentsv1.CardState) (*accounts.CardState, error) {
	if m == nil {
		return nil, nil //nolint:nilnil // a key without a card
	}
	account, err := accountID(m.GetAccount(), true)
	if err != nil {
		return nil, err
	}
	status, err := cardStatus(m.GetStatus())
	if err != nil {
		return nil, err
	}
	if err := shown(m.GetFirst6(), m.GetLast4(), m.GetExpiry()); err != nil {
		return nil, err
	}
	return &accounts.CardState{
		Account: account, Status: status, First6: m.GetFirst6(), Last4: m.GetLast4(), Expiry: m.GetExpiry(), IssuedAtUS: m.GetIssuedAtUs(),
	}, known(m)
}

// EncodeCardEntry writes a row of cards.directory; its key is the card's.
func EncodeCardEntry(e *accounts.CardEntry) ([]byte, error) {
	return marshal(&directoryv1.CardEntry{
		Version: Version, Tenant: e.Tenant, Merchant: e.Merchant, State: cardStateTo(&e.State), AccountSeq: e.AccountSeq,
	})
}

// DecodeCardEntry reads a row of cards.directory.
func DecodeCardEntry(key string, b []byte) (accounts.CardEntry, error) {
	var m directoryv1.CardEntry
	if err := unmarshal(b, &m); err != nil {
		return accounts.CardEntry{}, err
	}
	if err := checkVersion("card entry", m.GetVersion()); err != nil {
		return accounts.CardEntry{}, err
	}
	card, err := cardKey(key, true)
	if err != nil {
		return accounts.CardEntry{}, err
	}
	state, err := cardStateFrom(m.GetState())
	if err != nil {
		return accounts.CardEntry{}, err
	}
	if state == nil {
		return accounts.CardEntry{}, refuse("card entry without a state")
	}
	return accounts.CardEntry{Card: card, Tenant: m.GetTenant(), Merchant: m.GetMerchant(), State: *state, AccountSeq: m.GetAccountSeq()}, nil
}
