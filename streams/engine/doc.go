// Package engine processes the records of one Kafka consumer group exactly once, on franz-go. It is Goka's model: a group
// reads topics, keeps one value per key in a group table, and emits to other topics; package gokagroup runs Goka's own graphs
// on it.
//
// Everything a callback does (its cell in the group table, its side records, what it emits) and the input offset commit in
// one Kafka transaction, or none of it does. Stock Goka cannot do this: it commits past outputs that were never
// acknowledged, keeps local writes of work it will do again, and stops on one bad record.
//
// # Records
//
// Each partition has a goroutine that calls back for its records one after the other, in the order of the log; partitions
// run beside each other. Where a group has several inputs (Config.MoreInputs) a partition of all of them is one partition here:
// it moves as a whole, its state knows how far each has come, and records of different topics come in any order. A poll is
// handed over per partition, not per record. When a transaction commits, all callbacks have returned: none sees two
// transactions.
//
// # Members
//
// Any number of processes share a group's partitions, each under an InstanceID and a TransactionalID of its own. They join
// and leave while the others work:
//
//   - An arriving partition is restored beside the running ones, up to a fence record that was committed first, and starts
//     when its state has applied exactly the offset that the group assigned it at. A partition that stays is never restored
//     again, and one that comes back as it was left is not either.
//   - Ownership follows from those offsets, not from the client's callbacks: one that is missed does no harm.
//   - An orderly end leaves the group, so that the others take over at once. After an error or a death the partitions wait,
//     for the next start under the same ids or the end of the session, whichever comes first.
//   - Who was put out of the group while asleep cannot commit: neither the producer's epoch nor the generation is current.
//
// With Config.Standby a member also follows the changelogs of what the others have, so that a partition that comes to it has
// only the last of them to be read. It is restored and compared as any other.
//
// Where partitions move to another process only their goroutines fall idle: there is nothing to stop and build again.
//
// # State
//
// A key has one cell (the group table) and any number of side records, by kind and id. Side records have two scopes: the
// record's key, or the partition. Both are restored from their changelogs when their partition arrives, and are read through
// an overlay of what the open transaction wrote.
//
// Without Config.Dir both live in memory, in blocks the garbage collector does not go through. With it each partition has a
// database in that folder: side records are read from there, cells are kept there as well as in memory, and after each
// confirmed commit it takes in, in one batch, what the transaction wrote and the positions in the changelogs that it
// reaches. It is never synced and never the truth: a restore takes it for a start and reads the changelogs from those
// positions on, and only where nothing speaks against it (checkpoint.go says what is asked); else it is removed, with a line
// in the log that says why, and everything is read. What a partition that moved away leaves there serves its return, and is
// removed once it is too old for that. An error of the disk ends the run before anything that was decided on it commits.
//
// # Other tables, and visits
//
// Lookups are tables that every process follows whole; of joined tables, partitioned like the input, it follows the
// partitions it has. Both are read committed and as far as they are known: what a callback made of a row is in what it
// wrote, and is not asked again. A View is such a table for whoever only reads.
//
// A visit calls back for every key of the group, piece by piece, through records of the input: as exact as the rest, and
// never across a commit.
//
// # What may go wrong in a callback
//
//   - It returns an error or panics: nothing it did takes effect. If the key is attributable the key is parked: the
//     record is stored beside the key's state and every later record of the key queues behind it, uncalled, in order.
//     Otherwise the record goes to the dead letters.
//   - It returns Retry(err): the trouble is transient. The transaction is dropped and Run returns, so the process starts
//     again and the record is tried again.
//   - It runs longer than Config.CallbackTimeout: Run returns ErrCallbackDeadline and the process must end, because a
//     goroutine that does not return cannot be stopped.
//
// # The way out of parking
//
// An operator's word is a record of the input, under the key it concerns, told from others by its header ControlHeader; so
// it has its place in the order of the partition, and takes effect exactly once like everything else. Redrive hands the
// parked records of the key to the callback in their order: the context shows each as it was read first, offset and headers
// included. The first that still fails stays parked, with all behind it. Discard sends one record to the dead letters, with
// who did it and why, and redrives the rest. A word about a key that is not parked does nothing; a malformed one is a dead
// letter. Words of a partition are done one after the other, in steps of bounded size: each step is a record that the
// engine writes to Config.Input, in the transaction of the step before it. So what is handed over where follows from the
// input alone, whatever becomes of transactions and processes. What came of a word stands under HandledKind.
//
// The engine cannot know who wrote a record: whoever may write to the input may speak. Callbacks may not.
//
// # The form of the state
//
// What the engine writes into the changelogs has a version, recorded beside the state of each partition (GraphKind) and raised
// when a program of before could not read it, or would read something else. A newer one is refused. To raise it: raise
// stateVersion and let checkGraph take the versions that restores can still read; convert what is of an older form where a
// restore applies it; have TestFormatIsTheRecordedOne record testdata/state-N.log, and keep the files of all versions before:
// TestStateOfFormerFormats starts on each. Parked records and acts carry versions of their own, since dead letters and
// operators' tools outlive the state they come from. There is no way back: all members must be of the new release before one
// writes the new form.
//
// # When Run returns
//
// A transaction that is known to be aborted ends nothing: what it wrote is dropped, the offsets are read again, and the work
// goes on with the state of the last commit. Run returns nil only after its context ended and the last transaction is
// committed. Every error means: end the process and start it again with the same TransactionalID and InstanceID; the start
// fences what is left of the predecessor, and each partition is restored and the offset applied to its state compared with
// the group's committed one. Where there are several members in the process (Config.Sessions), one that fails does the same
// by itself, and Run goes on; it returns where something hangs or another start would be of no use. A TornError says that the
// broker lost part of a transaction; it needs a repair, not another start.
//
// # What it refuses
//
// Brokers without transaction.version 2 (Kafka 4.0), topics with another partition count, state of an unknown version or
// written under another graph (Config.AcceptGraph takes it over), a Dir that another process holds, records without a key
// (they are dead letters), and cell writes under a key of another partition.
package engine
