package fetch

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestPinsMatchLock(t *testing.T) {
	pins, err := pinsFor("linux", "amd64")
	if err != nil {
		t.Fatal(err)
	}
	var lock struct {
		Packages map[string]struct{ Version, Integrity, Resolved string }
	}
	if err := json.Unmarshal(packageLock, &lock); err != nil {
		t.Fatal(err)
	}
	for _, p := range []pin{pins.Postgres, pins.ClickHouse} {
		got, ok := lock.Packages["node_modules/"+p.Package]
		if !ok || !strings.HasPrefix(got.Integrity, "sha512-") || got.Version == "" || got.Resolved != "" {
			t.Errorf("lock entry of %s: %+v", p.Package, got)
		}
	}
}

func TestUnsupportedPlatform(t *testing.T) {
	if _, err := pinsFor("plan9", "arm"); err == nil || !strings.Contains(err.Error(), "plan9/arm") {
		t.Errorf("pinsFor(plan9, arm) = %v", err)
	}
}
