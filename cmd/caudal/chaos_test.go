package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"testing"

	"github.com/caudalpay/caudal/cmd/caudal/chaos"
	"github.com/caudalpay/caudal/streams/streamtest"
)

// attack runs `caudal chaos` and returns its report and exit status.
func attack(t *testing.T, env string, args ...string) (chaos.Report, int) {
	t.Helper()
	cmd := caudal(t, append([]string{"chaos", "--work", t.TempDir(), "-o", "json"}, args...)...)
	cmd.Env = append(cmd.Env, env)
	var out, words bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &words
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	var r chaos.Report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatalf("no report: %v\n%s\n%s", err, out.Bytes(), words.Bytes())
	}
	t.Logf("%v\n%s", args, out.Bytes())
	return r, cmd.ProcessState.ExitCode()
}

// TestChaos is a short attack with one fault of each kind; make chaos runs longer ones.
func TestChaos(t *testing.T) {
	args := []string{"--payments", "4000", "--faults", "8", "--members", "3", "--seed", "1"}
	kinds := []chaos.Kind{chaos.Kill, chaos.Zombie, chaos.LeaveJoin, chaos.CutEnd, chaos.CutOffset, chaos.CutWrite, chaos.CutFetch}
	if brokers := os.Getenv(streamtest.KafkaEnv); brokers != "" {
		args = append(args, "--kafka", brokers)
		if brokers == "3" {
			kinds = append(kinds, chaos.Broker)
		}
	}
	r, status := attack(t, "", args...)
	if status != 0 || !r.Passed {
		t.Fatalf("status %d: %s", status, r.FirstFinding)
	}
	for _, k := range kinds {
		if r.Faults[k] == 0 {
			t.Errorf("no fault of kind %s", k)
		}
	}
	if r.Decisions != r.Commands || r.Commands < 4000 || r.TakeoverP99MS == 0 {
		t.Errorf("%d commands, %d decisions, takeover p99 %d ms", r.Commands, r.Decisions, r.TakeoverP99MS)
	}
}
