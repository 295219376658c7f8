package engine

import (
	"errors"
	"fmt"
)

// ErrCallbackDeadline means a callback ran longer than Config.CallbackTimeout. Its goroutine still runs: end the process.
var ErrCallbackDeadline = errors.New("callback over its deadline")

// ErrUnknownCommit means that it is not known whether the last transaction took effect. The next start finds out.
var ErrUnknownCommit = errors.New("outcome of the commit is unknown")

// RetryError is a callback's transient failure, made by Retry.
type RetryError struct{ Err error }

func (e *RetryError) Error() string { return "transient: " + e.Err.Error() }
func (e *RetryError) Unwrap() error { return e.Err }

// Retry marks a callback's error as transient: instead of parking the key the engine drops the transaction and Run returns.
func Retry(err error) error { return &RetryError{Err: err} }

// TornError means that the state of a partition and the group's committed offset do not belong to the same transaction:
// the broker lost part of a commit, or somebody reset offsets or topics.
type TornError struct {
	Group, Topic string
	Partition    int32
	Applied      int64 // next input offset according to the restored state, -1 if none
	Committed    int64 // the group's committed offset, -1 if none
}

func (e *TornError) Error() string {
	return fmt.Sprintf("torn commit: partition %d of %s: the state has applied up to offset %d but group %s committed %d; "+
		"the partition must be repaired before the group can start", e.Partition, e.Topic, e.Applied, e.Group, e.Committed)
}
