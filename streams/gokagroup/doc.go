// Package gokagroup runs groups written for Goka exactly once, on package engine. The callbacks stay as they are; these change:
//
//	goka.DefineGroup(...)  ->  gokagroup.DefineGroup(...)
//	goka.Input, Loop       ->  gokagroup.Input, gokagroup.Loop
//	goka.Visitor           ->  gokagroup.Visitor
//	goka.NewProcessor(...) ->  gokagroup.New(graph, engine.Config{...}), then Run
//	goka.NewView(...)      ->  gokagroup.NewView(...)
//	goka.NewEmitter(...)   ->  gokagroup.NewEmitter(...)
//
// Persist, Output, Join, Lookup, codecs, goka.Context and its options stay Goka's. The graph embeds a *goka.GroupGraph, which
// goka/tester and stock goka.NewProcessor take as it is: a unit test needs no broker.
//
// No connection is opened but franz-go's.
//
// # What is different
//
//   - What a callback wrote, emitted and read of the input is committed together or not at all. So there is nothing to make
//     idempotent.
//   - A callback that panics, a record or row that its codec refuses, and misuse of the context do not stop the group: nothing
//     of the callback takes effect, and the record is parked with its key, or becomes a dead letter; see package engine.
//     Reject does the same with an error of the caller's choice.
//   - Context.Fail stops the engine, as it stops Goka's processor: the transaction is dropped, Run returns the error, and the
//     next start reads the record again. It is for what another try may mend.
//   - A visit goes through the input, and its message is a []byte, or nil: engine.Engine's Visit takes the place of
//     VisitAll. Offset and Timestamp are those of the visit's record. A key is visited once, whatever becomes of processes.
//   - Headers of SetValue and Delete are refused: of a transaction's writes to a key one record is left.
//   - The topics of several inputs, and the loop's, must have the same number of partitions; a partition of all of them is with
//     one member. Records of one topic come in their order, those of different topics in any.
//   - A new group begins at the oldest record. Goka's begins at the newest.
//
// # What is refused, and what to do instead
//
//   - goka.Inputs: it hides its callback. Write an Input for each topic.
//   - DeferCommit: it would commit the input apart from what was made of it. Finish in the callback, or keep what is left to
//     do in a side table, and go on at a later record. It is told when it is called, since a graph does not show it.
//   - Two codecs for one topic: Goka would take the last in silence.
//
// # Keys
//
// The state of a key is on the partition where Kafka's default partitioner puts the key. Goka's own default is another hash,
// FNV-1a: topics that stock Goka wrote with it must be written anew, under Hasher. Records of keys that lie elsewhere are dead
// letters; where ticks are sent to every partition on purpose, set Config.Attributable so that it leaves out their keys.
//
// # Bytes
//
// A codec must not keep, nor point into, the bytes it was given; of codecs whose values are bytes, like codec.Bytes, the values
// of tables are copied. An input record's bytes must not be changed.
//
// # What Goka has and this has not
//
// Processor.Get: a View of the group's table reads it in any process. Update callbacks, standby and recovery ahead of the
// group: state is the engine's. Lookup reads a table as far as this process knows it, as in Goka; the engine's LookupWait
// waits for a row that must be there.
//
// # Beside Goka
//
// Side tables (Side, Table) are keyed state beside the group table in the same transaction, by key or by partition; Due is an
// index of what falls due when, in event time. Engine gives the engine's own context. Under goka/tester there is no engine:
// these panic, and say so.
package gokagroup
