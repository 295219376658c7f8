package model_test

import (
	"testing"

	"google.golang.org/protobuf/proto"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/sinks/audit/model"
)

// FuzzAnyCommand: whatever stands on the log, the model answers or refuses, and its journals sum to zero.
func FuzzAnyCommand(f *testing.F) {
	w := newWorld(&testing.T{})
	for _, line := range [][]string{{"open", "a", "BRL"}, {"payin", "a", "100", "USD", "to=BRL"}, {"transfer", "a", "7", "BRL", "payee=b"}, {"refund", "a", "of=k"}, {"tick"}, {"capture", "a"}, {"answer", "a"}, {"quote", "a", "100", "USD"}, {"authorize", "a", "100", "BRL"}, {"advise", "a", "100", "BRL"}, {"reverse", "a"}, {"clear", "a", "100", "BRL"}, {"dispute", "a"}, {"evidence", "a"}, {"accept", "a"}, {"issue", "c", "a"}, {"card", "c"}} {
		args := map[string]string{"to": "BRL", "payee": "b", "of": "k", "step": "collect", "result": "confirmed", "key": "k", "stage": "lost", "amount": "100", "status": "blocked"}
		key, cmd := w.command(line[0], line[1:min(len(line), 4)], args)
		cmd.AcceptedAtUs = w.now.UnixMicro()
		b, err := proto.Marshal(cmd)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(key, b)
	}
	f.Fuzz(func(t *testing.T, key string, b []byte) {
		cmd := &paymentsv1.Command{}
		if proto.Unmarshal(b, cmd) != nil {
			return // not a command: the engine parks it
		}
		w := newWorld(t)
		open := &paymentsv1.Command{
			Kind: paymentsv1.CommandKind_COMMAND_KIND_OPEN_ACCOUNT, AcceptedAtUs: 1, Tenant: cmd.GetTenant(), Merchant: cmd.GetMerchant(), Customer: cmd.GetCustomer(), Pins: cmd.GetPins(),
			Body: &paymentsv1.Command_OpenAccount{OpenAccount: &paymentsv1.OpenAccount{Currencies: []string{"BRL", "USD"}, Policy: "full", KycLevel: 2, OverdraftLimitMinor: 1 << 40}},
		}
		if _, err := w.p.Apply(model.Record{Key: key, Command: open}); err != nil {
			return
		}
		for range 2 {
			r, err := w.p.Apply(model.Record{Key: key, Command: cmd})
			if err != nil {
				return
			}
			for _, j := range r.Decision.GetJournals() {
				sums := map[string]int64{}
				for _, p := range j.GetPostings() {
					sums[p.GetCurrency()] += p.GetAmountMinor()
				}
				for currency, sum := range sums {
					if sum != 0 {
						t.Fatalf("%s sums to %d: %s", currency, sum, model.Journals(r.Decision))
					}
				}
			}
		}
	})
}
