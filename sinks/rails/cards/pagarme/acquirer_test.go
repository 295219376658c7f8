package pagarme_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caudalpay/caudal/sinks/rails/cards"
	"github.com/caudalpay/caudal/sinks/rails/cards/pagarme"
	"github.com/caudalpay/caudal/sinks/rails/cards/rest/resttest"
)

func TestDialect(t *testing.T) {
	resttest.Run(t, func(url string) (cards.Acquirer, error) {
		return pagarme.New(pagarme.Config{URL: url, SecretKey: "sk_test", CustomerID: "cus_1", StatementDescriptor: "CAUDAL"})
	})
}

func TestConfig(t *testing.T) {
	for _, c := range []pagarme.Config{
		{}, {SecretKey: "k"}, {SecretKey: "k", CustomerID: "c", URL: "api"}, {SecretKey: "k", CustomerID: "c", StatementDescriptor: "12345678901234"},
	} {
		if _, err := pagarme.New(c); err == nil {
			t.Errorf("taken: %+v", c)
		}
	}
}

// The transport repeats by itself what has an Idempotency-Key, on a connection that broke. The repeat of a capture that was
// done is turned down, and its answer must not be taken for the first one's: the money is taken.
func TestTransportRepeatsNothing(t *testing.T) {
	var captures atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		switch {
		case !strings.HasSuffix(r.URL.Path, "/capture"):
			_, _ = io.WriteString(w, `{}`) // opens the connection that the capture goes by
		case captures.Add(1) == 1:
			panic(http.ErrAbortHandler)
		default:
			w.WriteHeader(http.StatusPreconditionFailed)
			_, _ = io.WriteString(w, `{"message":"This charge can not be captured."}`)
		}
	}))
	t.Cleanup(server.Close)
	a, err := pagarme.New(pagarme.Config{URL: server.URL, SecretKey: "sk_test", CustomerID: "cus_1", Transport: &http.Transport{}})
	if err != nil {
		t.Fatal(err)
	}
	r := cards.Request{Operation: cards.OperationCapture, OwnReference: "own", Reference: "ch_1", AmountMinor: 100, Currency: "BRL"}
	if _, err := a.Status(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	result, err := a.Capture(t.Context(), r)
	if err != nil || result.Outcome != cards.OutcomeUnknown || captures.Load() != 1 {
		t.Errorf("captured, the connection cut: sent %d times, told %s %s %v", captures.Load(), result.Outcome, result.Code, err)
	}
}
