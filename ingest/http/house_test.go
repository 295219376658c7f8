package http_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fasthttp"
	"google.golang.org/protobuf/proto"

	"github.com/caudalpay/caudal/ingest/http"
	"github.com/caudalpay/caudal/processors/payment"
	"github.com/caudalpay/caudal/schemas/codec"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	referencev1 "github.com/caudalpay/caudal/schemas/reference/v1"
	"github.com/caudalpay/caudal/schemas/seal"
)

// Amounts that the house in these tests decides in its own way.
const (
	amountDeclined = 777
	amountReview   = 888
	amountPending  = 999
	amountBusy     = 503
	amountLost     = 504
	amountSlow     = 1111 // decided when the test says so
	amountRefuse   = 404  // account_unknown from the log
	amountOver     = 666  // of a capture: more than is authorised
	amountBeside   = 667  // of an operation: another one waits for its rail
	amountUnknown  = 668  // of an operation: there is no such payment
)

// house stands behind the door: a log, a reducer that knows repeats, a directory and a store.
type house struct {
	mu        sync.Mutex
	log       []*paymentsv1.Command
	keys      []string
	decisions map[string]*paymentsv1.Decision
	hashes    map[string][]byte
	accounts  map[payment.AccountID]http.Account
	customers map[string]payment.AccountID
	cards     map[payment.CardKey]http.Card
	payments  map[payment.ID]*http.PaymentView
	views     map[payment.AccountID]*http.AccountView
	lines     []http.StatementLine
	quotes    map[payment.ID]*http.QuoteView
	disputes  []http.DisputeView
	stored    uint64
	seq       uint64
	slow      chan struct{}
	arrived   chan struct{}
	storeErr  error
	bins      []string // of the policy; set before the first request
}

func newHouse() *house {
	return &house{
		decisions: map[string]*paymentsv1.Decision{}, hashes: map[string][]byte{},
		accounts: map[payment.AccountID]http.Account{}, customers: map[string]payment.AccountID{},
		cards:    map[payment.CardKey]http.Card{},
		payments: map[payment.ID]*http.PaymentView{}, views: map[payment.AccountID]*http.AccountView{},
		quotes: map[payment.ID]*http.QuoteView{},
		slow:   make(chan struct{}), arrived: make(chan struct{}, 16),
	}
}

func (h *house) admit(tenant, merchant, external, customer string, currencies ...string) payment.AccountID {
	h.mu.Lock()
	defer h.mu.Unlock()
	id := payment.AccountIDFrom(tenant, merchant, external)
	h.accounts[id] = http.Account{Tenant: tenant, Merchant: merchant, Customer: customer, Policy: "standard", Currencies: strings.Join(currencies, ",")}
	h.customers[tenant+"/"+merchant+"/"+customer] = id
	return id
}

func (h *house) produced() []*paymentsv1.Command {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]*paymentsv1.Command(nil), h.log...)
}

func amountOf(c *paymentsv1.Command) int64 {
	return max(c.GetInstruction().GetAmountMinor(), c.GetRefund().GetAmountMinor(), c.GetCapture().GetAmountMinor(), c.GetIncrement().GetAmountMinor(),
		c.GetFxQuote().GetAmountMinor(), c.GetDispute().GetAmountMinor(), c.GetClearing().GetAmountMinor())
}

func (h *house) append(key string, cmd *paymentsv1.Command) (*paymentsv1.Decision, error) {
	switch amountOf(cmd) {
	case amountBusy:
		return nil, http.ErrBusy
	case amountLost:
		return nil, http.ErrUnavailable
	}
	if _, _, err := codec.CommandFromProto(cmd); err != nil {
		return nil, fmt.Errorf("reading what the door wrote: %w", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.log = append(h.log, proto.CloneOf(cmd))
	h.keys = append(h.keys, key)
	h.seq++
	if cmd.GetKind() == paymentsv1.CommandKind_COMMAND_KIND_ISSUE_CARD || cmd.GetKind() == paymentsv1.CommandKind_COMMAND_KIND_SET_CARD_STATUS {
		return h.decideCard(payment.CardKey(key), cmd), nil
	}
	id := cmd.GetCommandId()
	if cmd.GetPaymentId() != "" && payment.Kind(cmd.GetKind()).Prefix() != "" {
		id = id[3:]
	}
	switch cmd.GetKind() {
	case paymentsv1.CommandKind_COMMAND_KIND_OPEN_ACCOUNT:
		id = cmd.GetAccount()
	case paymentsv1.CommandKind_COMMAND_KIND_DISPUTE:
		id = cmd.GetDispute().GetMessageId()
	default:
	}
	if first, ok := h.decisions[id]; ok {
		again := proto.CloneOf(first)
		again.AccountSeq = h.seq
		again.Outcome = paymentsv1.Outcome_OUTCOME_REPEATED
		again.CapturedMinor, again.RelatedStatus = int64(h.seq), paymentsv1.PaymentStatus_PAYMENT_STATUS_SUCCEEDED // what went on meanwhile
		if !bytes.Equal(h.hashes[id], cmd.GetBodyHash()) {
			again = &paymentsv1.Decision{Kind: cmd.GetKind(), Outcome: paymentsv1.Outcome_OUTCOME_CONFLICT, AccountSeq: h.seq, Reasons: []paymentsv1.Reason{paymentsv1.Reason_REASON_IDEMPOTENCY_CONFLICT}}
		}
		return again, nil
	}
	d := h.decide(cmd)
	if cmd.GetKind() == paymentsv1.CommandKind_COMMAND_KIND_DISPUTE && d.GetOutcome() == paymentsv1.Outcome_OUTCOME_DECLINED {
		return d, nil // a fact: it may be told again
	}
	h.decisions[id], h.hashes[id] = d, bytes.Clone(cmd.GetBodyHash()) // the door uses its memory again
	return d, nil
}

func (h *house) decide(cmd *paymentsv1.Command) *paymentsv1.Decision {
	in := cmd.GetInstruction()
	d := &paymentsv1.Decision{
		Kind: cmd.GetKind(), Outcome: paymentsv1.Outcome_OUTCOME_APPROVED, AccountSeq: h.seq, PaymentId: cmd.GetCommandId(),
		Status: paymentsv1.PaymentStatus_PAYMENT_STATUS_SUCCEEDED, AmountMinor: amountOf(cmd), Currency: in.GetCurrency(),
		TargetAmountMinor: amountOf(cmd), TargetCurrency: in.GetCurrency(), Method: in.GetMethod(), ToAccount: in.GetToAccount(),
		CreatedAtUs: cmd.GetAcceptedAtUs(), AcceptedAtUs: cmd.GetAcceptedAtUs(),
	}
	switch amountOf(cmd) {
	case amountDeclined:
		d.Outcome, d.Status = paymentsv1.Outcome_OUTCOME_DECLINED, paymentsv1.PaymentStatus_PAYMENT_STATUS_FAILED
		d.Reasons = []paymentsv1.Reason{paymentsv1.Reason_REASON_LIMIT_DAY, paymentsv1.Reason_REASON_INSUFFICIENT_FUNDS}
	case amountRefuse:
		d.Outcome, d.Status = paymentsv1.Outcome_OUTCOME_DECLINED, paymentsv1.PaymentStatus_PAYMENT_STATUS_FAILED
		d.Reasons = []paymentsv1.Reason{paymentsv1.Reason_REASON_ACCOUNT_UNKNOWN}
	case amountReview:
		d.Outcome, d.Status = paymentsv1.Outcome_OUTCOME_REVIEW, paymentsv1.PaymentStatus_PAYMENT_STATUS_IN_REVIEW
		d.Reasons = []paymentsv1.Reason{paymentsv1.Reason_REASON_FRAUD_SCORE}
	}
	if d.GetOutcome() == paymentsv1.Outcome_OUTCOME_APPROVED {
		askRail(cmd, d)
		contest(cmd, d)
	}
	switch {
	case cmd.GetKind() == paymentsv1.CommandKind_COMMAND_KIND_TRANSFER && d.GetOutcome() == paymentsv1.Outcome_OUTCOME_APPROVED:
		d.Status = paymentsv1.PaymentStatus_PAYMENT_STATUS_PROCESSING
	case cmd.GetKind() == paymentsv1.CommandKind_COMMAND_KIND_OPEN_ACCOUNT:
		o := cmd.GetOpenAccount()
		if o.GetExternalId() == "second" {
			d.Outcome, d.Reasons = paymentsv1.Outcome_OUTCOME_DECLINED, []paymentsv1.Reason{paymentsv1.Reason_REASON_CUSTOMER_HAS_ACCOUNT}
			return d
		}
		h.accounts[payment.AccountID(cmd.GetAccount())] = http.Account{
			Tenant: cmd.GetTenant(), Merchant: cmd.GetMerchant(), Customer: cmd.GetCustomer(),
			Policy: o.GetPolicy(), Currencies: strings.Join(o.GetCurrencies(), ","),
		}
	case cmd.GetKind() == paymentsv1.CommandKind_COMMAND_KIND_DECLINE && cmd.GetPaymentId()[:3] == payment.KindTransfer.Prefix():
		d.Status, d.Reasons = paymentsv1.PaymentStatus_PAYMENT_STATUS_FAILED, []paymentsv1.Reason{paymentsv1.Reason_REASON_REVIEW_DECLINED}
	case cmd.GetKind() == paymentsv1.CommandKind_COMMAND_KIND_DECLINE:
		d.Outcome, d.Reasons = paymentsv1.Outcome_OUTCOME_DECLINED, []paymentsv1.Reason{paymentsv1.Reason_REASON_PAYMENT_STATE}
	}
	if cmd.GetInstruction().GetTargetCurrency() != "" {
		d.TargetCurrency = in.GetTargetCurrency()
		d.Fx = &paymentsv1.Fx{RateUnscaled: 5_123_400, RateScale: 7, MidUnscaled: 52, MidScale: 2, SpreadBp: 150}
	}
	return d
}

// contest changes the decision on quotes, and on what is said of disputes.
func contest(cmd *paymentsv1.Command, d *paymentsv1.Decision) {
	decline := func(r paymentsv1.Reason) {
		d.Outcome, d.Reasons = paymentsv1.Outcome_OUTCOME_DECLINED, []paymentsv1.Reason{r}
	}
	switch q := cmd.GetFxQuote(); cmd.GetKind() {
	case paymentsv1.CommandKind_COMMAND_KIND_FX_QUOTE:
		d.Status, d.Currency, d.TargetCurrency, d.TargetAmountMinor = paymentsv1.PaymentStatus_PAYMENT_STATUS_CREATED, q.GetCurrency(), q.GetTargetCurrency(), 1900
		d.Fx = &paymentsv1.Fx{RateUnscaled: 190_000, RateScale: 6, MidUnscaled: 20, MidScale: 2, SpreadBp: 500}
		d.DeadlineUs = d.GetCreatedAtUs() + 30_000_000
		if q.GetAmountMinor() == amountOver {
			d.Status = paymentsv1.PaymentStatus_PAYMENT_STATUS_FAILED
			decline(paymentsv1.Reason_REASON_RATE_STALE)
		}
	case paymentsv1.CommandKind_COMMAND_KIND_DISPUTE:
		d.Outcome, d.Status, d.Currency = paymentsv1.Outcome_OUTCOME_APPLIED, paymentsv1.PaymentStatus(cmd.GetDispute().GetStage())+16, "BRL"
		switch amountOf(cmd) {
		case amountOver:
			decline(paymentsv1.Reason_REASON_RAIL_AMOUNT)
		case amountUnknown:
			decline(paymentsv1.Reason_REASON_PAYMENT_UNKNOWN)
		}
	case paymentsv1.CommandKind_COMMAND_KIND_CLEARING:
		d.Outcome, d.Status, d.Currency = paymentsv1.Outcome_OUTCOME_APPLIED, paymentsv1.PaymentStatus_PAYMENT_STATUS_SUCCEEDED, cmd.GetClearing().GetCurrency()
		if cmd.GetPaymentId() == "" {
			d.Reasons = []paymentsv1.Reason{paymentsv1.Reason_REASON_PAYMENT_UNKNOWN}
		}
	case paymentsv1.CommandKind_COMMAND_KIND_DISPUTE_EVIDENCE:
		d.Status, d.PaymentId = paymentsv1.PaymentStatus_PAYMENT_STATUS_DISPUTE, cmd.GetPaymentId()
		switch cmd.GetDisputeEvidence().GetFiles()[0].GetReference() {
		case "late":
			decline(paymentsv1.Reason_REASON_DEADLINE_PASSED)
		case "unknown":
			d.Status = paymentsv1.PaymentStatus_PAYMENT_STATUS_UNSPECIFIED
			decline(paymentsv1.Reason_REASON_PAYMENT_UNKNOWN)
		}
	case paymentsv1.CommandKind_COMMAND_KIND_DISPUTE_ACCEPT:
		d.Status, d.PaymentId = paymentsv1.PaymentStatus_PAYMENT_STATUS_LOST, cmd.GetPaymentId()
	default:
	}
}

// askRail changes the decision on what a rail executes.
func askRail(cmd *paymentsv1.Command, d *paymentsv1.Decision) {
	decline := func(r paymentsv1.Reason) {
		d.Outcome, d.Status, d.Reasons = paymentsv1.Outcome_OUTCOME_DECLINED, paymentsv1.PaymentStatus_PAYMENT_STATUS_FAILED, []paymentsv1.Reason{r}
	}
	switch kind := payment.Kind(cmd.GetKind()); {
	case kind == payment.KindPayOut && d.GetMethod() == "bank":
		d.Status = paymentsv1.PaymentStatus_PAYMENT_STATUS_CREATED
	case kind == payment.KindPayIn && d.GetMethod() == "card":
		d.Status = paymentsv1.PaymentStatus_PAYMENT_STATUS_PROCESSING
	case !kind.Operation() || kind == payment.KindRefund:
	case amountOf(cmd) == amountOver:
		decline(paymentsv1.Reason_REASON_CAPTURE_EXCEEDS_AUTHORIZATION)
	case amountOf(cmd) == amountBeside:
		decline(paymentsv1.Reason_REASON_OPERATION_IN_PROGRESS)
	case amountOf(cmd) == amountUnknown:
		decline(paymentsv1.Reason_REASON_PAYMENT_UNKNOWN)
	default:
		d.Status, d.Method, d.Currency = paymentsv1.PaymentStatus_PAYMENT_STATUS_PROCESSING, "card", "BRL"
		d.RelatedPaymentId, d.AuthorizedMinor = cmd.GetPaymentId(), 1000
	}
}

func (h *house) Submit(_ context.Context, key string, cmd *paymentsv1.Command) error {
	_, err := h.append(key, cmd)
	return err
}

func (h *house) SubmitAndWait(ctx context.Context, key string, cmd *paymentsv1.Command, wait time.Duration) (*paymentsv1.Decision, error) {
	d, err := h.append(key, cmd)
	switch amountOf(cmd) {
	case amountPending:
		if err == nil {
			err = http.ErrPending
		}
		return nil, err
	case amountSlow:
		h.arrived <- struct{}{}
		select {
		case <-h.slow:
		case <-ctx.Done():
			return nil, http.ErrPending
		case <-time.After(wait):
			return nil, http.ErrPending
		}
	}
	return d, err
}

func (h *house) SubmitBatch(_ context.Context, items []http.Item) []error {
	errs := make([]error, len(items))
	for i, item := range items {
		_, errs[i] = h.append(item.Key, item.Command)
	}
	return errs
}

func (h *house) SubmitBatchAndWait(ctx context.Context, items []http.Item, wait time.Duration) []http.Result {
	results := make([]http.Result, len(items))
	for i, item := range items {
		results[i].Decision, results[i].Err = h.SubmitAndWait(ctx, item.Key, item.Command, wait)
	}
	return results
}

func (h *house) Account(id payment.AccountID) (http.Account, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	e, ok := h.accounts[id]
	return e, ok
}

func (h *house) CustomerAccount(tenant, merchant, customer string) (payment.AccountID, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	id, ok := h.customers[tenant+"/"+merchant+"/"+customer]
	return id, ok
}

func (h *house) WaitAccount(ctx context.Context, id payment.AccountID) error {
	if _, ok := h.Account(id); !ok {
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

func (h *house) Pin(policy string) (*paymentsv1.Pins, error) {
	if policy != "standard" {
		return nil, http.ErrPolicyUnknown
	}
	return &paymentsv1.Pins{Policy: "standard@3"}, nil
}

func (h *house) Policy(id string) (*referencev1.Policy, bool) {
	if id != "standard" {
		return nil, false
	}
	return &referencev1.Policy{Id: id, Issuing: &referencev1.IssuingPolicy{Bins: h.bins}}, true
}

// store is the house seen as a Store, whose method names would meet the directory's.
type store struct{ *house }

func (s store) Payment(_ context.Context, _ http.Owner, id payment.ID) (*http.PaymentView, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.storeErr != nil {
		return nil, s.storeErr
	}
	if v, ok := s.payments[id]; ok {
		c := *v
		return &c, nil
	}
	return nil, http.ErrNotFound
}

func (s store) Account(_ context.Context, _ http.Owner, id payment.AccountID) (*http.AccountView, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v, ok := s.views[id]; ok {
		return v, nil
	}
	return nil, http.ErrNotFound
}

func (s store) Balances(_ context.Context, _ http.Owner, id payment.AccountID) (*http.BalancesView, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.views[id]; !ok {
		return nil, http.ErrNotFound
	}
	return &http.BalancesView{Balances: []http.BalanceView{{Currency: "BRL", Posted: 100, Held: 30, Available: 70}}, AccountSeq: s.stored}, nil
}

func (s store) Statement(_ context.Context, _ http.Owner, q http.StatementQuery) (*http.StatementPage, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	page := &http.StatementPage{Lines: []http.StatementLine{}, AccountSeq: s.stored}
	for _, l := range s.lines {
		if l.AccountSeq < q.After.AccountSeq || l.AccountSeq == q.After.AccountSeq && l.Line <= q.After.Line {
			continue
		}
		if len(page.Lines) == q.Limit {
			page.HasMore = true
			break
		}
		page.Lines = append(page.Lines, l)
	}
	return page, nil
}

func (s store) Quote(_ context.Context, _ http.Owner, id payment.ID) (*http.QuoteView, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v, ok := s.quotes[id]; ok {
		return v, nil
	}
	return nil, http.ErrNotFound
}

func (s store) Dispute(_ context.Context, _ http.Owner, id payment.ID) (*http.DisputeView, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.disputes {
		if s.disputes[i].DisputeID == string(id) {
			return &s.disputes[i], nil
		}
	}
	return nil, http.ErrNotFound
}

// Disputes pages through the disputes as they stand, whose cursor is the place of the last.
func (s store) Disputes(_ context.Context, _ http.Owner, q http.DisputesQuery) (*http.DisputesPage, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.storeErr != nil {
		return nil, s.storeErr
	}
	page := &http.DisputesPage{Disputes: []http.DisputeView{}}
	behind := q.After == (http.DisputesCursor{})
	for _, d := range s.disputes {
		switch {
		case !behind:
			behind = d.DisputeID == string(q.After.ID) && d.CreatedAt.UnixMicro() == q.After.CreatedAtUS
		case q.Account != "" && d.AccountID != string(q.Account), q.Status != payment.StatusNone && d.Status != q.Status.String():
		case len(page.Disputes) == q.Limit:
			page.HasMore = true
			return page, nil
		default:
			page.Disputes = append(page.Disputes, d)
		}
	}
	return page, nil
}

func (s store) WaitSeq(ctx context.Context, _ payment.AccountID, seq uint64) error {
	for {
		s.mu.Lock()
		stored := s.stored
		s.mu.Unlock()
		if stored >= seq {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
}

const (
	token      = "sk_test_0123456789abcdef"
	otherToken = "sk_test_fedcba9876543210"
	readToken  = "sk_test_reader"
	houseToken = "sk_test_operator"
)

func keyOf(secret, merchant string, scopes ...string) http.Key {
	sum := sha256.Sum256([]byte(secret))
	return http.Key{KeySHA256: hex.EncodeToString(sum[:]), Tenant: "sample", Merchant: merchant, Name: "till-" + merchant, Scopes: scopes}
}

// door is a served front door with a house behind it.
type door struct {
	*house
	tb      testing.TB
	stop    func()
	address string
	client  *fasthttp.Client
	server  *http.Server
	sealer  *seal.Keyring
	shop    payment.AccountID // shop's, BRL and USD
	buyer   payment.AccountID // shop's, BRL
	rival   payment.AccountID // another merchant's of the same tenant, BRL
	foreign payment.AccountID // another tenant's
}

func openDoor(tb testing.TB, change ...func(*http.Config, *http.Ports)) *door {
	tb.Helper()
	h := newHouse()
	sealer, err := seal.LoadOrCreate(filepath.Join(tb.TempDir(), "seal.key"))
	check(tb, err)
	keys, err := http.NewKeyring([]http.Key{keyOf(token, "shop"), keyOf(otherToken, "rival"), keyOf(readToken, "shop", http.ScopeRead), keyOf(houseToken, "shop", http.ScopeOperator)})
	check(tb, err)
	reg := prometheus.NewRegistry()
	cfg := http.Config{WaitDefault: 2 * time.Second, ReadWait: 60 * time.Millisecond, SeqWait: 80 * time.Millisecond, ShutdownGrace: 5 * time.Second}
	ports := http.Ports{
		Commands: h, Accounts: h, Cards: cards{h}, Pins: h, Policies: h, Sealer: sealer, Store: store{h}, Keys: keys, Now: time.Now,
		Log: slog.New(slog.DiscardHandler), Metrics: reg, Gatherer: reg,
	}
	for _, c := range change {
		c(&cfg, &ports)
	}
	server, err := http.New(cfg, ports)
	check(tb, err)
	var lc net.ListenConfig
	ln, err := lc.Listen(tb.Context(), "tcp", "127.0.0.1:0")
	check(tb, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, ln) }()
	client := &fasthttp.Client{MaxConnsPerHost: 512}
	stop := sync.OnceFunc(func() {
		client.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.DeadlineExceeded) {
			tb.Errorf("closing the door: %v", err)
		}
	})
	tb.Cleanup(stop)
	d := &door{house: h, tb: tb, stop: stop, address: ln.Addr().String(), client: client, server: server, sealer: sealer}
	d.shop = h.admit("sample", "shop", "shop-1", "c1", "BRL", "USD")
	d.buyer = h.admit("sample", "shop", "buyer-1", "c2", "BRL")
	d.rival = h.admit("sample", "rival", "rival-1", "c3", "BRL")
	d.foreign = h.admit("elsewhere", "shop", "shop-1", "c1", "BRL")
	return d
}

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// reply is what came back.
type reply struct {
	status int
	header map[string]string
	body   []byte
}

func (r reply) problem(tb testing.TB) http.Problem {
	tb.Helper()
	if got := r.header["Content-Type"]; got != "application/problem+json" {
		tb.Fatalf("content type %q, status %d, body %s", got, r.status, r.body)
	}
	var p http.Problem
	check(tb, json.Unmarshal(r.body, &p))
	if p.Status != r.status || p.Title == "" || p.Type != "/errors/"+string(p.Code) {
		tb.Fatalf("problem %+v does not fit status %d", p, r.status)
	}
	return p
}

func (r reply) decode(tb testing.TB, into any) {
	tb.Helper()
	if err := json.Unmarshal(r.body, into, json.RejectUnknownMembers(true)); err != nil {
		tb.Fatalf("decoding %d %s: %v", r.status, r.body, err)
	}
}

// send makes a request; headers come as name, value pairs after the body.
func (d *door) send(method, path, body string, headers ...string) reply {
	d.tb.Helper()
	req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(resp)
	req.Header.SetMethod(method)
	req.SetRequestURI("http://" + d.address + path)
	req.Header.Set("Authorization", "Bearer "+token)
	if method != "GET" {
		req.Header.SetContentType("application/json")
		req.SetBodyString(body)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Del(headers[i])
		if headers[i+1] != "" {
			req.Header.Set(headers[i], headers[i+1])
		}
	}
	check(d.tb, d.client.DoTimeout(req, resp, 20*time.Second))
	r := reply{status: resp.StatusCode(), header: map[string]string{}, body: append([]byte(nil), resp.Body()...)}
	for k, v := range resp.Header.All() {
		r.header[string(k)] = string(v)
	}
	return r
}

func (d *door) post(path, key, body string, headers ...string) reply {
	d.tb.Helper()
	return d.send("POST", path, body, append([]string{"Idempotency-Key", key}, headers...)...)
}

// payIn is the body of a pay-in with more members, which may be empty or begin with a comma.
func (d *door) payIn(amount string, more string) string {
	return `{"account_id":"` + string(d.shop) + `","amount":` + amount + `,"currency":"BRL","method":{"type":"book"},"reference":"order 1"` + more + `}`
}
