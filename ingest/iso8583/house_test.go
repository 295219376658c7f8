package iso8583_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"

	"github.com/caudalpay/caudal/ingest/door"
	server "github.com/caudalpay/caudal/ingest/iso8583"
	"github.com/caudalpay/caudal/processors/payment"
	"github.com/caudalpay/caudal/schemas/codec"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/schemas/rails/iso8583"
	referencev1 "github.com/caudalpay/caudal/schemas/reference/v1"
	"github.com/caudalpay/caudal/schemas/seal"
)

// What the core of these tests does with commands.
type mood int

const (
	awake  mood = iota
	asleep      // the log acknowledges, nobody decides
	deaf        // nothing is acknowledged
	full        // no room
	broken      // panics
)

// Amounts that this core declines by, and one behind which it tells more than twelve digits hold.
const (
	amountRich  = 5_200
	amountFunds = 5_100
	amountFraud = 5_900
)

// core stands behind the door: a log, and a reducer that knows repeats and no money.
type core struct {
	mu       sync.Mutex
	mood     mood
	log      []*paymentsv1.Command
	keys     []string
	outcomes map[string]*paymentsv1.Decision
	hashes   map[string][]byte
	left     int
}

func (c *core) set(m mood) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mood = m
}

func (c *core) produced() []*paymentsv1.Command {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]*paymentsv1.Command(nil), c.log...)
}

// count is how many commands of a kind the log has.
func (c *core) count(kind payment.Kind) (n int) {
	for _, cmd := range c.produced() {
		if payment.Kind(cmd.GetKind()) == kind {
			n++
		}
	}
	return n
}

type ticket struct {
	core     *core
	mood     mood
	decision *paymentsv1.Decision
	begun    time.Time
}

func (c *core) Begin(key string, cmd *paymentsv1.Command) (door.Ticket, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch c.mood {
	case full:
		return nil, door.ErrBusy
	case broken:
		panic("the core of this test")
	case deaf:
		return &ticket{core: c, mood: deaf, begun: time.Now()}, nil
	default:
	}
	if _, _, err := codec.CommandFromProto(cmd); err != nil {
		return nil, fmt.Errorf("reading what the door wrote: %w", err)
	}
	c.log, c.keys = append(c.log, proto.CloneOf(cmd)), append(c.keys, key)
	return &ticket{core: c, mood: c.mood, decision: c.decide(cmd), begun: time.Now()}, nil
}

func (c *core) decide(cmd *paymentsv1.Command) *paymentsv1.Decision {
	id := cmd.GetCommandId()
	if first, ok := c.outcomes[id]; ok && cmd.GetKind() != paymentsv1.CommandKind_COMMAND_KIND_AUTHORIZATION_ADVICE {
		again := proto.CloneOf(first)
		again.Outcome = paymentsv1.Outcome_OUTCOME_REPEATED
		if !bytes.Equal(c.hashes[id], cmd.GetBodyHash()) {
			again.Outcome, again.Reasons = paymentsv1.Outcome_OUTCOME_CONFLICT, []paymentsv1.Reason{paymentsv1.Reason_REASON_IDEMPOTENCY_CONFLICT}
		}
		return again
	}
	d := &paymentsv1.Decision{Kind: cmd.GetKind(), Outcome: paymentsv1.Outcome_OUTCOME_APPLIED}
	if cmd.GetKind() == paymentsv1.CommandKind_COMMAND_KIND_AUTHORIZATION {
		d.Outcome = paymentsv1.Outcome_OUTCOME_APPROVED
		d.Balances = []*paymentsv1.Balance{{Currency: "BRL", PostedMinor: 10_000, HeldMinor: cmd.GetCardTransaction().GetAmountMinor()}}
		switch cmd.GetCardTransaction().GetAmountMinor() {
		case amountRich:
			d.Balances[0].PostedMinor = 1_000_000_000_000 + amountRich
		case amountFunds:
			d.Outcome, d.Reasons = paymentsv1.Outcome_OUTCOME_DECLINED, []paymentsv1.Reason{paymentsv1.Reason_REASON_INSUFFICIENT_FUNDS}
		case amountFraud:
			d.Outcome, d.Reasons = paymentsv1.Outcome_OUTCOME_DECLINED, []paymentsv1.Reason{paymentsv1.Reason_REASON_FRAUD_SCORE}
		}
	}
	c.outcomes[id], c.hashes[id] = d, bytes.Clone(cmd.GetBodyHash())
	return d
}

func (t *ticket) Acked(ctx context.Context) error {
	if t.mood == deaf {
		<-ctx.Done()
		return fmt.Errorf("waiting: %w", door.ErrUnavailable)
	}
	return nil
}

func (t *ticket) Decision(ctx context.Context) (*paymentsv1.Decision, error) {
	if t.mood == awake {
		return t.decision, nil
	}
	<-ctx.Done()
	if t.mood == deaf {
		return nil, door.ErrUnavailable
	}
	return nil, door.ErrPending
}

func (t *ticket) Times() (begun, acked time.Time) { return t.begun, time.Now() }

func (t *ticket) Leave() {
	t.core.mu.Lock()
	defer t.core.mu.Unlock()
	t.core.left++
}

// world is what the door knows: one account, its cards, its policy.
type world struct {
	mu    sync.Mutex
	cards map[payment.CardKey]door.Card
}

const (
	goodCard    = "4000127391860002"
	blockedCard = "4000120000000010"
	closedCard  = "4000120000000028"
	expiredCard = "4000120000000036"
	strayCard   = "4000120000000044" // of an account that nobody knows
	unknownCard = "4000129999999999"
	floorMinor  = 1_000
)

var account = payment.AccountIDFrom("sample", "acme", "shop-1")

func (w *world) Account(id payment.AccountID) (door.Account, bool) {
	return door.Account{Tenant: "sample", Merchant: "acme", Customer: "maria", Policy: "standard", Currencies: "BRL"}, id == account
}

func (w *world) CustomerAccount(string, string, string) (payment.AccountID, bool) { return "", false }
func (w *world) WaitAccount(context.Context, payment.AccountID) error             { return nil }
func (w *world) WaitCard(context.Context, payment.CardKey, uint64) error          { return nil }

func (w *world) Pin(string) (*paymentsv1.Pins, error) {
	return &paymentsv1.Pins{Policy: "standard@1"}, nil
}

func (w *world) Card(id payment.CardKey) (door.Card, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c, ok := w.cards[id]
	return c, ok
}

func (w *world) Policy(string) (*referencev1.Policy, bool) {
	return &referencev1.Policy{Issuing: &referencev1.IssuingPolicy{StandInFloor: []*referencev1.Charge{{Currency: "BRL", AmountMinor: floorMinor}}}}, true
}

// house is a served door.
type house struct {
	*core
	*world
	tb       testing.TB
	address  string
	stop     func()
	registry *prometheus.Registry
	log      *logged
	server   *server.Server
	sealer   *seal.Keyring
}

// logged is a log that tests read.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func build(tb testing.TB, change ...func(*server.Config, *server.Ports)) (*house, *server.Server) {
	tb.Helper()
	sealer, err := seal.LoadOrCreate(filepath.Join(tb.TempDir(), "seal.key"))
	check(tb, err)
	h := &house{
		core:  &core{outcomes: map[string]*paymentsv1.Decision{}, hashes: map[string][]byte{}},
		world: &world{cards: map[payment.CardKey]door.Card{}}, tb: tb, registry: prometheus.NewRegistry(), log: &logged{}, sealer: sealer,
	}
	for number, status := range map[string]paymentsv1.CardStatus{
		goodCard: paymentsv1.CardStatus_CARD_STATUS_ACTIVE, blockedCard: paymentsv1.CardStatus_CARD_STATUS_BLOCKED,
		closedCard: paymentsv1.CardStatus_CARD_STATUS_CLOSED, expiredCard: paymentsv1.CardStatus_CARD_STATUS_ACTIVE,
		strayCard: paymentsv1.CardStatus_CARD_STATUS_ACTIVE,
	} {
		card := door.Card{Tenant: "sample", Merchant: "acme", Account: account, Status: status, Expiry: 9912}
		switch number {
		case expiredCard:
			card.Expiry = 2001
		case strayCard:
			card.Account = payment.AccountIDFrom("sample", "acme", "nobody")
		}
		h.cards[sealer.CardKey(number)] = card
	}
	cfg := server.Config{Deadline: 2 * time.Second, Grace: 3 * time.Second}
	ports := server.Ports{
		Lane: h.core, Accounts: h.world, Cards: h.world, Pins: h.world, Policies: h.world, Sealer: sealer, Now: time.Now,
		Log: slog.New(slog.NewJSONHandler(h.log, nil)), Metrics: h.registry,
	}
	for _, c := range change {
		c(&cfg, &ports)
	}
	s, err := server.New(cfg, ports)
	check(tb, err)
	h.server = s
	return h, s
}

func open(tb testing.TB, change ...func(*server.Config, *server.Ports)) *house {
	tb.Helper()
	h, s := build(tb, change...)
	ln, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	check(tb, err)
	h.address = ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, ln) }()
	h.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			tb.Errorf("closing the door: %v", err)
		}
	})
	tb.Cleanup(h.stop)
	h.eventually("serving", func() bool { return s.Ready() == nil })
	return h
}

func (h *house) eventually(what string, ok func() bool) {
	h.tb.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			h.tb.Fatalf("never: %s", what)
		}
	}
}

// metric is the sum of a metric's values that have these labels, name and value in turns.
func (h *house) metric(name string, labels ...string) (sum float64) {
	h.tb.Helper()
	families, err := h.registry.Gather()
	check(h.tb, err)
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			if has(m, labels) {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return sum
}

func has(m *dto.Metric, labels []string) bool {
	for i := 0; i+1 < len(labels); i += 2 {
		found := false
		for _, l := range m.GetLabel() {
			found = found || l.GetName() == labels[i] && l.GetValue() == labels[i+1]
		}
		if !found {
			return false
		}
	}
	return true
}

// acquirer is the other end of a connection.
type acquirer struct {
	tb     testing.TB
	conn   net.Conn
	codec  *iso8583.Codec
	frames iso8583.Frames
	in     *bufio.Reader
}

var codecOnce = sync.OnceValue(iso8583.NewCodec)

func (h *house) dial() *acquirer {
	h.tb.Helper()
	conn, err := new(net.Dialer).DialContext(context.Background(), "tcp", h.address)
	check(h.tb, err)
	a := &acquirer{tb: h.tb, conn: conn, codec: codecOnce(), in: bufio.NewReader(conn)}
	h.tb.Cleanup(func() { _ = conn.Close() }) // most are closed by then
	return a
}

func (a *acquirer) write(m iso8583.Message) {
	a.tb.Helper()
	raw, err := a.codec.Append(nil, &m)
	check(a.tb, err)
	a.raw(raw)
}

func (a *acquirer) raw(message []byte) {
	a.tb.Helper()
	frame, err := a.frames.Append(nil, message)
	check(a.tb, err)
	_, err = a.conn.Write(frame)
	check(a.tb, err)
}

func (a *acquirer) read() iso8583.Message {
	a.tb.Helper()
	m, err := a.next()
	check(a.tb, err)
	return m
}

func (a *acquirer) next() (iso8583.Message, error) {
	_ = a.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	raw, err := a.frames.Read(a.in, nil)
	if err != nil {
		return iso8583.Message{}, err
	}
	return a.codec.Decode(raw)
}

func (a *acquirer) ask(m iso8583.Message) iso8583.Message {
	a.tb.Helper()
	a.write(m)
	return a.read()
}

// turnedAway fails where a client that may not connect gets an answer.
func (a *acquirer) turnedAway(who string, m iso8583.Message) {
	a.tb.Helper()
	raw, err := a.codec.Append(nil, &m)
	check(a.tb, err)
	frame, err := a.frames.Append(nil, raw)
	check(a.tb, err)
	_, _ = a.conn.Write(frame) // fails where the handshake does
	if got, err := a.next(); err == nil {
		a.tb.Errorf("answered %v to %s", got, who)
	}
}

// closed fails unless the other end has closed the connection.
func (a *acquirer) closed() {
	a.tb.Helper()
	if m, err := a.next(); err == nil {
		a.tb.Fatalf("answered: %v", m)
	} else if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
		a.tb.Fatal("still open")
	} else if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) && !bytes.Contains([]byte(err.Error()), []byte("reset")) {
		a.tb.Fatal(err)
	}
}

// message is a request with what its type needs. The STAN makes it another one.
func message(mti iso8583.MTI, stan int, amount int64) iso8583.Message {
	at := time.Now().UTC()
	m := iso8583.Message{
		MTI: mti, PAN: goodCard, ProcessingCode: "003000", AmountMinor: amount, TransmissionTime: iso8583.TransmissionTimeOf(at),
		STAN: iso8583.STAN(fmt.Sprintf("%06d", stan)), LocalTime: "101112", LocalDate: "1123", MCC: "5411", EntryMode: "051", ConditionCode: "00",
		AcquirerID: "123456", RRN: iso8583.RRN(fmt.Sprintf("6327%08d", stan)), Terminal: "TERM0001", Merchant: "LOJA42", Currency: "BRL",
	}
	if mti.Class() == iso8583.ClassReversal {
		m.ConditionCode, m.MCC, m.EntryMode, m.LocalDate, m.LocalTime = "", "", "", "", ""
	}
	return m
}

// of names the message's original.
func of(m, original iso8583.Message) iso8583.Message {
	m.OriginalData = iso8583.OriginalData{MTI: original.MTI, STAN: original.STAN, TransmissionTime: original.TransmissionTime, AcquirerID: original.AcquirerID}
	return m
}

func echo(stan int) iso8583.Message {
	return iso8583.Message{
		MTI: iso8583.NetworkRequest, TransmissionTime: iso8583.TransmissionTimeOf(time.Now()), STAN: iso8583.STAN(fmt.Sprintf("%06d", stan)),
		NetworkInformationCode: "301",
	}
}
