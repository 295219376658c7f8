// Package faults decides what goes wrong between a client and the outside world, and makes it go wrong.
//
// A decision is a function of (seed, connector, order reference, operation, number of the call within these), and of nothing
// else: the same calls in another order meet the same faults. A kind's draw does not depend on the other kinds' rates.
//
// A fault is counted when it has really fallen: one "after" the effect falls only where the call had an effect, a wrong amount
// only where the answer told one. Only calls that are understood and permitted meet faults; what is refused is refused.
package faults

// Kind is a kind of fault.
type Kind string

// Kinds of calls. At most one of them falls on a call, besides latency: the first in this order whose draw hits.
const (
	TimeoutBefore Kind = "timeout_before" // no answer, and nothing was done
	TimeoutAfter  Kind = "timeout_after"  // no answer, but it was done
	ErrorBefore   Kind = "error_before"   // 500, 502, 503 or 504, and nothing was done
	ErrorAfter    Kind = "error_after"    // the same, but it was done
	ResetBefore   Kind = "reset_before"   // the connection is reset, and nothing was done
	ResetAfter    Kind = "reset_after"    // the same, but it was done
	WrongAmount   Kind = "wrong_amount"   // the answer tells another amount than what was done
	Garbage       Kind = "garbage"        // the answer's body is cut, is a page, or is noise; its status is right
	Unfinished    Kind = "unfinished"     // the answer says that it is not finished, though it is
	Latency       Kind = "latency"        // the call takes longer, by the distribution
)

// Kinds of webhooks. Each falls by itself; a lie is sent besides the truth.
const (
	HookDuplicate  Kind = "hook_duplicate"   // sent twice, with the same id
	HookReorder    Kind = "hook_reorder"     // the next one of the same order overtakes it
	HookDelay      Kind = "hook_delay"       // sent late, others pass
	HookLieUnknown Kind = "hook_lie_unknown" // one about a payment that does not exist
	HookLieAmount  Kind = "hook_lie_amount"  // one that tells another amount
	HookLieState   Kind = "hook_lie_state"   // one that tells the state before
)

func callKinds() []Kind {
	return []Kind{TimeoutBefore, TimeoutAfter, ErrorBefore, ErrorAfter, ResetBefore, ResetAfter, WrongAmount, Unfinished, Garbage}
}

// Kinds are all that take a rate.
func Kinds() []Kind {
	return append(callKinds(), HookDuplicate, HookReorder, HookDelay, HookLieUnknown, HookLieAmount, HookLieState)
}
