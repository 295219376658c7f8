package acquirer

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/caudalpay/caudal/schemas/rails/iso8583"
)

// Report is what a run saw. Latencies are from the moment a message was due to its answer, in milliseconds.
type Report struct {
	TargetRate      int            `json:"target_rate"`
	Rate            float64        `json:"rate"` // answers a second
	DurationS       float64        `json:"duration_s"`
	Connections     int            `json:"connections"`
	Sent            int            `json:"sent"`
	Answered        int            `json:"answered"`
	Approved        int            `json:"approved"` // of authorizations
	P50MS           float64        `json:"p50_ms"`
	P99MS           float64        `json:"p99_ms"`
	P999MS          float64        `json:"p999_ms"`
	MaxMS           float64        `json:"max_ms"`
	AuthorizationMS float64        `json:"authorization_p99_ms"` // of 0100 and 0200 alone
	Types           map[string]int `json:"types"`
	Declines        map[string]int `json:"declines"` // of authorizations, by response code
	StandIns        int            `json:"stand_ins"`
	Unavailable     int            `json:"unavailable"` // facts that had to be told again
	Timeouts        int            `json:"timeouts"`
	Strays          int            `json:"strays"` // answers to what was given up
	Reconnects      int            `json:"reconnects"`
	WrongAnswers    int            `json:"wrong_answers"`
	Wrong           []string       `json:"wrong,omitempty"` // the first of them

	mu       sync.Mutex
	all      []time.Duration
	requests []time.Duration
}

const wrongShown = 20

func newReport(rate, connections int) *Report {
	return &Report{TargetRate: rate, Connections: connections, Types: map[string]int{}, Declines: map[string]int{}}
}

func (r *Report) locked(note func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	note()
}

func (r *Report) sent()        { r.locked(func() { r.Sent++ }) }
func (r *Report) standIn()     { r.locked(func() { r.StandIns++ }) }
func (r *Report) unavailable() { r.locked(func() { r.Unavailable++ }) }
func (r *Report) timeout()     { r.locked(func() { r.Timeouts++ }) }
func (r *Report) stray()       { r.locked(func() { r.Strays++ }) }
func (r *Report) reconnect()   { r.locked(func() { r.Reconnects++ }) }

func (r *Report) wrong(text string) {
	r.locked(func() {
		if r.WrongAnswers++; len(r.Wrong) < wrongShown {
			r.Wrong = append(r.Wrong, text)
		}
	})
}

func (r *Report) answer(mti iso8583.MTI, code iso8583.ResponseCode, took time.Duration) {
	r.locked(func() {
		r.Answered++
		r.Types[string(mti)]++
		r.all = append(r.all, took)
		if mti != iso8583.AuthorizationRequest && mti != iso8583.FinancialRequest {
			return
		}
		r.requests = append(r.requests, took)
		if code.Approves() {
			r.Approved++
		} else {
			r.Declines[string(code)]++
		}
	})
}

func (r *Report) close(took, planned time.Duration) {
	r.locked(func() {
		r.DurationS = max(took, planned).Seconds()
		r.Rate = float64(r.Answered) / r.DurationS
		slices.Sort(r.all)
		slices.Sort(r.requests)
		r.P50MS, r.P99MS, r.P999MS, r.MaxMS = quantile(r.all, 0.5), quantile(r.all, 0.99), quantile(r.all, 0.999), quantile(r.all, 1)
		r.AuthorizationMS = quantile(r.requests, 0.99)
	})
}

// quantile is in milliseconds, of what is sorted.
func quantile(sorted []time.Duration, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	at := min(int(q*float64(len(sorted))), len(sorted)-1)
	return float64(sorted[at].Microseconds()) / 1000
}

// Found is the highest rate whose p99 stays under a limit, and what was tried on the way.
type Found struct {
	LimitMS float64   `json:"limit_ms"`
	Rate    int       `json:"rate"`
	Best    *Report   `json:"best,omitempty"`
	Trials  []*Report `json:"trials"`
}

const (
	trialTime  = 10 * time.Second
	bisections = 4
)

// Find raises the rate by halves until the p99 passes the limit or the answers fall behind, then halves the interval.
func (a *Acquirer) Find(ctx context.Context, from int, limit time.Duration) (*Found, error) {
	f := &Found{LimitMS: float64(limit.Microseconds()) / 1000}
	try := func(rate int) (bool, error) {
		r, err := a.Run(ctx, rate, trialTime)
		if err != nil {
			return false, err
		}
		f.Trials = append(f.Trials, r)
		ok := r.P99MS < f.LimitMS && r.WrongAnswers == 0 && r.StandIns == 0
		if ok {
			f.Rate, f.Best = rate, r
		}
		return ok, nil
	}
	low, high := 0, from
	for {
		ok, err := try(high)
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		low, high = high, high*3/2
	}
	for range bisections {
		middle := (low + high) / 2
		if middle < 1 || middle == low {
			break
		}
		ok, err := try(middle)
		if err != nil {
			return nil, err
		}
		if ok {
			low = middle
		} else {
			high = middle
		}
	}
	return f, nil
}
