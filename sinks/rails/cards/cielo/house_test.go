package cielo_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/embedtest"
	"github.com/caudalpay/caudal/processors/payment"
	"github.com/caudalpay/caudal/schemas/codec"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	railsv1 "github.com/caudalpay/caudal/schemas/rails/v1"
	"github.com/caudalpay/caudal/schemas/topics"
	"github.com/caudalpay/caudal/sinks/rails/cards"
	"github.com/caudalpay/caudal/sinks/rails/cards/abecs"
	"github.com/caudalpay/caudal/sinks/rails/cards/cielo"
)

func TestMain(m *testing.M) { embedtest.Main(m) }

// gateway is as much of Cielo as a payment's life needs. A token "cut" is sold, and the connection cut.
type gateway struct {
	mu    sync.Mutex
	sales map[string]*sold
	moved map[string]int // calls that moved money, by path
}

type sold struct {
	Order                    string
	Status                   int
	Amount, Captured, Voided int64
}

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if r.Header.Get("MerchantId") != "merchant" || r.Header.Get("MerchantKey") != "key" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	amount, _ := strconv.ParseInt(r.URL.Query().Get("amount"), 10, 64)
	switch {
	case r.Method == http.MethodPost:
		g.sell(w, r)
	case r.Method == http.MethodGet && len(parts) == 2:
		g.list(w, r.URL.Query().Get("merchantOrderId"))
	case g.sales[parts[2]] == nil:
		w.WriteHeader(http.StatusNotFound)
	case r.Method == http.MethodGet:
		g.tell(w, http.StatusOK, parts[2])
	case parts[3] == "capture":
		g.moved[r.URL.Path]++
		s := g.sales[parts[2]]
		s.Status, s.Captured = 2, amount
		_ = json.NewEncoder(w).Encode(map[string]any{"Status": 2, "ReturnCode": "6"})
	case parts[3] == "void":
		g.moved[r.URL.Path]++
		s := g.sales[parts[2]]
		s.Voided += amount
		if s.Voided >= s.Captured {
			s.Status = 10
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"Status": s.Status, "ReturnCode": "0"})
	}
}

func (g *gateway) sell(w http.ResponseWriter, r *http.Request) {
	var q struct {
		MerchantOrderID string `json:"MerchantOrderId"`
		Payment         struct {
			Amount     int64
			Capture    bool
			CreditCard struct{ CardToken, Brand string }
		}
	}
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	id := fmt.Sprintf("pay-%d", len(g.sales)+1)
	s := &sold{Order: q.MerchantOrderID, Status: 1, Amount: q.Payment.Amount}
	if q.Payment.Capture {
		s.Status, s.Captured = 2, s.Amount
	}
	g.sales[id] = s
	g.moved[q.MerchantOrderID]++
	if q.Payment.CreditCard.CardToken == "cut" {
		panic(http.ErrAbortHandler)
	}
	g.tell(w, http.StatusCreated, id)
}

func (g *gateway) list(w http.ResponseWriter, order string) {
	found := []map[string]any{}
	for id, s := range g.sales {
		if s.Order == order {
			found = append(found, map[string]any{"PaymentId": id})
		}
	}
	if len(found) == 0 {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"Payment": found})
}

func (g *gateway) tell(w http.ResponseWriter, status int, id string) {
	s := g.sales[id]
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"MerchantOrderId": s.Order, "Payment": map[string]any{
		"PaymentId": id, "Status": s.Status, "ReturnCode": "4", "Amount": s.Amount, "CapturedAmount": s.Captured, "VoidedAmount": s.Voided,
	}})
}

// A payment's whole life through log, runner, dialect and gateway.
func TestLifeOfAPayment(t *testing.T) {
	g := &gateway{sales: map[string]*sold{}, moved: map[string]int{}}
	server := httptest.NewServer(g)
	t.Cleanup(server.Close)
	h := newHouse(t, server.URL)
	auth := h.order("AUTHORIZE", 1, 1000, "tok")
	a := h.answer(auth)
	if a.Result != payment.RailConfirmed || a.Connector != "cielo" || a.Reference != "pay-1" || a.AmountMinor != 1000 {
		t.Fatalf("authorised: %+v", a)
	}
	for _, c := range []struct {
		kind   string
		n      int
		amount int64
		result payment.RailResult
		code   string
	}{
		{"CAPTURE", 2, 600, payment.RailConfirmed, "6"},
		{"CAPTURE", 3, 100, payment.RailRefused, cards.CodeUnsupported},
		{"VOID", 4, 400, payment.RailRefused, cards.CodeUnsupported},
		{"INCREMENT", 5, 400, payment.RailRefused, cards.CodeUnsupported},
		{"RETURN", 6, 250, payment.RailConfirmed, "0"},
		{"RETURN", 7, 350, payment.RailConfirmed, "0"},
	} {
		o := h.order(c.kind, c.n, c.amount, "")
		if a := h.answer(o); a.Result != c.result || a.Code != c.code || a.Reference != "pay-1" && a.Result == payment.RailConfirmed {
			t.Errorf("%s of %d: %+v", c.kind, c.amount, a)
		}
	}
	cut := h.order("COLLECT", 8, 900, "cut")
	if a := h.answer(cut); a.Result != payment.RailConfirmed || a.Reference != "pay-2" || a.AmountMinor != 900 {
		t.Errorf("found by our own reference: %+v", a)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if s := g.sales["pay-1"]; len(g.sales) != 2 || s.Captured != 600 || s.Voided != 600 {
		t.Errorf("%d sales, %+v", len(g.sales), s)
	}
	if n := g.moved["/1/sales/pay-1/capture"] + g.moved["/1/sales/pay-1/void"]; n != 3 {
		t.Errorf("%d changes reached the gateway", n)
	}
}

// deaf is told of no dispute.
type deaf struct{}

func (deaf) Tell(context.Context, *railsv1.Notification) (*paymentsv1.Decision, error) {
	return nil, cards.ErrNoPayIn
}

type house struct {
	t       *testing.T
	client  *kgo.Client
	answers *kgo.Client
}

func newHouse(t *testing.T, url string) *house {
	t.Helper()
	brokers := embedtest.Broker(t)
	client := connect(t, kgo.SeedBrokers(brokers...), kgo.MetadataMinAge(100*time.Millisecond))
	for _, topic := range []string{topics.RailsOrders, topics.Commands, topics.RailsAttempts, topics.RailsNotifications} {
		if _, err := kadm.NewClient(client).CreateTopic(t.Context(), 1, 1, nil, topic); err != nil {
			t.Fatal(err)
		}
	}
	acquirer, err := cielo.New(cielo.Config{URL: url, QueryURL: url, MerchantID: "merchant", MerchantKey: "key"})
	if err != nil {
		t.Fatal(err)
	}
	cfg := cards.DefaultConfig()
	cfg.Brokers, cfg.Partitions, cfg.Acquirers = brokers, 1, map[string]cards.Acquirer{"cielo": acquirer}
	if cfg.Routes, err = cards.ParseRoutes([]byte("version: 1\nroutes: [{connector: cielo}]\n")); err != nil {
		t.Fatal(err)
	}
	if cfg.Codes, err = abecs.Default(); err != nil {
		t.Fatal(err)
	}
	cfg.Disputes = deaf{}
	cfg.Polls = []time.Duration{100 * time.Millisecond, time.Second, time.Hour}
	cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	cfg.Registry = prometheus.NewRegistry()
	runner, err := cards.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- runner.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return &house{t: t, client: client, answers: connect(t, kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topics.Commands),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(50*time.Millisecond))}
}

func connect(t *testing.T, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// order writes an order of the one payment, and returns its id.
func (h *house) order(kind string, n int, amount int64, token string) string {
	h.t.Helper()
	account := payment.AccountIDFrom("t1", "m1", "c1")
	o := &railsv1.Order{
		Version: 1, OrderId: fmt.Sprintf("order-%d.%s", n, strings.ToLower(kind)), Kind: railsv1.OrderKind(railsv1.OrderKind_value["ORDER_KIND_"+kind]),
		Method: "card", Tenant: "t1", Merchant: "m1", Account: string(account),
		PaymentId:   string(payment.IDFrom(payment.KindPayIn, account, "m1", "k1")),
		AmountMinor: amount, Currency: "BRL", Instrument: token, Brand: "visa", OrderedAtUs: time.Now().UnixMicro(),
	}
	if token == "" {
		o.Connector, o.Reference = "cielo", "pay-1"
	}
	value, err := proto.Marshal(o)
	if err != nil {
		h.t.Fatal(err)
	}
	record := &kgo.Record{Topic: topics.RailsOrders, Key: []byte(account), Value: value}
	if err := h.client.ProduceSync(h.t.Context(), record).FirstErr(); err != nil {
		h.t.Fatal(err)
	}
	return o.GetOrderId()
}

// answer is the final one.
func (h *house) answer(orderID string) (last payment.RailAnswer) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 20*time.Second)
	defer cancel()
	for last.Result != payment.RailConfirmed && last.Result != payment.RailRefused {
		fetches := h.answers.PollFetches(ctx)
		if ctx.Err() != nil {
			h.t.Fatalf("no answer to %s, last %+v", orderID, last)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			c, _, err := codec.DecodeCommand(r.Value)
			if err != nil {
				h.t.Fatal(err)
			}
			if c.RailAnswer.OrderID == orderID {
				last = *c.RailAnswer
			}
		})
	}
	return last
}
