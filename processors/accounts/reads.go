package accounts

import "github.com/caudalpay/caudal/processors/payment"

// KeyKind says where a Key leads and which field of the Snapshot it fills.
type KeyKind uint8

// The kinds of keys.
const (
	KeyPayment KeyKind = iota + 1 // side record of the account: Snapshot.Payment
	KeyRelated                    // side record of the account: Snapshot.Related
	KeyCommand                    // side record of the account: Snapshot.Command
	KeyLeg                        // side record of the account: Snapshot.Leg
	KeyParty                      // side record of the account: Snapshot.PartySeen
	KeyQuote                      // side record of the account: Snapshot.Quote
	KeyDue                        // side records of the partition: Snapshot.LastMinute and Due

	// Reference documents, by id@version.
	KeyPolicy
	KeyFees
	KeyRates
	KeyRules
	KeyBlocklist
)

// Key names one thing that a command is decided on.
type Key struct {
	Kind KeyKind
	ID   string
}

// Reads names the side records and reference documents that the stages need for a command; the cell is always read.
func Reads(cmd payment.Command, key string) []Key {
	if cmd.Kind == payment.KindTick {
		return []Key{{KeyDue, ""}}
	}
	if payment.IsCustomerKey(key) || payment.IsCardKey(key) {
		return readsOfRequest(&cmd, key)
	}
	keys := make([]Key, 0, 8)
	add := func(kind KeyKind, id string) {
		if id != "" {
			keys = append(keys, Key{kind, id})
		}
	}
	switch cmd.Kind {
	case payment.KindPayIn, payment.KindPayOut, payment.KindTransfer:
		add(KeyPayment, identity(cmd.PaymentID))
		if cmd.Instruction != nil {
			add(KeyParty, string(cmd.Instruction.Counterparty.Digest))
			add(KeyQuote, identity(cmd.Instruction.Quote))
		}
		add(KeyPolicy, cmd.Pins.Policy)
		add(KeyFees, cmd.Pins.Fees)
		add(KeyRates, cmd.Pins.Rates)
		add(KeyRules, cmd.Pins.Rules)
		add(KeyBlocklist, cmd.Pins.Blocklist)
	case payment.KindRefund, payment.KindCapture, payment.KindVoid, payment.KindIncrement:
		add(KeyPayment, identity(payment.ID(cmd.CommandID)))
		add(KeyRelated, identity(cmd.PaymentID))
		add(KeyPolicy, cmd.Pins.Policy)
		if cmd.Kind == payment.KindRefund {
			add(KeyRates, cmd.Pins.Rates)
		}
	case payment.KindFXQuote:
		add(KeyPayment, identity(cmd.PaymentID))
		add(KeyPolicy, cmd.Pins.Policy)
		add(KeyRates, cmd.Pins.Rates)
	case payment.KindDispute, payment.KindClearing:
		add(KeyPayment, identity(payment.ID(cmd.CommandID)))
		add(KeyRelated, identity(cmd.PaymentID))
		add(KeyPolicy, cmd.Pins.Policy)
		add(KeyCommand, messageOf(&cmd))
	case payment.KindDisputeAccept:
		add(KeyCommand, cmd.CommandID)
		add(KeyRelated, identity(cmd.PaymentID))
		add(KeyPolicy, cmd.Pins.Policy)
	case payment.KindAuthorization, payment.KindAuthorizationAdvice, payment.KindReversal:
		readsOfCard(&cmd, add)
	case payment.KindRailAnswer:
		add(KeyRelated, identity(cmd.PaymentID))
		if cmd.RailAnswer == nil {
			break
		}
		if id, _ := splitOrderID(cmd.RailAnswer.OrderID); id != cmd.PaymentID {
			add(KeyPayment, identity(id))
		}
	case payment.KindApprove, payment.KindDecline, payment.KindDisputeEvidence:
		add(KeyCommand, cmd.CommandID)
		add(KeyRelated, identity(cmd.PaymentID))
	case payment.KindSetKYCLevel:
		add(KeyCommand, cmd.CommandID)
	case payment.KindExpire, payment.KindLegResult:
		add(KeyRelated, identity(cmd.PaymentID))
		if cmd.Kind == payment.KindExpire && ofAnother(cmd.PaymentID, key) {
			add(KeyLeg, identity(cmd.PaymentID))
		}
	case payment.KindCounterLeg:
		add(KeyLeg, identity(cmd.PaymentID))
		add(KeyPolicy, cmd.Pins.Policy)
	default: // account requests, and what lies under no account's key
	}
	return keys
}

// messageOf is the id of what is told of a dispute this once; empty: it has none.
func messageOf(cmd *payment.Command) string {
	if cmd.Dispute == nil {
		return ""
	}
	return cmd.Dispute.MessageID
}

// readsOfRequest names what is needed on a key that is no account's: the cell says it all, but for a request that is remembered.
func readsOfRequest(cmd *payment.Command, key string) []Key {
	if cmd.CardStatus != nil && cmd.CardStatus.Once && payment.IsCardKey(key) {
		return []Key{{KeyCommand, cmd.CommandID}}
	}
	return nil
}

// readsOfCard names what is needed for a word of an acquirer. An advice asks no stage, so it needs no rules.
func readsOfCard(cmd *payment.Command, add func(KeyKind, string)) {
	add(KeyPayment, identity(cmd.PaymentID))
	add(KeyPolicy, cmd.Pins.Policy)
	if cmd.CardTransaction == nil {
		return
	}
	add(KeyParty, string(cmd.CardTransaction.Counterparty.Digest))
	add(KeyRates, cmd.Pins.Rates)
	if cmd.Kind == payment.KindAuthorization {
		add(KeyRules, cmd.Pins.Rules)
		add(KeyBlocklist, cmd.Pins.Blocklist)
	}
}

// ofAnother tells whether a payment lives under another account's key: what stands here of it is its counter-leg.
func ofAnother(id payment.ID, key string) bool {
	_, err := payment.ParseID(string(id)) // what is none is refused by Apply
	return err == nil && id.Account() != payment.AccountID(key)
}

// identity is empty for an id too short to have one; such a command is refused by Apply.
func identity(id payment.ID) string {
	if len(id) <= 3 {
		return ""
	}
	return id.Identity()
}
