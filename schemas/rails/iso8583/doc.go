// Package iso8583 is the wire shape of the card authorization feed: ISO 8583:1987 in ASCII, one dialect of our own. It
// reads and writes messages and frames, answers who must echo what, and names the keys by which repeats and reversals
// find their request.
//
// It opens no connection, knows no account and decides nothing. It refuses what is malformed with a *FormatError that
// names the field and says what was expected, and never repeats what the field held: a shifted length puts card numbers
// into any field.
//
// How an acquirer's dialect differs belongs into a table like the one in elements.go, not into the readers of messages.
//
// # What finds what
//
// A request is known by its MatchKey: transmission time (7), STAN (11), acquirer (32), terminal (41), and the class of its
// type. A repeat (0121, 0401, 0421) carries the fields of what it repeats unchanged and so has the same key. A reversal
// (0400, 0420) is a request of its own, with its own 7 and 11; what it reverses stands in its field 90: type, STAN,
// transmission time, acquirer and forwarder of the original. Field 90 has no terminal: the original's is the reversal's
// own field 41. Message.OriginalKey puts this together and is equal to the MatchKey of the 0100, 0120 or 0200.
//
// Field 7 has no year, so a key comes back after a year: whoever remembers keys must forget them before.
package iso8583
