package pagarme_test

import (
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
