// Package soak lets an installation run for long against rails that fail, kills it whole and in parts on the way, and compares its
// books with what others know of them afterwards. It starts `caudal up`, the simulator and an acquirer as programs of their own,
// sends payments by card, bank and book through the front door, captures, voids, refunds and disputes what comes of them, and takes
// each figure from what it did not write itself: the decisions on the log, the simulator's books, the acquirer's model of each card.
package soak
