package rails_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caudalpay/caudal/cmd/caudal/rails"
	"github.com/caudalpay/caudal/ingest/door"
	"github.com/caudalpay/caudal/ingest/http"
	"github.com/caudalpay/caudal/processors/payment"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	railsv1 "github.com/caudalpay/caudal/schemas/rails/v1"
	"github.com/caudalpay/caudal/sinks/rails/cards"
)

// front is all that stands behind a Teller. What it is not asked for in these tests panics.
type front struct {
	door.Commands
	door.Accounts

	found   http.RailPayIn
	missing error
	known   bool
	pins    error
	submit  error

	asked http.RailName
	key   string
	sent  *paymentsv1.Command
}

func (f *front) PayInByRail(_ context.Context, name http.RailName) (http.RailPayIn, error) {
	f.asked = name
	return f.found, f.missing
}

func (f *front) Account(payment.AccountID) (door.Account, bool) {
	return door.Account{Tenant: "t", Merchant: "m", Customer: "c", Policy: "acquiring"}, f.known
}

func (f *front) Pin(policy string) (*paymentsv1.Pins, error) {
	return &paymentsv1.Pins{Policy: policy + "@3"}, f.pins
}

func (f *front) SubmitAndWait(_ context.Context, key string, cmd *paymentsv1.Command, _ time.Duration) (*paymentsv1.Decision, error) {
	f.key, f.sent = key, cmd
	return &paymentsv1.Decision{AccountSeq: 7}, f.submit
}

func (f *front) tell(t *testing.T, n *railsv1.Notification) (*paymentsv1.Decision, error) {
	t.Helper()
	teller := &rails.Teller{
		PayIns: f, Commands: f, Accounts: f, Pins: f, Now: func() time.Time { return time.UnixMicro(1_790_000_000_000_000) },
		Hash: func(b, canonical []byte) []byte { return append(b, canonical[:32]...) },
	}
	return teller.Tell(t.Context(), n)
}

// What a processor notifies becomes the command that an operator's word becomes, pinned by the account's policy; and what keeps
// it from that says whether it is worth telling again.
func TestTeller(t *testing.T) {
	account := payment.AccountIDFrom("t", "m", "c")
	id := payment.IDFrom(payment.KindPayIn, account, "m", "k")
	notified := &railsv1.Notification{
		Processor: "cielo", BodySha256: make([]byte, 32),
		Dispute: &railsv1.NotifiedDispute{
			Id: "49701065", Stage: railsv1.DisputeStage_DISPUTE_STAGE_DISPUTE, AmountMinor: 100_00, Currency: "BRL", DeadlineUs: 5, ReasonCode: "4853", Tid: "12043402495ERJ76EGDF",
		},
	}
	f := &front{found: http.RailPayIn{ID: id, Currency: "BRL"}, known: true}
	d, err := f.tell(t, notified)
	if err != nil || d.GetAccountSeq() != 7 {
		t.Fatalf("%v, %v", d, err)
	}
	q := f.sent.GetDispute()
	if f.asked != (http.RailName{Connector: "cielo", TID: "12043402495ERJ76EGDF"}) || f.key != string(account) || f.sent.GetPaymentId() != string(id) ||
		f.sent.GetCommandId() != string(payment.DisputeIDFrom(account, "cielo", "49701065")) || f.sent.GetPins().GetPolicy() != "acquiring@3" || f.sent.GetMerchant() != "m" ||
		q.GetAmountMinor() != 100_00 || q.GetConnector() != "cielo" || q.GetReference() != "49701065" || q.GetMessageId() == "" || len(f.sent.GetBodyHash()) != 32 {
		t.Errorf("asked for %+v, sent to %s: %v", f.asked, f.key, f.sent)
	}
	other := errors.New("down")
	for name, c := range map[string]struct {
		change func(*front)
		want   error
	}{
		"unknown":          {func(f *front) { f.missing = http.ErrNotFound }, cards.ErrNoPayIn},
		"several":          {func(f *front) { f.missing = http.ErrAmbiguous }, cards.ErrContradicted},
		"no store":         {func(f *front) { f.missing = other }, other},
		"another currency": {func(f *front) { f.found.Currency = "USD" }, cards.ErrContradicted},
		"no account yet":   {func(f *front) { f.known = false }, nil},
		"no policy":        {func(f *front) { f.pins = door.ErrPolicyUnknown }, door.ErrPolicyUnknown},
		"parked":           {func(f *front) { f.submit = door.ErrPending }, cards.ErrUndecided},
		"no log":           {func(f *front) { f.submit = door.ErrUnavailable }, door.ErrUnavailable},
	} {
		f := &front{found: http.RailPayIn{ID: id, Currency: "BRL"}, known: true}
		c.change(f)
		d, err := f.tell(t, notified)
		if d != nil || err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v, %v", name, d, err)
		}
		if settles := errors.Is(err, cards.ErrNoPayIn) || errors.Is(err, cards.ErrContradicted) || errors.Is(err, cards.ErrUndecided); settles !=
			(c.want == cards.ErrNoPayIn || c.want == cards.ErrContradicted || c.want == cards.ErrUndecided) { //nolint:errorlint // the table's own
			t.Errorf("%s: %v", name, err)
		}
		if f.submit == nil && f.sent != nil {
			t.Errorf("%s: sent %v", name, f.sent)
		}
	}
}

// frozen is a store that takes a question and never answers it: a halted Postgres, or a network that drops everything.
type frozen struct{}

func (frozen) PayInByRail(ctx context.Context, _ http.RailName) (http.RailPayIn, error) {
	<-ctx.Done()
	return http.RailPayIn{}, ctx.Err()
}

// A store that hangs keeps a dispute waiting for no longer than one that is away: else a few of them hold up all hints behind them.
func TestTellerOfAStoreThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, err := (&rails.Teller{PayIns: frozen{}}).Tell(t.Context(), &railsv1.Notification{})
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, cards.ErrNoPayIn) || errors.Is(err, cards.ErrContradicted) || errors.Is(err, cards.ErrUndecided) {
			t.Error(err)
		}
	})
}
