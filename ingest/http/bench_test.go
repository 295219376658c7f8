package http

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fasthttp"

	"github.com/caudalpay/caudal/ingest/door"
	"github.com/caudalpay/caudal/processors/payment"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	referencev1 "github.com/caudalpay/caudal/schemas/reference/v1"
	"github.com/caudalpay/caudal/schemas/seal"
)

const benchBody = `{"account_id":"acc_aaaaaaaaaaaaaaaaaaaa","amount":12345,"currency":"BRL","method":{"type":"book"},"reference":"order 4711","counterparty":{"name":"Maria Souza","country":"BR"}}`

func benchBatch(n int) []byte {
	items := make([]string, n)
	for i := range items {
		items[i] = fmt.Sprintf(`{"kind":"payin","idempotency_key":"key-%06d",%s`, i, benchBody[1:])
	}
	return []byte("[" + strings.Join(items, ",") + "]")
}

// mixedBatch has the kinds, fields and shares of the load of `caudal bench`.
func mixedBatch(n, serial int) []byte {
	const account, other = `"account_id":"acc_aaaaaaaaaaaaaaaaaaaa"`, `"to_account_id":"acc_bbbbbbbbbbbbbbbbbbbb"`
	b := []byte("[")
	for i := serial; i < serial+n; i++ {
		if i > serial {
			b = append(b, ',')
		}
		common := fmt.Sprintf(`"idempotency_key":"b1795346000-%d",%s,"amount":%d,"currency":"BRL","reference":"order b1795346000-%d"`, i, account, 100+i, i)
		switch {
		case i%20 == 0:
			b = fmt.Appendf(b, `{"kind":"refund","idempotency_key":"b1795346000-%d","payment_id":"pi_aaaaaaaaaaaaaaaaaaaa%s","reason":"returned"}`, i, strings.Repeat("c", 20))
		case i%10 == 1:
			b = fmt.Appendf(b, `{"kind":"transfer",%s,%s}`, common, other)
		case i%10 == 2:
			b = fmt.Appendf(b, `{"kind":"payin",%s,"method":{"type":"book"},"target_currency":"USD"}`, common)
		case i%100 == 53: // invalid
			b = fmt.Appendf(b, `{"kind":"payin",%s,"method":{"type":"book"}}`, strings.Replace(common, `"amount":`, `"amount":-`, 1))
		case i%2 == 0:
			b = fmt.Appendf(b, `{"kind":"payout",%s,"method":{"type":"book"}}`, common)
		default:
			b = fmt.Appendf(b, `{"kind":"payin",%s,"method":{"type":"book"}}`, common)
		}
	}
	return append(b, ']')
}

// still takes everything and answers at once, so that the door alone is measured.
type still struct{ account Account }

func (still) Submit(context.Context, string, *paymentsv1.Command) error { return nil }

func (still) SubmitAndWait(_ context.Context, _ string, c *paymentsv1.Command, _ time.Duration) (*paymentsv1.Decision, error) {
	return &paymentsv1.Decision{Kind: c.GetKind(), Outcome: paymentsv1.Outcome_OUTCOME_APPROVED, Status: paymentsv1.PaymentStatus_PAYMENT_STATUS_SUCCEEDED, AmountMinor: c.GetInstruction().GetAmountMinor(), Currency: "BRL", AccountSeq: 1}, nil
}

func (still) SubmitBatch(_ context.Context, items []Item) []error { return make([]error, len(items)) }

func (still) SubmitBatchAndWait(_ context.Context, items []Item, _ time.Duration) []Result {
	return make([]Result, len(items))
}

func (s still) Account(payment.AccountID) (Account, bool) { return s.account, true }

func (still) CustomerAccount(string, string, string) (payment.AccountID, bool) { return "", false }

func (still) WaitAccount(context.Context, payment.AccountID) error { return nil }

func (s still) Card(payment.CardKey) (door.Card, bool) {
	return door.Card{Tenant: s.account.Tenant, Merchant: s.account.Merchant, Account: payment.AccountIDFrom("sample", "shop", "1")}, true
}

func (still) WaitCard(context.Context, payment.CardKey, uint64) error { return nil }

func (still) Pin(string) (*paymentsv1.Pins, error) {
	return &paymentsv1.Pins{Policy: "standard@1"}, nil
}

func (still) Policy(id string) (*referencev1.Policy, bool) { return &referencev1.Policy{Id: id}, true }

type noStore struct{ Store }

func benchServer(tb testing.TB) (*Server, string) {
	tb.Helper()
	sealer, err := seal.LoadOrCreate(filepath.Join(tb.TempDir(), "seal.key"))
	if err != nil {
		tb.Fatal(err)
	}
	const secret = "sk_test_benchmark"
	keys, err := NewKeyring([]Key{keyFor(secret, Scopes()...)})
	if err != nil {
		tb.Fatal(err)
	}
	house := still{Account{Tenant: "sample", Merchant: "shop", Customer: "c1", Policy: "standard", Currencies: "BRL,USD"}}
	reg := prometheus.NewRegistry()
	s, err := New(Config{}, Ports{
		Commands: house, Accounts: house, Cards: house, Pins: house, Policies: house, Sealer: sealer, Store: noStore{}, Keys: keys, Now: time.Now,
		Log: slog.New(slog.DiscardHandler), Metrics: reg, Gatherer: reg,
	})
	if err != nil {
		tb.Fatal(err)
	}
	return s, secret
}

func BenchmarkDecodeSingle(b *testing.B) {
	ds := newDecoders()
	body := []byte(benchBody)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		var r paymentRequest
		d := ds.get(body)
		if d.payment(&r, payment.KindPayIn) != nil || d.end() != nil || d.violations != nil {
			b.Fatal(d.violations)
		}
		ds.put(d)
	}
}

func BenchmarkDecodeBatchOf100(b *testing.B) {
	ds := newDecoders()
	body := benchBatch(100)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		d := ds.get(body)
		if _, err := d.json.ReadToken(); err != nil {
			b.Fatal(err)
		}
		for d.json.PeekKind() != ']' {
			var r paymentRequest
			if d.payment(&r, payment.KindUnknown) != nil || d.violations != nil {
				b.Fatal(d.violations)
			}
		}
		ds.put(d)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*100), "ns/item")
}

// handler measures the whole handler without a socket.
func handler(b *testing.B, path string, body []byte, items int, headers ...string) {
	b.Helper()
	s, secret := benchServer(b)
	var ctx fasthttp.RequestCtx
	var req fasthttp.Request
	req.Header.SetMethod("POST")
	req.SetRequestURI(path)
	req.Header.SetContentType("application/json")
	req.Header.Set("Authorization", "Bearer "+secret)
	req.Header.Set("Idempotency-Key", "k")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	req.SetBody(body)
	ctx.Init(&req, nil, nil)
	b.ReportAllocs()
	for b.Loop() {
		ctx.Response.Reset()
		s.handle(&ctx)
		if ctx.Response.StatusCode() >= 300 {
			b.Fatalf("%d %s", ctx.Response.StatusCode(), ctx.Response.Body())
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*items), "ns/item")
}

func BenchmarkHandleSingleAndWait(b *testing.B) { handler(b, "/payins", []byte(benchBody), 1) }

func BenchmarkHandleSingleAsync(b *testing.B) {
	handler(b, "/payins", []byte(benchBody), 1, "Prefer", "respond-async")
}

func BenchmarkHandleBatchOf100(b *testing.B) {
	handler(b, "/payments:batch", benchBatch(100), 100, "Prefer", "respond-async")
}

// asyncBatch is a batch without its body, whose caller does not wait.
func asyncBatch(secret string) *fasthttp.RequestCtx {
	var ctx fasthttp.RequestCtx
	var req fasthttp.Request
	req.Header.SetMethod("POST")
	req.SetRequestURI("/payments:batch")
	req.Header.Set("Authorization", "Bearer "+secret)
	req.Header.Set("Prefer", "respond-async")
	ctx.Init(&req, nil, nil)
	return &ctx
}

// BenchmarkHandleMixedBatchOf100 is what target P4 spends at the door. Its keys are more than the memory of recent keys
// holds, so that each is new; cpu-ns/item holds on a busy machine.
func BenchmarkHandleMixedBatchOf100(b *testing.B) {
	const items = 100
	bodies := make([][]byte, 800)
	for i := range bodies {
		bodies[i] = mixedBatch(items, i*items)
	}
	s, secret := benchServer(b)
	ctx := asyncBatch(secret)
	b.ReportAllocs()
	before := cpuTime(b)
	for n := 0; b.Loop(); n++ {
		ctx.Request.SetBodyRaw(bodies[n%len(bodies)])
		ctx.Response.Reset()
		s.handle(ctx)
		if ctx.Response.StatusCode() != fasthttp.StatusAccepted {
			b.Fatalf("%d %s", ctx.Response.StatusCode(), ctx.Response.Body())
		}
	}
	b.ReportMetric(float64((cpuTime(b)-before).Nanoseconds())/float64(b.N*items), "cpu-ns/item")
}

// Invariant: an item of a batch costs few allocations; what is allocated for a batch as a whole hardly counts.
func TestBatchAllocations(t *testing.T) {
	const items, most = 100, 6.0
	s, secret := benchServer(t)
	ctx := asyncBatch(secret)
	ctx.Request.SetBody(mixedBatch(items, 0))
	got := testing.AllocsPerRun(200, func() {
		ctx.Response.Reset()
		s.handle(ctx)
		if ctx.Response.StatusCode() != fasthttp.StatusAccepted {
			t.Fatal(string(ctx.Response.Body()))
		}
	}) / items
	t.Logf("%.2f allocations an item", got)
	if got > most {
		t.Fatalf("%.2f allocations an item, at most %.1f", got, most)
	}
}
