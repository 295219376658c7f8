package up

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caudalpay/caudal/ingest/http"
)

// Who starts a house whose store is down hears of it while he waits, once, and not only at the end.
func TestWaitingForAPartIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		store := func() error {
			if time.Since(began) < time.Minute {
				return errors.New("connection refused")
			}
			return nil
		}
		in := &running{failed: make(chan error), checks: []http.Check{
			{Name: "api", Ready: func() error { return nil }}, {Name: "postgres", Ready: store},
		}}
		var said strings.Builder
		if err := in.waitReady(t.Context(), &said); err != nil {
			t.Fatal(err)
		}
		if text := said.String(); strings.Count(text, "connection refused") != 1 || !strings.Contains(text, "postgres") || strings.Contains(text, "api") {
			t.Errorf("%q", text)
		}
		said.Reset()
		if err := in.waitReady(t.Context(), &said); err != nil || said.Len() > 0 {
			t.Errorf("where all is there: %v, %q", err, said.String())
		}
	})
}
