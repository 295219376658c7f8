package fetch

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// cache is one folder of unpacked packages.
type cache struct {
	dir  string
	pins platformPins
}

// stampFile is written last, after the digests were found right. It holds the stamp of the files as they
// were then: sizes, inodes and times of change. As long as that is unchanged the contents need not be
// read again (600 MB); if it differs, they are.
const stampFile = "verified"

func (c *cache) tree(p pin) string { return filepath.Join(c.dir, "node_modules", p.Package) }

func (c *cache) binaries() Binaries {
	return Binaries{
		PostgresHome:      filepath.Join(c.tree(c.pins.Postgres), "native"),
		ClickHouseLibrary: filepath.Join(c.tree(c.pins.ClickHouse), "libchdb.so"),
	}
}

// verify returns nil if the folder holds exactly the pinned files, and fs.ErrNotExist if there is none.
func (c *cache) verify() error {
	recorded, err := os.ReadFile(filepath.Join(c.dir, stampFile))
	if err != nil {
		return fmt.Errorf("reading cache stamp: %w", err)
	}
	stamp, err := c.stamp()
	if err != nil {
		return err
	}
	if stamp == string(recorded) {
		return nil
	}
	return c.seal()
}

// seal reads every file, compares with the pins and writes the stamp.
func (c *cache) seal() error {
	for _, p := range []pin{c.pins.Postgres, c.pins.ClickHouse} {
		digest, err := digestTree(c.tree(p))
		if err != nil {
			return err
		}
		if digest != p.Digest {
			return fmt.Errorf("files of %s have digest %s, pinned is %s", p.Package, digest, p.Digest)
		}
	}
	stamp, err := c.stamp()
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(c.dir, stampFile), []byte(stamp), 0o644) //nolint:gosec // the cache is for all users
}

func (c *cache) stamp() (string, error) {
	h := sha256.New()
	for _, p := range []pin{c.pins.Postgres, c.pins.ClickHouse} {
		err := eachEntry(c.tree(p), func(path, rel string, info fs.FileInfo) error {
			_, err := fmt.Fprintf(h, "%s %s %d %d %s\n", rel, info.Mode(), info.Size(), info.ModTime().UnixNano(), changeStamp(info))
			return err
		})
		if err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// digestTree is the SHA-256 over "sha256  path" lines of all regular files, sorted by path. Symbolic links
// are ours (link) and are left out.
func digestTree(root string) (string, error) {
	all := sha256.New()
	err := eachEntry(root, func(path, rel string, info fs.FileInfo) error {
		if !info.Mode().IsRegular() {
			return nil
		}
		f, err := os.Open(path) //nolint:gosec // found by walking our own folder
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		one := sha256.New()
		if _, err := io.Copy(one, f); err != nil {
			return err
		}
		_, err = fmt.Fprintf(all, "%x  %s\n", one.Sum(nil), rel)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", root, err)
	}
	return hex.EncodeToString(all.Sum(nil)), nil
}

// eachEntry visits files and links of a tree in lexical order of their paths.
func eachEntry(root string, visit func(path, rel string, info fs.FileInfo) error) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		return visit(path, filepath.ToSlash(rel), info)
	})
}

// link makes the symbolic links the Postgres package leaves to a script that is not run here.
func (c *cache) link() error {
	root := c.tree(c.pins.Postgres)
	text, err := os.ReadFile(filepath.Join(root, "native", "pg-symlinks.json")) //nolint:gosec // in our own folder
	if err != nil {
		return fmt.Errorf("reading list of links: %w", err)
	}
	var links []struct{ Source, Target string }
	if err := json.Unmarshal(text, &links); err != nil {
		return fmt.Errorf("reading list of links: %w", err)
	}
	for _, l := range links {
		if !filepath.IsLocal(l.Source) || !filepath.IsLocal(l.Target) {
			return fmt.Errorf("link from %q to %q leaves the package", l.Target, l.Source)
		}
		to, err := filepath.Rel(filepath.Dir(l.Target), l.Source)
		if err != nil {
			return err
		}
		if err := os.Symlink(to, filepath.Join(root, l.Target)); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("making link: %w", err)
		}
	}
	return nil
}

// open lets every user read the tree: for root, Postgres runs as another user, and the umask at the time
// of the fetch must not matter.
func (c *cache) open() error {
	return filepath.WalkDir(c.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		mode := info.Mode().Perm()
		switch {
		case d.IsDir():
			mode |= 0o755
		case info.Mode().IsRegular():
			mode |= 0o444 | mode&0o100>>3 | mode&0o100>>6
		default:
			return nil
		}
		if mode == info.Mode().Perm() {
			return nil
		}
		return os.Chmod(path, mode) //nolint:gosec // the folder is ours and not yet in use
	})
}
