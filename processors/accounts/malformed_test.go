package accounts_test

import (
	"errors"
	"testing"

	"github.com/caudalpay/caudal/processors/accounts"
	"github.com/caudalpay/caudal/processors/payment"
	"github.com/caudalpay/caudal/processors/policy"
)

// TestAContradictionIsAnError keeps a command that contradicts itself or its key from becoming a decision.
func TestAContradictionIsAnError(t *testing.T) {
	c := &caller{now: noon}
	payin := payment.Instruction{AmountMinor: 1, Currency: "BRL", Method: "book"}
	for name, change := range map[string]func(*payment.Command){
		"no body":         func(c *payment.Command) { c.Instruction = nil },
		"no amount":       func(c *payment.Command) { c.Instruction.AmountMinor = 0 },
		"another account": func(c *payment.Command) { c.Account = accountOf("b") },
		"another account's id": func(c *payment.Command) {
			c.PaymentID = payment.IDFrom(c.Kind, accountOf("b"), merchant, "k")
			c.CommandID = string(c.PaymentID)
		},
		"another kind's id":     func(c *payment.Command) { c.PaymentID = payment.IDFrom(payment.KindPayOut, c.Account, merchant, "k") },
		"no id":                 func(c *payment.Command) { c.PaymentID = "" },
		"kind unknown":          func(c *payment.Command) { c.Kind = payment.KindUnknown },
		"body of another kind":  func(c *payment.Command) { c.Kind = payment.KindRefund },
		"tick under an account": func(c *payment.Command) { c.Kind, c.Tick = payment.KindTick, &payment.Tick{Minute: 1} },
	} {
		in := payin
		key, cmd := c.instruct(payment.KindPayIn, "a", "k", in)
		change(&cmd)
		accounts.Reads(cmd, key) // must not panic
		_, _, err := accounts.Apply(accounts.Snapshot{}, cmd, payment.Meta{Key: key})
		if !errors.Is(err, accounts.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestACustomersKeyIsTheCustomers keeps a claim from standing where no release would find it.
func TestACustomersKeyIsTheCustomers(t *testing.T) {
	c := &caller{now: noon}
	key, open := c.open("a", payment.OpenAccount{Currencies: []string{"BRL"}, Policy: "standard"})
	_, level := c.level("a", 1, "k")
	release := open
	release.Kind, release.Open, release.Release = payment.KindReleaseClaim, nil, &payment.ReleaseClaim{RefusedCommandID: open.CommandID}
	for _, cmd := range []payment.Command{open, level, release} {
		if _, _, err := accounts.Apply(accounts.Snapshot{}, cmd, payment.Meta{Key: key}); err != nil {
			t.Errorf("%s: %v", cmd.Kind, err)
		}
		cmd.Customer = "b"
		if _, _, err := accounts.Apply(accounts.Snapshot{}, cmd, payment.Meta{Key: key}); !errors.Is(err, accounts.ErrMalformed) {
			t.Errorf("%s of another customer: %v", cmd.Kind, err)
		}
	}
	for name, key := range map[string]string{"account": string(release.Account), "nobody": "7"} {
		if _, _, err := accounts.Apply(accounts.Snapshot{}, release, payment.Meta{Key: key}); !errors.Is(err, accounts.ErrMalformed) {
			t.Errorf("release under the key of an %s: %v", name, err)
		}
	}
	release.Release = nil
	if _, _, err := accounts.Apply(accounts.Snapshot{}, release, payment.Meta{Key: key}); !errors.Is(err, accounts.ErrMalformed) {
		t.Errorf("release without a body: %v", err)
	}
}

// TestABrokenStateIsAnError keeps a state that must not be from being built upon.
func TestABrokenStateIsAnError(t *testing.T) {
	h, c := newHouse(1), &caller{now: noon}
	key, cmd := c.open("a", payment.OpenAccount{Currencies: []string{"BRL"}, KYCLevel: 3, Policy: "standard"})
	e, err := h.decide(key, cmd)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = h.decide(e.out[0].Command.Key, e.out[0].Command.Command); err != nil {
		t.Fatal(err)
	}
	key, cmd = c.instruct(payment.KindPayIn, "a", "k", payment.Instruction{AmountMinor: 1_00, Currency: "BRL", Method: "book"})

	s := h.snapshot(key, cmd)
	s.Policy = nil
	if _, _, err := accounts.Apply(s, cmd, payment.Meta{Key: key}); !errors.Is(err, accounts.ErrInvariant) {
		t.Errorf("pinned policy missing: %v", err)
	}

	// A review whose hold is not in the balances cannot be released.
	s = h.snapshot(key, cmd)
	s.Policy = &policy.Policy{ID: "standard", Version: 1}
	s.Related = &payment.Record{
		Kind: payment.KindPayOut, Status: payment.StatusInReview, AmountMinor: 5, Currency: "BRL", TargetCurrency: "BRL", Method: "book",
	}
	key, verdict := c.verdict(payment.KindDecline, payment.IDFrom(payment.KindPayOut, accountOf("a"), merchant, "k2"), "v")
	if _, _, err := accounts.Apply(s, verdict, payment.Meta{Key: key}); !errors.Is(err, accounts.ErrInvariant) {
		t.Errorf("hold missing: %v", err)
	}
}
