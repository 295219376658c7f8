package main

import (
	"bytes"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func execute(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	c := root()
	c.SetArgs(args)
	c.SetOut(&out)
	c.SetErr(io.Discard)
	err := c.ExecuteContext(t.Context())
	return out.String(), err
}

// Invariant: a command that does not exist fails, at every level. `caudal sagas lst --stuck --fail` in a script would tell for ever
// that nothing is stuck.
func TestCommandsThatAreNot(t *testing.T) {
	groups := 0
	var try func(c *cobra.Command, path []string)
	try = func(c *cobra.Command, path []string) {
		if c.HasSubCommands() {
			groups++
			if _, err := execute(t, append(path, "nonsense")...); err == nil || !strings.Contains(err.Error(), `"nonsense"`) {
				t.Errorf("%v nonsense: %v", path, err)
			}
		}
		for _, below := range c.Commands() {
			try(below, append(slices.Clone(path), below.Name()))
		}
	}
	try(root(), nil)
	if groups < 6 {
		t.Errorf("%d groups of commands", groups)
	}
	if out, err := execute(t, "dlq"); err != nil || !strings.Contains(out, "redrive") {
		t.Errorf("without a command: %v %s", err, out)
	}
}

// What could not begin leaves nothing behind.
func TestWithoutASimulator(t *testing.T) {
	folder := t.TempDir()
	t.Setenv("TMPDIR", folder)
	for _, command := range []string{"demo", "soak"} {
		_, err := execute(t, command, "--railsim", "/none")
		left, readErr := os.ReadDir(folder)
		if err == nil || !strings.Contains(err.Error(), "--railsim") || readErr != nil || len(left) != 0 {
			t.Errorf("%s: %v; left %v, %v", command, err, left, readErr)
		}
	}
}
