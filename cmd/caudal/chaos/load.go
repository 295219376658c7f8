package chaos

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/processors/payment"
	"github.com/caudalpay/caudal/schemas/codec"
	"github.com/caudalpay/caudal/schemas/topics"
)

// The load: a third each of pay-ins, payouts and transfers, less one refund in twenty and one repeat in fifty, but every third
// account has a life of rails, cards and disputes (life). Its time is not ours: the payments of a run are spread over a year, so that records pass their retention and leave the side tables
// while others come, and the ticks of a partition find what is due.
const (
	loadTenant   = "chaos"
	loadMerchant = "attacked"
	yearUS       = int64(360 * 24 * 3600 * 1_000_000)
	loadBeginsUS = int64(1_767_225_600 * 1_000_000) // 2026-01-01T00:00:00Z
	minuteUS     = int64(60 * 1_000_000)
	ticksPerRun  = 2_000 // rounds
	tickEvery    = 50    // payments at least
	rememberMax  = 4_096 // pay-ins that may be refunded
	// A repeat comes within 120 days: past its retention of 90 days it is another payment under the same id, also between the
	// moments at which payer and payee of a transfer forget it.
	repeatWithin = 3 // of all payments
	repeatMax    = 4_096
	bufferedMax  = 50_000
)

// acquiring is the policy of those who have a life.
const acquiring = "acquiring"

// policyOf the account of a number.
func policyOf(i int) string { return []string{"merchant", "import", acquiring}[i%3] }

// pins name the sample's documents.
func pins(policy string) payment.Pins {
	version := "@1"
	switch policy {
	case "import":
		return payment.Pins{Policy: "import@1", Rates: "sample@1", Rules: "standard@1"}
	case acquiring:
		version = "@2"
	default:
	}
	return payment.Pins{Policy: policy + version, Fees: "standard@1", Rates: "sample@1", Rules: "standard@1", Blocklist: "standard@1"}
}

// load makes seeded commands and writes them, as an ingress and a ticker do.
type load struct {
	client     *kgo.Client
	random     *rand.Rand
	partitions int32
	payments   int64 // in all
	stepUS     int64
	nowUS      int64
	accounts   []payment.AccountID
	payins     pool[payin]
	reviewed   pool[payment.ID]
	life       life
	recent     []*kgo.Record
	oldest     int // of them

	pace     pace
	sent     atomic.Int64 // payments handed to the client
	commands atomic.Int64 // everything acknowledged, openings and ticks too
	failed   atomic.Pointer[error]
}

func newLoad(o *Options, brokers []string) (*load, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.RequiredAcks(kgo.AllISRAcks()), kgo.ProducerLinger(time.Millisecond),
		kgo.MaxBufferedRecords(bufferedMax), kgo.MetadataMinAge(100*time.Millisecond), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		return nil, fmt.Errorf("connecting the load: %w", err)
	}
	n := min(10_000, max(100, o.Payments/50))
	l := &load{
		client: client, random: rand.New(rand.NewPCG(o.Seed, 1)), partitions: o.Partitions, payments: o.Payments, //nolint:gosec // a load, no secret
		stepUS: max(1, yearUS/o.Payments), nowUS: loadBeginsUS, accounts: make([]payment.AccountID, n),
		payins: pool[payin]{most: rememberMax},
	}
	for i := range l.accounts {
		l.accounts[i] = payment.AccountIDFrom(loadTenant, loadMerchant, fmt.Sprint("account-", i))
	}
	return l, nil
}

// open asks for every account and gives each enough to pay from.
func (l *load) open(ctx context.Context) error {
	for i, a := range l.accounts {
		customer := fmt.Sprint("customer-", i)
		key := string(payment.CustomerKeyFrom(loadTenant, loadMerchant, customer))
		policy := policyOf(i)
		cmd := l.command(payment.KindOpenAccount, a)
		cmd.Customer, cmd.CommandID = customer, payment.CommandIDFrom(key, loadMerchant, "open")
		cmd.Pins = payment.Pins{}
		cmd.Open = &payment.OpenAccount{
			ExternalID: fmt.Sprint("account-", i), Kind: payment.AccountKindMerchant, Currencies: []string{"BRL", "USD"}, KYCLevel: 3, Policy: policy,
		}
		if err := l.sendKeyed(ctx, key, &cmd); err != nil {
			return err
		}
		if policy == acquiring {
			if err := l.issue(ctx, a); err != nil {
				return err
			}
		}
	}
	return l.client.Flush(ctx) //nolint:wrapcheck // only the context ends it
}

// run sends payments as the pace allows, until all are sent, ctx ends or the broker refuses one.
func (l *load) run(ctx context.Context) error {
	ticks := max(tickEvery, l.payments/ticksPerRun)
	for l.sent.Load() < l.payments && ctx.Err() == nil {
		for range l.pace.take(l.payments - l.sent.Load()) {
			if n := l.sent.Add(1); n%ticks == 0 {
				if err := l.tick(ctx); err != nil {
					return err
				}
			}
			if err := l.pay(ctx); err != nil {
				return err
			}
		}
		select {
		case <-time.After(2 * time.Millisecond):
		case <-ctx.Done():
		}
		if err := l.failed.Load(); err != nil {
			return *err
		}
	}
	if err := l.client.Flush(ctx); err != nil {
		return nil //nolint:nilerr // told to end
	}
	if err := l.failed.Load(); err != nil {
		return *err
	}
	return nil
}

func (l *load) command(kind payment.Kind, account payment.AccountID) payment.Command {
	n := l.sent.Load()
	return payment.Command{
		Kind: kind, Tenant: loadTenant, Merchant: loadMerchant, Account: account, AcceptedAtUS: l.nowUS,
		BodyHash: sha256.Sum256(binary.BigEndian.AppendUint64([]byte(account), uint64(n))), //nolint:gosec // not negative
	}
}

// pay sends one payment.
func (l *load) pay(ctx context.Context) error {
	l.nowUS += l.stepUS
	i := l.random.IntN(len(l.accounts))
	account, roll := l.accounts[i], l.random.IntN(100)
	if roll < 2 && len(l.recent) > 0 {
		r := l.recent[l.random.IntN(len(l.recent))]
		l.produce(ctx, &kgo.Record{Topic: r.Topic, Partition: r.Partition, Key: r.Key, Value: r.Value})
		return nil
	}
	key := strconv.FormatInt(l.sent.Load(), 10)
	if policyOf(i) == acquiring {
		return l.live(ctx, account, key)
	}
	if roll < 7 && len(l.payins.kept) > 0 {
		of := l.payins.take(l.random)
		cmd := l.command(payment.KindRefund, of.id.Account())
		cmd.Pins = pins(of.policy)
		cmd.PaymentID, cmd.Refund = of.id, &payment.RefundInstruction{AmountMinor: l.random.Int64N(3) * 50}
		cmd.CommandID = string(payment.IDFrom(payment.KindRefund, cmd.Account, loadMerchant, key))
		return l.sendKeyed(ctx, string(cmd.Account), &cmd)
	}
	if id, ok := l.reviewed.any(l.random); ok && roll < 9 {
		return l.judge(ctx, id, key)
	}
	kind := []payment.Kind{payment.KindPayIn, payment.KindPayOut, payment.KindTransfer}[l.random.IntN(3)]
	cmd := l.command(kind, account)
	cmd.Pins = pins(policyOf(i))
	cmd.PaymentID = payment.IDFrom(kind, account, loadMerchant, key)
	cmd.CommandID = string(cmd.PaymentID)
	cmd.Instruction = &payment.Instruction{AmountMinor: 100 + l.random.Int64N(5_000), Currency: "BRL", Method: "book"}
	switch kind {
	case payment.KindPayIn:
		cmd.Instruction.AmountMinor *= 3 // else the accounts run dry
		l.payins.keep(l.random, payin{cmd.PaymentID, policyOf(i)})
		if policyOf(i) == "merchant" && l.random.IntN(5) == 0 { // a large first payment to a stranger
			stranger := sha256.Sum256([]byte(key))
			cmd.Instruction.AmountMinor, cmd.Instruction.Counterparty.Digest = largeMinor, stranger[:]
			l.reviewed.keep(l.random, cmd.PaymentID)
		}
	case payment.KindTransfer:
		cmd.Instruction.ToAccount = l.accounts[l.random.IntN(len(l.accounts))]
		if l.random.IntN(50) == 0 {
			cmd.Instruction.ToAccount = payment.AccountIDFrom(loadTenant, loadMerchant, "nobody") // comes back
		}
	default:
	}
	return l.sendKeyed(ctx, string(account), &cmd)
}

// largeMinor is what the sample's rules want to be looked at.
const largeMinor = 300_000

// judge says yes or no to a payment in review.
func (l *load) judge(ctx context.Context, id payment.ID, key string) error {
	cmd := l.command([]payment.Kind{payment.KindApprove, payment.KindDecline}[l.random.IntN(2)], id.Account())
	cmd.PaymentID, cmd.CommandID = id, payment.CommandIDFrom(string(cmd.Account), loadMerchant, key)
	cmd.Verdict = &payment.Verdict{Actor: "operator"}
	return l.sendKeyed(ctx, string(cmd.Account), &cmd)
}

// payin is one that may be refunded.
type payin struct {
	id     payment.ID
	policy string
}

// tick tells every partition the minute.
func (l *load) tick(ctx context.Context) error {
	for p := range l.partitions {
		cmd := payment.Command{Kind: payment.KindTick, AcceptedAtUS: l.nowUS, Tick: &payment.Tick{Minute: l.nowUS/minuteUS - 1}}
		if err := l.send(ctx, p, strconv.Itoa(int(p)), &cmd); err != nil {
			return err
		}
	}
	return nil
}

// sendKeyed sends to the partition of the key.
func (l *load) sendKeyed(ctx context.Context, key string, cmd *payment.Command) error {
	return l.send(ctx, topics.Partition([]byte(key), l.partitions), key, cmd)
}

func (l *load) send(ctx context.Context, partition int32, key string, cmd *payment.Command) error {
	value, err := codec.EncodeCommand(cmd, codec.Envelope{})
	if err != nil {
		return fmt.Errorf("encoding %s: %w", cmd.Kind, err)
	}
	r := &kgo.Record{Topic: topics.Commands, Partition: partition, Key: []byte(key), Value: value}
	if within := l.payments / repeatWithin; cmd.Instruction != nil && l.sent.Load()%max(1, within/repeatMax) == 0 {
		l.rememberForRepeat(r, int(min(repeatMax, within)))
	}
	l.produce(ctx, r)
	return nil
}

// rememberForRepeat keeps the last records of those it is given.
func (l *load) rememberForRepeat(r *kgo.Record, last int) {
	again := *r
	if len(l.recent) < last {
		l.recent = append(l.recent, &again)
	} else if last > 0 {
		l.recent[l.oldest] = &again
		l.oldest = (l.oldest + 1) % last
	}
}

func (l *load) produce(ctx context.Context, r *kgo.Record) {
	l.client.Produce(ctx, r, func(_ *kgo.Record, err error) {
		if err == nil {
			l.commands.Add(1)
		} else if ctx.Err() == nil {
			err = fmt.Errorf("writing commands: %w", err)
			l.failed.CompareAndSwap(nil, &err)
		}
	})
}

// pace says how many payments may be sent: a burst at once, as many again at a rate, and then a trickle: a fault may take
// longer than was thought, and records must flow to its end.
type pace struct {
	mu     sync.Mutex
	burst  int64
	rate   float64 // a second
	slow   float64 // how many may still come at the full rate
	credit float64
	since  time.Time
	all    bool
}

// trickle is the part of the rate that is left when the grant is used up.
const trickle = 1. / 20

// set grants a burst instead of what is left of the last one, and as many again at a rate from now on.
func (p *pace) set(burst int64, rate float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.burst, p.slow = burst, float64(burst)
	p.rate, p.credit, p.since = rate, 0, time.Now()
}

// open the gate: everything may be sent.
func (p *pace) open() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all = true
}

// sliceMax bounds what is sent between two looks at the pace.
const sliceMax = 500

func (p *pace) take(left int64) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all {
		return min(left, sliceMax)
	}
	now := time.Now()
	earned := p.rate * now.Sub(p.since).Seconds()
	if earned > p.slow {
		earned = p.slow + (earned-p.slow)*trickle
	}
	p.slow = max(0, p.slow-earned)
	p.credit += earned
	p.since = now
	n := min(left, sliceMax, p.burst+int64(p.credit))
	paid := min(n, p.burst)
	p.burst -= paid
	p.credit -= float64(n - paid)
	return n
}
