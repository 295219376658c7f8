// Package iso8583 is the door of acquirers: a TCP server that speaks the card authorization feed of schemas/rails/iso8583.
// It finds the account behind a card number, turns each message into a command, answers what the core decides, and stands in
// for the core where that does not answer in time.
//
// It decides nothing about money, and keeps nothing: a repeat is known to the core by its id, at whichever process it comes
// in. A card number leaves the message it came in only as the card's key, which is a keyed digest.
package iso8583
