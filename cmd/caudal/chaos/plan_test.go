package chaos

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/caudalpay/caudal/processors/accounts"
	"github.com/caudalpay/caudal/processors/payment"
)

func TestPlanGivesEachKindATenth(t *testing.T) {
	o := Defaults()
	o.Kafka = 3
	for _, faults := range []int{1, 7, 8, 30, 200, 1000} {
		list := plan(o.kinds(), faults, rand.New(rand.NewPCG(1, 1)))
		if len(list) != faults {
			t.Fatalf("%d faults planned, want %d", len(list), faults)
		}
		counts := map[Kind]int{}
		for _, k := range list {
			counts[k]++
		}
		for _, k := range o.kinds() {
			if faults >= 80 && counts[k]*10 < faults || faults >= len(o.kinds()) && counts[k] == 0 {
				t.Errorf("%d of %d faults are %s", counts[k], faults, k)
			}
		}
		if again := plan(o.kinds(), faults, rand.New(rand.NewPCG(1, 1))); !slices.Equal(list, again) {
			t.Errorf("%d faults: the seed gives another plan", faults)
		}
	}
}

func TestOptionsRefuse(t *testing.T) {
	for name, spoil := range map[string]func(*Options){
		"no payments":            func(o *Options) { o.Payments = 0 },
		"two brokers":            func(o *Options) { o.Kafka = 2 },
		"both kinds of brokers":  func(o *Options) { o.Kafka, o.Brokers = 1, []string{"x"} },
		"another engine":         func(o *Options) { o.Engine = "x" },
		"no session":             func(o *Options) { o.SessionTimeout = time.Millisecond },
		"too few payments":       func(o *Options) { o.Payments, o.Faults = 1000, 100 },
		"broker kills on kfake":  func(o *Options) { o.Only = []string{string(Broker)} },
		"transactions of stock":  func(o *Options) { o.Engine, o.Only = EngineStock, []string{string(CutEnd)} },
		"no such kind of faults": func(o *Options) { o.Only = []string{"rain"} },
	} {
		o := Defaults().withDefaults()
		if err := o.Validate(); err != nil {
			t.Fatal(err)
		}
		if spoil(&o); o.Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestPaceKeepsItsRate(t *testing.T) {
	var p pace
	p.set(10, 0)
	if n := p.take(4); n != 4 {
		t.Errorf("%d, want the 4 that are left", n)
	}
	p.set(50, 100)
	ago := func(d time.Duration) { p.since = time.Now().Add(-d) }
	ago(200 * time.Millisecond)
	if n := p.take(1000); n < 70 || n > 75 {
		t.Errorf("%d, want 50 at once and 20 for a fifth of a second", n)
	}
	ago(10 * time.Second)
	if n := p.take(1000); n < 75 || n > 85 {
		t.Errorf("%d, want the 30 that are left at that rate, and a trickle", n)
	}
	ago(10 * time.Second)
	if n := p.take(1000); n < 45 || n > 55 {
		t.Errorf("%d, want a trickle of 5 a second", n)
	}
	p.set(4, 0)
	if n := p.take(1000); n != 4 {
		t.Errorf("%d, want nothing of an old grant", n)
	}
	if p.open(); p.take(1000) != sliceMax {
		t.Error("an open pace holds back")
	}
}

func TestBitmap(t *testing.T) {
	var b bitmap
	for _, at := range []int64{0, 63, 64, 1000} {
		if b.has(at) || !b.set(at) || b.set(at) || !b.has(at) {
			t.Errorf("offset %d", at)
		}
	}
	if b.has(1) || b.has(1_000_000) {
		t.Error("has what was not set")
	}
}

func TestQuantile(t *testing.T) {
	list := []time.Duration{3 * time.Second, time.Second, 2 * time.Second}
	for percent, want := range map[int]int64{50: 2000, 99: 3000, 100: 3000} {
		if got := quantile(list, percent); got != want {
			t.Errorf("p%d is %d", percent, got)
		}
	}
	if quantile(nil, 50) != 0 {
		t.Error("a quantile of nothing")
	}
}

func TestDueRoundTrip(t *testing.T) {
	account := payment.AccountIDFrom("t", "m", "a")
	want := accounts.Due{AtUS: 1 << 50, Account: account, Payment: payment.IDFrom(payment.KindPayIn, account, "m", "k"), Purpose: payment.ExpireRetention}
	if got := parseDue(dueID(want)); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// TestReportJudges: nothing but a run without any finding, with all its faults, is passed.
func TestReportJudges(t *testing.T) {
	good := func() Report { return Report{Planned: 2, Faults: map[Kind]int{Kill: 1, Zombie: 1}} }
	r := good()
	if r.judge(); !r.Passed {
		t.Fatal("a good run is not passed")
	}
	for name, spoil := range map[string]func(*Report){
		"missing":             func(r *Report) { r.Missing = 1 },
		"duplicate decisions": func(r *Report) { r.DuplicateDecisions = 1 },
		"duplicate orders":    func(r *Report) { r.DuplicateOrders = 1 },
		"wrong balance":       func(r *Report) { r.WrongBalance = 1 },
		"order violations":    func(r *Report) { r.OrderViolations = 1 },
		"open transactions":   func(r *Report) { r.OpenTransactions = 1 },
		"wrong decisions":     func(r *Report) { r.WrongDecisions = 1 },
		"wrong side":          func(r *Report) { r.WrongSide = 1 },
		"wrong emissions":     func(r *Report) { r.WrongEmissions = 1 },
		"duplicate emissions": func(r *Report) { r.DuplicateEmissions = 1 },
		"dead letters":        func(r *Report) { r.DeadLetters = 1 },
		"conservation":        func(r *Report) { r.ConservationBroken = 1 },
		"a fault left out":    func(r *Report) { delete(r.Faults, Kill) },
		"a stall":             func(r *Report) { r.Stalled = "x" },
		"a refusal":           func(r *Report) { r.Refused = 1 },
	} {
		r := good()
		spoil(&r)
		if r.judge(); r.Passed {
			t.Errorf("%s: passed", name)
		}
	}
}
