package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/child"
)

// cluster is one PostgreSQL data directory and the installation that serves it.
type cluster struct {
	home string
	dir  string
	user *account
}

// path is what the server is told its data directory is. For a dropped user it is the inherited
// descriptor, because that user need not be allowed to enter the folders above (a 0700 home or temporary
// folder). Descriptor 3 is the first of ExtraFiles.
func (c cluster) path() string {
	if c.user == nil {
		return c.dir
	}
	return "/proc/self/fd/3"
}

func (c cluster) open() (*os.File, error) {
	f, err := os.Open(c.dir)
	if err != nil {
		return nil, fmt.Errorf("opening cluster: %w", err)
	}
	return f, nil
}

func (c cluster) environment() []string {
	return []string{"PATH=/usr/bin:/bin", "LC_ALL=C", "TZ=UTC", "LD_LIBRARY_PATH=" + filepath.Join(c.home, "lib")}
}

// ensure returns the password of the cluster, after making both if there is no cluster. The cluster is
// made under another name and renamed when whole, so a crash leaves none rather than half of one.
func (c cluster) ensure(ctx context.Context, passwordFile string) (string, error) {
	_, err := os.Stat(c.dir)
	if err == nil {
		password, err := os.ReadFile(passwordFile) //nolint:gosec // the path is configuration
		if err != nil {
			return "", fmt.Errorf("reading password: %w", err)
		}
		return string(password), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("looking for cluster: %w", err)
	}
	password := rand.Text()
	if err := os.WriteFile(passwordFile, []byte(password), 0o600); err != nil {
		return "", fmt.Errorf("keeping password: %w", err)
	}
	fresh := c
	fresh.dir += ".init"
	if err := os.RemoveAll(fresh.dir); err != nil {
		return "", fmt.Errorf("clearing an unfinished cluster: %w", err)
	}
	if err := os.Mkdir(fresh.dir, 0o700); err != nil {
		return "", fmt.Errorf("making cluster folder: %w", err)
	}
	if err := c.user.own(fresh.dir); err != nil {
		return "", err
	}
	if err := fresh.initdb(ctx, password); err != nil {
		return "", err
	}
	if err := os.Rename(fresh.dir, c.dir); err != nil {
		return "", fmt.Errorf("putting cluster in place: %w", err)
	}
	return password, nil
}

// initdb takes the password through a pipe, since the dropped user cannot read our file. Opening a
// descriptor's path checks the owner of the pipe, which therefore has to change.
func (c cluster) initdb(ctx context.Context, password string) error {
	folder, err := c.open()
	if err != nil {
		return err
	}
	defer func() { _ = folder.Close() }()
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("making password pipe: %w", err)
	}
	defer func() { _ = r.Close() }()
	_, err = w.WriteString(password + "\n")
	if err = errors.Join(err, w.Close()); err != nil {
		return fmt.Errorf("writing password pipe: %w", err)
	}
	if c.user != nil {
		if err := r.Chown(int(c.user.uid), int(c.user.gid)); err != nil {
			return fmt.Errorf("giving password pipe to user %s: %w", c.user.name, err)
		}
	}
	//nolint:gosec // the program is one that was fetched and verified
	cmd := exec.CommandContext(ctx, filepath.Join(c.home, "bin", "initdb"), "-D", c.path(), "-U", superuser,
		"--auth=scram-sha-256", "--pwfile=/dev/fd/4", "--encoding=UTF8", "--locale=C", "--data-checksums")
	cmd.ExtraFiles = []*os.File{folder, r}
	cmd.Dir, cmd.Env = "/", c.environment()
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.user.credential()}
	if err := child.Run(cmd); err != nil {
		return fmt.Errorf("running initdb: %w", err)
	}
	return nil
}

// ErrOtherVersion says that the data folder belongs to another major version of PostgreSQL.
var ErrOtherVersion = errors.New("data folder of another PostgreSQL version")

func (c cluster) checkVersion(ctx context.Context) error {
	have, err := os.ReadFile(filepath.Join(c.dir, "PG_VERSION"))
	if err != nil {
		return fmt.Errorf("reading cluster version: %w", err)
	}
	cmd := exec.CommandContext(ctx, filepath.Join(c.home, "bin", "postgres"), "-V") //nolint:gosec // fetched and verified
	cmd.Env = c.environment()
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("asking postgres for its version: %w", err)
	}
	major := strings.TrimSpace(string(have))
	fields := strings.Fields(string(out)) // postgres (PostgreSQL) 18.4
	if len(fields) < 3 || !strings.HasPrefix(fields[2], major+".") {
		return fmt.Errorf("%w: %s holds %s, the program is %s; nothing was changed: "+
			"dump it with its own version and restore it into a new folder", ErrOtherVersion, c.dir, major, strings.TrimSpace(string(out)))
	}
	return nil
}

// vacate waits until no process works in the cluster, which is so for a moment after a postmaster or its
// parent was killed, and then removes the locks such a death leaves behind, of the cluster and of its socket. Without
// that, a pid that is not reaped yet, or that another process of the same user has meanwhile (in a container, after a
// restart), blocks the start.
func (c cluster) vacate(ctx context.Context) error {
	deadline := time.Now().Add(15 * time.Second)
	for {
		pids, err := occupants(c.dir)
		if err != nil {
			return err
		}
		if len(pids) == 0 {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes %v still work in %s", pids, c.dir)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	for _, lock := range []string{"postmaster.pid", ".s.PGSQL." + port + ".lock"} {
		if err := os.Remove(filepath.Join(c.dir, lock)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing a stale lock: %w", err)
		}
	}
	return nil
}

// occupants lists the processes whose working folder is dir: postmaster and all its backends have it.
func occupants(dir string) ([]int, error) {
	links, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil {
		return nil, err
	}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, fmt.Errorf("resolving cluster folder: %w", err)
	}
	var pids []int
	for _, link := range links {
		if cwd, err := os.Readlink(link); err == nil && cwd == real { // others' processes cannot be read, nor be ours
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(link))); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids, nil
}
