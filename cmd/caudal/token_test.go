package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Invariant: a start shows no token that the door would refuse, and does not load with it.
func TestTokenThatIsNoKey(t *testing.T) {
	data := t.TempDir()
	keys := `[{"name":"till","tenant":"sample","merchant":"acme","key_sha256":"` + strings.Repeat("ab", 32) + `"}]`
	for name, text := range map[string]string{"keys.json": keys, "dev.token": "caudal_dev_of_another_house\n"} {
		if err := os.WriteFile(filepath.Join(data, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h := startHouse(t, data)
	h.stop()
	if said := h.out.String(); strings.Contains(said, "caudal_dev_") || strings.Contains(said, "cat "+data) || !strings.Contains(said, "none of keys.json") {
		t.Errorf("the start said: %s", said)
	}
	out, err := caudal(t, "up", "--data", data, "--http", freeAddress(t), "--clickhouse-http", "127.0.0.1:0", "--sample", "--once").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "no key of") {
		t.Errorf("loaded with it: %v\n%s", err, out)
	}
}
