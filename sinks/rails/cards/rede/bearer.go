package rede

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// bearer keeps an access token for as long as it is good.
type bearer struct {
	url   string
	basic string
	http  *http.Client

	mu    sync.Mutex
	token string
	until time.Time
}

// renewBefore its end a token is asked for anew, so that none ends on the way.
const renewBefore = time.Minute

func (b *bearer) sign(ctx context.Context, h http.Header) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.token == "" || time.Now().After(b.until) {
		if err := b.renew(ctx); err != nil {
			return err
		}
	}
	h.Set("Authorization", "Bearer "+b.token)
	return nil
}

// drop forgets a token that was refused.
func (b *bearer) drop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.token = ""
}

func (b *bearer) renew(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, b.url, strings.NewReader("grant_type=client_credentials"))
	if err != nil {
		return fmt.Errorf("asking for an access token: %w", err)
	}
	request.Header.Set("Authorization", b.basic)
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := b.http.Do(request)
	if err != nil {
		return fmt.Errorf("asking for an access token: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	var granted struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(nil, response.Body, 1<<16)).Decode(&granted); err != nil {
		return fmt.Errorf("reading an access token: %w", err)
	}
	if response.StatusCode != http.StatusOK || granted.AccessToken == "" {
		return fmt.Errorf("asking for an access token: status %d", response.StatusCode)
	}
	b.token = granted.AccessToken
	b.until = time.Now().Add(time.Duration(granted.ExpiresIn)*time.Second - renewBefore)
	return nil
}
