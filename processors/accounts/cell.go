package accounts

import (
	"github.com/caudalpay/caudal/processors/fraud"
	"github.com/caudalpay/caudal/processors/ledger"
	"github.com/caudalpay/caudal/processors/limits"
	"github.com/caudalpay/caudal/processors/payment"
)

// Cell is the O(1) state of a key. A key that was only ever declined has a cell without State, to number its decisions; a
// customer's cell holds the claimed account.
type Cell struct {
	Tenant, Merchant, Customer string

	State            *AccountState // never changed in place
	Balances         []ledger.Balance
	Seq              uint64
	LastAcceptedAtUS int64
	Limits           limits.Windows
	Fraud            fraud.Features
	OpenHash         [32]byte

	CustomerAccount payment.AccountID // customer cells only
	Card            *CardState        // card cells only; never changed in place
}

// AccountStatus is open, blocked or closed.
type AccountStatus uint8

// The statuses of an account.
const (
	AccountStatusNone    AccountStatus = 0
	AccountStatusOpen    AccountStatus = 1
	AccountStatusBlocked AccountStatus = 2
	AccountStatusClosed  AccountStatus = 3
)

// AccountState is what an account is, apart from its money.
type AccountState struct {
	ExternalID          string
	Kind                payment.AccountKind
	Status              AccountStatus
	Currencies          []string
	KYCLevel            uint8
	OverdraftLimitMinor int64 // in the first currency
	Policy              string
	OpenedAtUS          int64
}

// balance is the zero balance where the currency is not held.
func (c *Cell) balance(currency string) ledger.Balance {
	for _, b := range c.Balances {
		if b.Currency == currency {
			return b
		}
	}
	return ledger.Balance{Currency: currency}
}

// overdraft counts only in the account's first currency.
func (c *Cell) overdraft(currency string) int64 {
	if c.State.Currencies[0] != currency {
		return 0
	}
	return c.State.OverdraftLimitMinor
}
