// Package decisionlog takes payments.decisions.v1 into the stores: committed records only, in order per partition, from
// the positions that the store itself remembers. It knows no consumer group: who owns a partition is settled by the
// store's own fence. It refuses to skip anything: what cannot be decoded, and a log shorter than the store, end the run.
package decisionlog
