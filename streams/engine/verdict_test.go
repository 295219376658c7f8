package engine

import (
	"errors"
	"hash"
	"hash/fnv"
	"testing"
	"time"
)

func bareSession(t *testing.T) *session {
	t.Helper()
	e, err := New(Config{
		Brokers: []string{"127.0.0.1:1"}, Group: "g", Input: "in", Table: "g-table", Side: "g-side", DeadLetters: "in.dead",
		Partitions: 2, TransactionalID: "tx", InstanceID: "worker", Hasher: func() hash.Hash32 { return fnv.New32a() },
	}, func(*Context, []byte) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	return newSession(e, &member{
		cfg: &e.cfg, parts: []*partition{newPartition(0, &e.cfg, e.callback, nil), newPartition(1, &e.cfg, e.callback, nil)}, joins: newJoins(nil),
	})
}

// TestVerdict: what a restore found is torn only if the group stood still and disagrees; else somebody else is at work.
func TestVerdict(t *testing.T) {
	const fine, moved, torn = "fine", "moved", "torn"
	for _, c := range []struct {
		at, before, after, applied int64
		want                       string
	}{
		{at: -1, before: -1, after: -1, applied: -1, want: fine},
		{at: 7, before: 7, after: 7, applied: 7, want: fine},
		{at: 7, before: 7, after: 9, applied: 9, want: moved},
		{at: 7, before: 7, after: 9, applied: 7, want: moved},
		{at: 7, before: 9, after: 9, applied: 9, want: moved}, // the assignment is an old one
		{at: 7, before: 7, after: 7, applied: 9, want: torn},
		{at: 7, before: 7, after: 7, applied: -1, want: torn},
		{at: 7, before: 9, after: 9, applied: 7, want: torn}, // an old state is not good because an old assignment agrees
	} {
		s := bareSession(t)
		p := s.parts[0]
		p.applied = offsets{c.applied}
		err := s.verdict(arrival{part: p, at: offsets{c.at}}, offsets{c.before}, offsets{c.after})
		got := fine
		if _, ok := errors.AsType[*TornError](err); ok {
			got = torn
		} else if errors.Is(err, errMoved) {
			got = moved
		} else if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

// TestStateOfWhatDoesNotComeBackIsFreed, but not sooner than it could, and not while the restorer has it.
func TestStateOfWhatDoesNotComeBackIsFreed(t *testing.T) {
	for name, c := range map[string]struct {
		place place
		freed bool
	}{
		"gone for long": {place{known: true, leftAt: time.Now().Add(-time.Minute)}, true},
		"just gone":     {place{known: true, leftAt: time.Now()}, false},
		"restoring":     {place{known: true, restoring: true, leftAt: time.Now().Add(-time.Minute)}, false},
		"running":       {place{known: true, stage: running}, false},
		"arriving":      {place{known: true, stage: arriving}, false},
	} {
		s := bareSession(t)
		s.places[0] = c.place
		s.parts[0].applied = offsets{7}
		s.parts[0].cells.base.set("key", []byte("value"))
		s.forgetAway()
		if freed := !s.parts[0].cells.base.has("key"); freed != c.freed || s.places[0].known == c.freed {
			t.Errorf("%s: freed is %v, known is %v", name, freed, s.places[0].known)
		}
	}
}
