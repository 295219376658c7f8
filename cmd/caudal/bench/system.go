package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/child"
	"github.com/caudalpay/caudal/cmd/caudal/rig"
	"github.com/caudalpay/caudal/cmd/caudal/up"
)

// system is a `caudal up` of its own, measured from outside: this process only makes load and reads.
type system struct {
	data, url, token string
	up.Addresses
	cmd *exec.Cmd
	log bytes.Buffer
}

const startLimit = 3 * time.Minute

// startSystem starts the binary on a data folder with further flags of `caudal up`.
func startSystem(ctx context.Context, data string, flags ...string) (*system, error) {
	binary, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding the binary: %w", err)
	}
	address, err := rig.FreeAddress(ctx)
	if err != nil {
		return nil, err
	}
	args := append([]string{"up", "--data", data, "--http", address, "--clickhouse-http", "127.0.0.1:0"}, flags...)
	s := &system{data: data, url: "http://" + address}
	s.cmd = exec.Command(binary, args...) //nolint:gosec,noctx // this same binary; stop ends it in order
	s.cmd.Stderr = &s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	_ = os.Remove(filepath.Join(data, "addresses.json")) // of an earlier start; absent at the first
	if err := child.Start(s.cmd, syscall.SIGTERM); err != nil {
		return nil, fmt.Errorf("starting the system: %w", err)
	}
	if err := s.waitReady(ctx); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

func (s *system) waitReady(ctx context.Context) error {
	for until := time.Now().Add(startLimit); time.Now().Before(until); {
		body, err := os.ReadFile(filepath.Join(s.data, "addresses.json"))
		if err == nil && json.Unmarshal(body, &s.Addresses) == nil && s.answers(ctx, "/readyz") {
			token, err := os.ReadFile(filepath.Join(s.data, "dev.token"))
			if err != nil {
				return fmt.Errorf("reading the token: %w", err)
			}
			s.token = strings.TrimSpace(string(token))
			return nil
		}
		if syscall.Kill(s.cmd.Process.Pid, 0) != nil {
			break
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return fmt.Errorf("the system did not get ready: %s", s.log.String())
}

func (s *system) answers(ctx context.Context, path string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+path, nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close() // only the status counts
	return resp.StatusCode == http.StatusOK
}

func (s *system) stop() error {
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
	ended := make(chan error, 1)
	go func() { ended <- s.cmd.Wait() }()
	select {
	case err := <-ended:
		return err
	case <-time.After(time.Minute):
		_ = s.cmd.Process.Kill() // its children end with it
		return errors.Join(errors.New("the system did not stop in time"), <-ended)
	}
}

// counter sums the samples of a metric whose labels contain all of want.
func (s *system) counter(ctx context.Context, name string, want map[string]string) (float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/metrics", nil)
	if err != nil {
		return 0, fmt.Errorf("reading metrics: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, fmt.Errorf("reading metrics: %w", err)
	}
	defer func() { _ = resp.Body.Close() }() // read below
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(resp.Body)
	if err != nil {
		return 0, fmt.Errorf("reading metrics: %w", err)
	}
	var sum float64
	for _, m := range families[name].GetMetric() {
		matching := 0
		for _, l := range m.GetLabel() {
			if want[l.GetName()] == l.GetValue() && l.GetValue() != "" {
				matching++
			}
		}
		if matching == len(want) {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return sum, nil
}

// stored is how many decisions each store has taken in since the start.
func (s *system) stored(ctx context.Context) (postgres, clickhouse int64, err error) {
	p, err := s.counter(ctx, "caudal_sinks_decisions_total", map[string]string{"sink": "postgres"})
	if err != nil {
		return 0, 0, err
	}
	c, err := s.counter(ctx, "caudal_sinks_decisions_total", map[string]string{"sink": "clickhouse"})
	return int64(p), int64(c), err
}
