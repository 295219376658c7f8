package cielo_test

import (
	"testing"

	"github.com/caudalpay/caudal/sinks/rails/cards"
	"github.com/caudalpay/caudal/sinks/rails/cards/cielo"
	"github.com/caudalpay/caudal/sinks/rails/cards/rest/resttest"
)

func TestDialect(t *testing.T) {
	resttest.Run(t, func(url string) (cards.Acquirer, error) {
		return cielo.New(cielo.Config{URL: url, QueryURL: url, MerchantID: "merchant", MerchantKey: "key", SoftDescriptor: "CAUDAL"})
	})
}

func TestConfig(t *testing.T) {
	for _, c := range []cielo.Config{
		{}, {MerchantID: "m"}, {MerchantID: "m", MerchantKey: "k", URL: "api"}, {MerchantID: "m", MerchantKey: "k", SoftDescriptor: "12345678901234"},
	} {
		if _, err := cielo.New(c); err == nil {
			t.Errorf("taken: %+v", c)
		}
	}
}
