package enginebench

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Serve is a contestant's process. It takes orders as lines of in and answers by lines of out, each a word and, where there
// is more to say, a URL query. It returns when in ends.
//
//	run WORK       starts; "ready seconds=.." follows once it works, "failed error=.." whenever it ends by itself
//	stop           ends the run in order; "stopped"
//	memory         collects garbage; "memory resident=..&heap=.." in bytes
//	metrics        "metrics NAME=VALUE&..", summed over labels, of histograms NAME_sum and NAME_count
//	profile FILE   takes a processor profile until the next stop
func Serve(ctx context.Context, name string, in io.Reader, out io.Writer) error {
	work, ok := contestants()[name]
	if !ok {
		return fmt.Errorf("contestant %q: choose from %s", name, strings.Join(Names(), ", "))
	}
	s := &server{work: work, out: out}
	for lines := bufio.NewScanner(in); lines.Scan(); {
		order, rest, _ := strings.Cut(lines.Text(), " ")
		if err := s.obey(ctx, order, rest); err != nil {
			s.say("failed", map[string]string{"error": err.Error()})
		}
	}
	return s.stop()
}

type server struct {
	work contestant

	mu  sync.Mutex // of out
	out io.Writer

	cancel  context.CancelFunc // nil: nothing runs
	ended   chan error
	metrics *prometheus.Registry
	profile *os.File
}

// runtimeOf is what a run has besides its work.
type runtimeOf struct {
	promises
	ready   func(notes map[string]string)
	metrics *prometheus.Registry
}

func (s *server) say(word string, notes map[string]string) {
	v := url.Values{}
	for name, value := range notes {
		v.Set(name, value)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = fmt.Fprintln(s.out, strings.TrimSpace(word+" "+v.Encode())) // who started this may have gone: then in ends
}

func (s *server) obey(ctx context.Context, order, rest string) error {
	switch order {
	case "run":
		w, err := parseWork(rest)
		if err != nil {
			return err
		}
		return s.run(ctx, w)
	case "stop":
		if err := s.stop(); err != nil {
			return err
		}
		s.say("stopped", nil)
	case "memory":
		return s.memory()
	case "metrics":
		return s.tellMetrics()
	case "profile":
		return s.startProfile(rest)
	default:
		return fmt.Errorf("order %q is unknown", order)
	}
	return nil
}

func (s *server) run(ctx context.Context, w Work) error {
	if s.cancel != nil {
		return fmt.Errorf("group %s runs already", w.Group)
	}
	began := time.Now()
	s.metrics = prometheus.NewRegistry()
	r := &runtimeOf{metrics: s.metrics, ready: func(notes map[string]string) {
		all := map[string]string{"seconds": strconv.FormatFloat(time.Since(began).Seconds(), 'f', 6, 64)}
		maps.Copy(all, notes)
		s.say("ready", all)
	}}
	ctx, s.cancel = context.WithCancel(ctx)
	ended := make(chan error, 1)
	s.ended = ended
	go func() {
		err := s.work(ctx, w, r)
		if err != nil && ctx.Err() == nil {
			s.say("failed", map[string]string{"error": err.Error()})
		}
		ended <- err
	}()
	return nil
}

func (s *server) stop() error {
	if s.profile != nil {
		pprof.StopCPUProfile()
		if err := s.profile.Close(); err != nil {
			return fmt.Errorf("keeping the profile: %w", err)
		}
		s.profile = nil
	}
	if s.cancel == nil {
		return nil
	}
	s.cancel()
	s.cancel = nil
	return <-s.ended
}

func (s *server) memory() error {
	runtime.GC()
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	body, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return fmt.Errorf("reading resident memory: %w", err)
	}
	fields := strings.Fields(string(body))
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return fmt.Errorf("reading resident memory: %w", err)
	}
	s.say("memory", map[string]string{
		"resident": strconv.FormatInt(pages*int64(os.Getpagesize()), 10), "heap": strconv.FormatUint(m.HeapAlloc, 10),
	})
	return nil
}

func (s *server) tellMetrics() error {
	families, err := s.metrics.Gather()
	if err != nil {
		return fmt.Errorf("gathering metrics: %w", err)
	}
	sums := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			sums[f.GetName()] += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			if h := m.GetHistogram(); h != nil {
				sums[f.GetName()+"_sum"] += h.GetSampleSum()
				sums[f.GetName()+"_count"] += float64(h.GetSampleCount())
			}
		}
	}
	notes := map[string]string{}
	for name, value := range sums {
		notes[name] = strconv.FormatFloat(value, 'g', -1, 64)
	}
	s.say("metrics", notes)
	return nil
}

func (s *server) startProfile(path string) (err error) {
	if s.profile, err = os.Create(path); err != nil { //nolint:gosec // the operator names the folder
		return fmt.Errorf("keeping a profile: %w", err)
	}
	if err := pprof.StartCPUProfile(s.profile); err != nil {
		return fmt.Errorf("profiling: %w", err)
	}
	return nil
}
