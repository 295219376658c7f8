package rede_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caudalpay/caudal/sinks/rails/cards"
	"github.com/caudalpay/caudal/sinks/rails/cards/rede"
	"github.com/caudalpay/caudal/sinks/rails/cards/rest/resttest"
)

func vault(_ context.Context, instrument string) (rede.Credential, error) {
	return rede.Credential{
		Number: "network-token-of-" + instrument[:4], ExpirationMonth: "12", ExpirationYear: "2030", Holder: "A HOLDER", Cryptogram: "AgAAAAAA=",
	}, nil
}

func TestDialect(t *testing.T) {
	resttest.Run(t, func(url string) (cards.Acquirer, error) {
		return rede.New(rede.Config{URL: url + "/v1", PV: "10000000", Token: "token", Vault: rede.VaultFunc(vault), SoftDescriptor: "CAUDAL"})
	})
}

func TestConfig(t *testing.T) {
	for _, c := range []rede.Config{
		{},
		{PV: "1"},
		{PV: "1", Token: "t"},
		{PV: "1", Token: "t", Vault: rede.VaultFunc(vault), URL: "api"},
		{PV: "1", Token: "t", Vault: rede.VaultFunc(vault), TokenURL: "oauth"},
	} {
		if _, err := rede.New(c); err == nil {
			t.Errorf("taken: %v", c.URL)
		}
	}
}

func TestVaultThatFailsSendsNothing(t *testing.T) {
	closed := func(context.Context, string) (rede.Credential, error) { return rede.Credential{}, errors.New("closed") }
	a, err := rede.New(rede.Config{URL: "http://127.0.0.1:1", PV: "1", Token: "t", Vault: rede.VaultFunc(closed)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Authorize(t.Context(), cards.Request{}); !errors.Is(err, cards.ErrNotSent) {
		t.Error(err)
	}
}

func TestReferenceIsShortAndPerAttempt(t *testing.T) {
	a, err := rede.New(rede.Config{PV: "1", Token: "t", Vault: rede.VaultFunc(vault)})
	if err != nil {
		t.Fatal(err)
	}
	one, two, other := a.OwnReference("o1", 1), a.OwnReference("o1", 2), a.OwnReference("o2", 1)
	if len(one) != 16 || one == two || one == other || one != a.OwnReference("o1", 1) {
		t.Error(one, two, other)
	}
}

func TestCredentialIsNeverPrinted(t *testing.T) {
	c, _ := vault(t.Context(), "token")
	if text := fmt.Sprintf("%v %+v %#v %s", c, c, c, c.LogValue()); strings.Contains(text, "network") || strings.Contains(text, "Ag") {
		t.Error(text)
	}
}

// A token is asked for once, and anew after it was refused.
func TestBearer(t *testing.T) {
	granted, stale := 0, true
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/oauth2/token":
			granted++
			if user, pass, ok := r.BasicAuth(); !ok || user != "1" || pass != "t" {
				t.Errorf("basic %q %q", user, pass)
			}
			_ = json.NewEncoder(w).Encode(map[string]any{"access_token": fmt.Sprintf("token-%d", granted), "expires_in": 1440})
		case r.Header.Get("Authorization") == "Bearer token-1" && stale:
			w.WriteHeader(http.StatusUnauthorized)
		default:
			_, _ = w.Write([]byte(`{"returnCode":"00","tid":"1","amount":5}`))
		}
	}))
	defer server.Close()
	a, err := rede.New(rede.Config{URL: server.URL, TokenURL: server.URL + "/oauth2/token", PV: "1", Token: "t", Vault: rede.VaultFunc(vault)})
	if err != nil {
		t.Fatal(err)
	}
	request := cards.Request{Operation: cards.OperationCollect, Instrument: "token"}
	if _, err := a.Authorize(t.Context(), request); !errors.Is(err, cards.ErrNotSent) {
		t.Fatal(err)
	}
	for range 3 {
		if r, err := a.Authorize(t.Context(), request); err != nil || r.Outcome != cards.OutcomeConfirmed {
			t.Fatal(r, err)
		}
	}
	if granted != 2 {
		t.Errorf("%d tokens", granted)
	}
}
