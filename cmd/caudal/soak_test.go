package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"
)

// simulatorProgram builds railsim, as `make build` does.
func simulatorProgram(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "railsim")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", path, "github.com/caudalpay/caudal/cmd/railsim").CombinedOutput(); err != nil {
		t.Fatalf("building the simulator: %v\n%s", err, out)
	}
	return path
}

// said is how a program ended, with what it wrote on the way.
func said(err error) string {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return fmt.Sprintf("%v: %s", err, exit.Stderr)
	}
	return fmt.Sprint(err)
}

// Invariant: payments against rails that fail in every way, and a house that is killed whole and in parts, leave nothing charged
// twice, lost or stuck, no quote used twice, no dispute's money elsewhere, and no cardholder with another balance. `make soak` does it at length; here every kind of fault falls, if not on a twentieth of the charges.
func TestSoak(t *testing.T) {
	out, err := caudal(t, "soak", "--payments", "600", "--kills", "1", "--part-kills", "1", "--seed", "3", "--share", "0.5", "--work", t.TempDir(),
		"--railsim", simulatorProgram(t), "-o", "json").Output()
	var r struct {
		Passed   bool `json:"passed"`
		Kills    int
		Workers  int `json:"worker_kills"`
		Sinks    int `json:"sink_kills"`
		Charges  int
		Feed     struct{ Answered int } `json:"card_feed"`
		Findings []string
	}
	if e := json.Unmarshal(out, &r); e != nil {
		t.Fatalf("%v: %s%s", said(err), e, out)
	}
	if err != nil || !r.Passed || r.Kills != 1 || r.Workers != 1 || r.Sinks != 1 || r.Charges < 200 || r.Feed.Answered < 100 {
		t.Errorf("%v: %s", err, out)
	}
}

// The demo ends well, and shows each flow.
func TestDemo(t *testing.T) {
	out, err := caudal(t, "demo", "--work", t.TempDir(), "--railsim", simulatorProgram(t), "-o", "json").Output()
	var r struct {
		Passed bool `json:"passed"`
		Flows  []struct {
			Flow, Error string
			Steps       []string
		} `json:"flows"`
	}
	if e := json.Unmarshal(out, &r); e != nil || err != nil || !r.Passed {
		t.Fatalf("%v, %v: %s", said(err), e, out)
	}
	for _, f := range r.Flows {
		if f.Error != "" || len(f.Steps) == 0 {
			t.Errorf("%+v", f)
		}
	}
}
