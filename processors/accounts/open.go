package accounts

import (
	"github.com/caudalpay/caudal/processors/ledger"
	"github.com/caudalpay/caudal/processors/payment"
)

// customer decides on a customer's key: who the customer's one account is, and passes the request on to it.
func (r *reducer) customer() {
	cmd := *r.cmd
	switch cmd.Kind {
	case payment.KindOpenAccount:
		if r.cell.CustomerAccount != "" && r.cell.CustomerAccount != cmd.Account {
			r.decline(payment.ReasonCustomerHasAccount)
			return
		}
		r.cell.Tenant, r.cell.Merchant, r.cell.Customer = cmd.Tenant, cmd.Merchant, cmd.Customer
		r.cell.CustomerAccount = cmd.Account
	case payment.KindSetKYCLevel:
		if r.cell.CustomerAccount == "" {
			r.decline(payment.ReasonAccountUnknown)
			return
		}
		cmd.Account = r.cell.CustomerAccount
	default:
		r.decline(payment.ReasonAccountUnknown)
		return
	}
	cmd.AcceptedAtUS = r.d.AcceptedAtUS
	r.emit(string(cmd.Account), cmd, true)
}

// open decides OPEN_ACCOUNT on the account's key. The cell itself is the idempotency record.
func (r *reducer) open() {
	o := r.cmd.Open
	if r.cell.State != nil {
		switch {
		case r.owner() != payment.ReasonNone:
			r.decline(payment.ReasonOwnerMismatch)
		case r.cell.OpenHash != r.cmd.BodyHash:
			r.conflict()
		default:
			r.d.Outcome = payment.OutcomeRepeated
			r.tellAccount()
		}
		return
	}
	c := &r.cell
	c.Tenant, c.Merchant, c.Customer, c.OpenHash = r.cmd.Tenant, r.cmd.Merchant, r.cmd.Customer, r.cmd.BodyHash
	c.State = &AccountState{
		ExternalID: o.ExternalID, Kind: o.Kind, Status: AccountStatusOpen, Currencies: o.Currencies, KYCLevel: o.KYCLevel,
		OverdraftLimitMinor: o.OverdraftLimitMinor, Policy: o.Policy, OpenedAtUS: r.d.AcceptedAtUS,
	}
	c.Balances = make([]ledger.Balance, len(o.Currencies))
	for i, currency := range o.Currencies {
		c.Balances[i].Currency = currency
	}
	r.d.Outcome = payment.OutcomeApproved
	r.publish()
}

func (r *reducer) setKYCLevel() {
	state := *r.cell.State
	state.KYCLevel = r.cmd.KYCLevel.KYCLevel
	r.cell.State = &state
	r.d.Outcome = payment.OutcomeApproved
	r.publish()
}

// publish tells every ingress what the account is now.
func (r *reducer) publish() {
	r.tellAccount()
	r.out = append(r.out, Emission{Directory: &DirectoryEntry{
		Account: payment.AccountID(r.key), Tenant: r.cell.Tenant, Merchant: r.cell.Merchant, Customer: r.cell.Customer,
		State: *r.cell.State, AccountSeq: r.cell.Seq,
	}})
}

func (r *reducer) emit(key string, cmd payment.Command, forwarded bool) {
	r.out = append(r.out, Emission{Command: &CommandEmission{Key: key, Command: cmd, Forwarded: forwarded}})
}
