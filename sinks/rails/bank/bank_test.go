package bank_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/caudalpay/caudal/sinks/rails/bank"
	"github.com/caudalpay/caudal/sinks/rails/cards"
	"github.com/caudalpay/caudal/sinks/rails/cards/rest/resttest"
)

func TestDialect(t *testing.T) {
	resttest.Run(t, func(url string) (*bank.Bank, error) {
		return bank.New(bank.Config{URL: url, Token: "token", Currencies: []string{"BRL"}})
	})
}

func TestConfig(t *testing.T) {
	good := bank.Config{URL: "http://127.0.0.1:1", Token: "t", Currencies: []string{"BRL"}}
	if _, err := bank.New(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*bank.Config){
		"address":    func(c *bank.Config) { c.URL = "bank" },
		"token":      func(c *bank.Config) { c.Token = "" },
		"currencies": func(c *bank.Config) { c.Currencies = nil },
	} {
		c := good
		change(&c)
		if _, err := bank.New(c); err == nil {
			t.Errorf("taken: %s", name)
		}
	}
}

// Whatever the attempt, an order is one transfer.
func TestReferenceIsTheOrders(t *testing.T) {
	b, err := bank.New(bank.Config{URL: "http://127.0.0.1:1", Token: "t", Currencies: []string{"BRL"}})
	if err != nil {
		t.Fatal(err)
	}
	one := b.OwnReference("o1", 1)
	if len(one) > 35 || one != b.OwnReference("o1", 2) || one == b.OwnReference("o2", 1) {
		t.Error(one, b.OwnReference("o1", 2), b.OwnReference("o2", 1))
	}
}

func TestDestinationIsNeverPrinted(t *testing.T) {
	r := cards.Request{Destination: cards.Destination{Account: "60701190/0001/9", Name: "Ana", Document: "529"}}
	text := fmt.Sprintf("%v %+v %#v %s %v", r, r, r, r.Destination.LogValue(), r.Destination)
	for _, personal := range []string{"6070", "Ana", "529"} {
		if strings.Contains(text, personal) {
			t.Error(text)
		}
	}
}
