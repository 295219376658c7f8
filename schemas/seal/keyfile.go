package seal

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
)

// fileModeLeak are the permission bits a key file must not have: it is for its owner alone.
const fileModeLeak = 0o077

var keyIDPattern = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// keyFile is the stored form: keys from the oldest to the newest. To rotate, append one and restart.
type keyFile struct {
	Keys []keyEntry `json:"keys"`
}

type keyEntry struct {
	ID     string `json:"id"`
	Secret string `json:"secret"` // base64 of 32 random bytes
}

// LoadOrCreate reads the key file, and makes one with a fresh key where there is none. It refuses a file that others
// can read, and never overwrites one: a lost key is lost data.
func LoadOrCreate(path string) (*Keyring, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := create(path); err != nil {
			return nil, fmt.Errorf("creating key file %s: %w", path, err)
		}
	}
	return Load(path)
}

// Load reads an existing key file.
func Load(path string) (*Keyring, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("reading key file: %w", err)
	}
	if info.Mode().Perm()&fileModeLeak != 0 {
		return nil, fmt.Errorf("key file %s has mode %#o: it must be readable by its owner only (0600)", path, info.Mode().Perm())
	}
	raw, err := os.ReadFile(path) //nolint:gosec // the path is configuration
	if err != nil {
		return nil, fmt.Errorf("reading key file: %w", err)
	}
	var f keyFile
	if err := json.Unmarshal(raw, &f); err != nil {
		return nil, fmt.Errorf("decoding key file %s: %w", path, err)
	}
	k, err := newKeyring(f)
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	return k, nil
}

// create writes a complete file beside path and links it there, so that of two processes that start at once one wins
// and both then read the same key, and no crash leaves half a key.
func create(path string) error {
	var secret [keySize]byte
	var id [8]byte
	if _, err := rand.Read(secret[:]); err != nil {
		return err
	}
	if _, err := rand.Read(id[:]); err != nil {
		return err
	}
	raw, err := json.MarshalIndent(keyFile{Keys: []keyEntry{{
		ID:     "k_" + hex.EncodeToString(id[:]),
		Secret: base64.StdEncoding.EncodeToString(secret[:]),
	}}}, "", "  ")
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".key-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) //nolint:errcheck // a leftover is harmless
	_, err = tmp.Write(append(raw, '\n'))
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Link(tmp.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func (f keyFile) secrets() ([]keyEntry, [][]byte, error) {
	if len(f.Keys) == 0 {
		return nil, nil, errors.New("no key")
	}
	seen := map[string]bool{}
	secrets := make([][]byte, 0, len(f.Keys))
	for i, e := range f.Keys {
		secret, err := base64.StdEncoding.DecodeString(e.Secret)
		switch {
		case !keyIDPattern.MatchString(e.ID):
			return nil, nil, fmt.Errorf("keys[%d].id is not 1 to 64 of A-Z a-z 0-9 . _ -", i)
		case seen[e.ID]:
			return nil, nil, fmt.Errorf("keys[%d].id %s stands twice", i, e.ID)
		case err != nil || len(secret) != keySize:
			return nil, nil, fmt.Errorf("keys[%d].secret is not base64 of %d bytes", i, keySize)
		}
		seen[e.ID] = true
		secrets = append(secrets, secret)
	}
	return f.Keys, secrets, nil
}
