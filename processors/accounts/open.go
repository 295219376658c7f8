package accounts

import (
	"github.com/caudalpay/caudal/processors/ledger"
	"github.com/caudalpay/caudal/processors/payment"
)

// customer decides on a customer's key: who the customer's one account is, and passes the request on to it.
func (r *reducer) customer() {
	cmd := *r.cmd
	switch cmd.Kind {
	case payment.KindReleaseClaim:
		r.releaseClaim()
		return
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
			r.refuseClaim()
		case r.cell.Customer != r.cmd.Customer:
			r.conflict() // also with the body that opened it: who asks is part of what is asked
			r.refuseClaim()
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

// refuseClaim tells the customer's key that this account is another's. Nobody but the customer's key may forget a claim:
// there it is in order with the requests that claim anew.
func (r *reducer) refuseClaim() {
	cmd := r.cmd
	key := string(payment.CustomerKeyFrom(cmd.Tenant, cmd.Merchant, cmd.Customer))
	r.emit(key, payment.Command{
		Kind: payment.KindReleaseClaim, Tenant: cmd.Tenant, Merchant: cmd.Merchant, Customer: cmd.Customer, Account: cmd.Account,
		CommandID: payment.CommandIDFrom(key, "", releaseClaimName+r.key+"/"+cmd.CommandID), AcceptedAtUS: r.d.AcceptedAtUS,
		Release: &payment.ReleaseClaim{RefusedCommandID: cmd.CommandID},
	}, false)
}

// releaseClaim forgets a claim on an account that is another's. An account has one customer for ever, so what a release says
// stays true: one that comes late or twice drops no claim that could hold, and a claim on another account stays.
func (r *reducer) releaseClaim() {
	if r.cell.CustomerAccount == r.cmd.Account {
		r.cell.CustomerAccount = ""
	}
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
