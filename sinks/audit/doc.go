// Package audit is the proof behind `caudal verify`: it reads the logs from their first record and recomputes, with a
// second and simple model (sinks/audit/model), what every command must have led to. Then it compares: the decisions with
// the model, the hash chain and numbering of the decisions, the orders to rails, the engine's table, the money in transit,
// and both stores row by row with the log. What differs is named by account, topic, partition and offset.
//
// It shares no code with the stages in processors/. It reads committed records only, and changes nothing anywhere.
//
// Nothing is taken on trust, fraud scores included: the model counts velocity from a full history in the buckets of the
// specification (6 of 10 s, 12 of 5 min, 24 of 1 h) and halves the amounts' history where the specification does (1,024).
// Not proven: that sealed data opens, what no decision carries (names, references), and that the TICK behind a thousand deadlines
// is the engine's own where a ticker has written the same behind it: that does as well.
//
// Each command has exactly one decision, or is parked, dead, or discarded. A decision out of its turn, and a discard, must
// have an operator's word on the log, under the same key: nobody else may move or drop a command.
//
// A log that is still being written is read up to where it stood at the start; records whose decision comes later count
// as undecided, and where it never rests (ticks apart) what one partition says of another may be cut off and counts as
// behind, not as different. It refuses logs that were cut: without the first command there is nothing to recompute from.
package audit
