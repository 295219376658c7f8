package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// answering is a house that gives one answer to whatever it is asked.
func answering(t *testing.T, status int, body string) (url string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body) // who asked tells
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func fileOf(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// Invariant: what a dispute is past is named and counted, and is no failure; what is refused is one.
func TestDisputesLoadNamesWhatMovedNothing(t *testing.T) {
	file := fileOf(t, "f.ndjson", `{"payment_id":"pi_1","stage":"dispute","amount":100,"reference":"CB"}`)
	for _, c := range []struct {
		status     int
		body, want string
		fails      bool
	}{
		{http.StatusOK, `{"status":"won"}`, `(?s)1 .*stale .*the dispute stands at won .*taken .* 0 .*stale .* 1 `, false},
		{http.StatusConflict, `{"code":"request_declined","detail":"Declined.","instance":"/disputes/dp_1"}`, `(?s)1 .*request_declined .*/disputes/dp_1 .*stale .* 0 `, true},
	} {
		out, err := execute(t, "disputes", "load", file, "--token", "t", "--url", answering(t, c.status, c.body))
		if !regexp.MustCompile(c.want).MatchString(out) || (err != nil) != c.fails {
			t.Errorf("%s\n%v, want %s", out, err, c.want)
		}
	}
}
