package postgres

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// account is the user the server runs as; nil: the present one.
type account struct {
	name     string
	uid, gid uint32
}

// runAs chooses the account: postgres refuses to run as root.
func runAs() (*account, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil || u.Uid == "0" {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			continue
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			continue
		}
		return &account{name: name, uid: uint32(uid), gid: uint32(gid)}, nil
	}
	return nil, errors.New("running as root, and there is neither a user postgres nor nobody to run Postgres as: start caudal as another user")
}

func (a *account) credential() *syscall.Credential {
	if a == nil {
		return nil
	}
	return &syscall.Credential{Uid: a.uid, Gid: a.gid, Groups: []uint32{}}
}

// own gives a file or folder to the account.
func (a *account) own(path string) error {
	if a == nil {
		return nil
	}
	if err := os.Chown(path, int(a.uid), int(a.gid)); err != nil {
		return fmt.Errorf("giving folder to user %s: %w", a.name, err)
	}
	return nil
}

// canEnter names the first folder above path that is closed to the account, typically root's home.
func (a *account) canEnter(path string) error {
	if a == nil {
		return nil
	}
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return fmt.Errorf("checking %s: %w", dir, err)
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		mode := info.Mode().Perm()
		if ok && mode&0o001 == 0 && (st.Uid != a.uid || mode&0o100 == 0) && (st.Gid != a.gid || mode&0o010 == 0) {
			return fmt.Errorf("user %s, whom Postgres runs as, cannot enter %s (mode %04o): set CAUDAL_CACHE to a folder everybody may enter, like /var/cache/caudal", a.name, dir, mode)
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}
