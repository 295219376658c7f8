package up

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	door "github.com/caudalpay/caudal/ingest/http"
)

// The owner of the sample tenant's key.
const (
	SampleTenant   = "sample"
	SampleMerchant = "acme"
)

// Files in the data folder.
const (
	tokenFile     = "dev.token"
	keysFile      = "keys.json"
	addressesFile = "addresses.json"
	sealFile      = "seal.key"
)

// devToken returns the bearer token of the sample tenant, making it and its entry in the key file at the first start.
func devToken(data string) (string, error) {
	path := filepath.Join(data, tokenFile)
	stored, err := os.ReadFile(path) //nolint:gosec // in the data folder that the operator names
	if errors.Is(err, os.ErrNotExist) {
		raw := make([]byte, 24)
		_, _ = rand.Read(raw) // never fails
		stored = []byte("caudal_dev_" + base64.RawURLEncoding.EncodeToString(raw) + "\n")
		err = writeFile(path, stored)
	}
	if err != nil {
		return "", fmt.Errorf("keeping the developer's token: %w", err)
	}
	token := strings.TrimSpace(string(stored))
	keys := filepath.Join(data, keysFile)
	if _, err := os.Stat(keys); errors.Is(err, os.ErrNotExist) {
		digest := sha256.Sum256([]byte(token))
		body, err := json.MarshalIndent([]door.Key{{
			Name: "dev", Tenant: SampleTenant, Merchant: SampleMerchant, KeySHA256: hex.EncodeToString(digest[:]),
			Scopes: door.Scopes(), // a developer is the house as well: the operator's has to be named
		}}, "", "  ")
		if err != nil {
			return "", fmt.Errorf("encoding key file: %w", err)
		}
		if err := writeFile(keys, append(body, '\n')); err != nil {
			return "", fmt.Errorf("writing key file: %w", err)
		}
	}
	return token, nil
}

// writeFile replaces a private file in one step, so that a kill leaves the old one or the new one.
func writeFile(path string, body []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(body)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return os.Rename(f.Name(), path)
}
