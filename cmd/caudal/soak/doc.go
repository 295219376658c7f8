// Package soak lets an installation run for long against rails that fail, kills it on the way, and compares its books with the
// rails' own afterwards. It starts `caudal up` and the simulator as programs of their own, sends payments by card, bank and book
// through the front door, captures, voids and refunds what comes of them, and takes each figure from what it did not write
// itself: the decisions on the log and the simulator's books.
package soak
