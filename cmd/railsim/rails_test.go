package main

import (
	"os"
	"path/filepath"
	"testing"
)

// An address that no installation could be led to is refused before anything is written.
func TestRailsToNowhere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "rails")
	for _, url := range []string{
		"", "nonsense", "127.0.0.1:9090", "ftp://127.0.0.1", "http://", "http://127.0.0.1:9090?a=1", "http://127.0.0.1:9090#a", "http://u@127.0.0.1", "http://127.0.0.1/: {",
	} {
		if path, err := writeRails(dir, url); err == nil {
			t.Errorf("%q: written to %s", url, path)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Fatalf("%q: a folder was made", url)
		}
	}
	for _, url := range []string{"http://127.0.0.1:9090", "https://[::1]:9090/sim"} {
		if _, err := writeRails(dir, url); err != nil {
			t.Errorf("%q: %v", url, err)
		}
	}
}
