// Package topics is the catalogue: the only place where a topic's name, its kind and the hash of a key exist.
package topics

// The topics. Names are stateful: changing one loses what stands under the old one.
const (
	Commands    = "payments.commands.v1"
	Decisions   = "payments.decisions.v1"
	RailsOrders = "rails.orders.v1"
	Replies     = "ingress.replies.v1"
	DeadLetters = "payments.commands.dead.v1"

	RailsAttempts      = "rails.attempts"         // what a connector has tried, in the partition of the order
	RailsNotifications = "rails.notifications.v1" // what processors tell by webhook, in the partition of the order where that is known

	AccountsGroup = "accounts"
	AccountsTable = "accounts-table" // Goka's group table of AccountsGroup
	AccountsSide  = "accounts-side"

	Directory    = "accounts.directory"
	Cards        = "cards.directory" // which account a card pays from
	FXRates      = "fx-rates"
	FeeSchedules = "fee-schedules"
	Policies     = "policies"
	Rules        = "rules"      // rule sets
	Blocklists   = "blocklists" // blocked parties and countries
)

// Cleanup says how long records stay.
type Cleanup uint8

// The cleanups.
const (
	Unlimited Cleanup = iota // never deleted: the source for replay
	Long                     // years
	Minutes
	Compact
)

// Topic is one row of the catalogue.
type Topic struct {
	Name    string
	Cleanup Cleanup
	// Partitioned topics have the installation's partition count; the others have one partition.
	Partitioned bool
}

// PartitionsDefault is the partition count of an embedded installation; production uses 32. Chosen once, recorded, and
// never changed: a start against topics with another count is refused.
const PartitionsDefault = 16

// Catalogue lists every topic of an installation.
func Catalogue() []Topic {
	return []Topic{
		{Commands, Unlimited, true},
		{Decisions, Unlimited, true},
		{RailsOrders, Long, true},
		{RailsAttempts, Compact, true},
		{RailsNotifications, Long, true},
		{Replies, Minutes, true},
		{DeadLetters, Long, true},
		{AccountsTable, Compact, true},
		{AccountsSide, Compact, true},
		{Directory, Compact, true},
		{Cards, Compact, true},
		{FXRates, Compact, false},
		{FeeSchedules, Compact, false},
		{Policies, Compact, false},
		{Rules, Compact, false},
		{Blocklists, Compact, false},
	}
}
