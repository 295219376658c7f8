// Package enginebench is one piece of stateful work, done by several contestants, so that they can be measured against each
// other: read a key's counter, write it with its changelog, emit the value that came in. It measures nothing itself; each
// contestant has a process of its own (Serve), and whoever starts it watches the broker.
//
// All contestants leave the same behind, which is how they are audited: in the output one record for each input, and in the
// changelog the counter of each key, 8 bytes big endian. All of them put a key on the partition where Kafka's default does.
package enginebench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Work is what a contestant is to do. All topics but the input are its own and follow from the group's name.
type Work struct {
	Brokers        []string
	Group          string
	Input          string
	Partitions     int32         // of every topic
	CommitInterval time.Duration // of those that commit transactions
	Dir            string        // for stores on disk; its own
	SideRecords    int           // Hold only: side records of each key
}

// Output is where the values go.
func (w Work) Output() string { return w.Group + "-out" }

// Table is the changelog of the counters.
func (w Work) Table() string { return w.Group + "-table" }

// Side is the engine's changelog of side records.
func (w Work) Side() string { return w.Group + "-side" }

// DeadLetters is the engine's topic of what it cannot handle.
func (w Work) DeadLetters() string { return w.Group + "-dead" }

// Topics are all that must be there before a run, the input apart.
func (w Work) Topics() []string { return []string{w.Output(), w.Table(), w.Side(), w.DeadLetters()} }

// String is the work as a contestant is told: a URL query.
func (w Work) String() string {
	return url.Values{
		"brokers": {strings.Join(w.Brokers, ",")}, "group": {w.Group}, "input": {w.Input}, "dir": {w.Dir},
		"partitions": {strconv.Itoa(int(w.Partitions))}, "commit_ms": {strconv.FormatInt(w.CommitInterval.Milliseconds(), 10)},
		"side": {strconv.Itoa(w.SideRecords)},
	}.Encode()
}

func parseWork(query string) (Work, error) {
	v, err := url.ParseQuery(query)
	if err != nil {
		return Work{}, fmt.Errorf("reading the work: %w", err)
	}
	partitions, err1 := strconv.ParseInt(v.Get("partitions"), 10, 32)
	commit, err2 := strconv.ParseInt(v.Get("commit_ms"), 10, 64)
	side, err3 := strconv.Atoi(v.Get("side"))
	if err := errors.Join(err1, err2, err3); err != nil {
		return Work{}, fmt.Errorf("reading the work: %w", err)
	}
	return Work{
		Brokers: strings.Split(v.Get("brokers"), ","), Group: v.Get("group"), Input: v.Get("input"), Dir: v.Get("dir"),
		Partitions: int32(partitions), CommitInterval: time.Duration(commit) * time.Millisecond, SideRecords: side,
	}, nil
}

// contestant does the work until ctx ends, and then ends in order: what it has done is committed.
type contestant func(ctx context.Context, w Work, r *runtimeOf) error

// Names of the contestants.
const (
	Pass          = "pass"           // franz-go, stateless, at least once
	Loop          = "loop"           // franz-go, the same work exactly once, by hand
	Engine        = "engine"         // streams/engine, state in memory, commits bounded by their interval
	EngineDefault = "engine-default" // streams/engine, state in memory, commits bounded by its default number of records too
	EngineTwo     = "engine-two"     // streams/engine with two sessions, state in memory
	EnginePlain   = "engine-plain"   // the same without compression
	GokaMemory    = "goka-memory"    // stock Goka, its defaults, storage in memory
	GokaLevelDB   = "goka-leveldb"   // stock Goka, its defaults, LevelDB
	GokaTuned     = "goka-tuned"     // stock Goka, storage in memory, acks=all, idempotent, shorter flushes, large channels

	// Others than the work above.
	Hold     = "hold"      // streams/engine, holding each input as its key's cell, with side records
	HoldDisk = "hold-disk" // the same with the side records on disk
	Consume  = "consume"   // franz-go, reading the changelogs to their end
)

func contestants() map[string]contestant {
	all := map[string]contestant{Pass: passThrough, Loop: loop, Hold: hold(false), HoldDisk: hold(true), Consume: consume}
	for name, change := range engineVariants() {
		all[name] = engineWith(change)
	}
	maps.Copy(all, gokas())
	return all
}

// Names are all contestants, sorted.
func Names() []string { return slices.Sorted(maps.Keys(contestants())) }

// Count reads a counter as every contestant writes it; nil is 0.
func Count(value []byte) (uint64, error) {
	switch len(value) {
	case 0:
		return 0, nil
	case 8:
		return binary.BigEndian.Uint64(value), nil
	default:
		return 0, fmt.Errorf("a counter of %d bytes", len(value))
	}
}
