package engine

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"

	"github.com/caudalpay/caudal/schemas/topics"
)

// field draws strings that would collide if a side key only joined its parts.
func field() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.SampledFrom([]string{"", "a", "aa", "\x00", "\x01a", "a\x01", "|", strings.Repeat("k", 200)}),
		rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 6), func(b []byte) string { return string(b) }),
	)
}

func sideKey() *rapid.Generator[SideKey] {
	return rapid.Custom(func(t *rapid.T) SideKey {
		k := SideKey{Scope: rapid.SampledFrom([]Scope{ScopeKey, ScopePartition}).Draw(t, "scope"), Kind: field().Draw(t, "kind"), ID: field().Draw(t, "id")}
		if k.Scope == ScopeKey {
			k.Key = field().Draw(t, "key")
		}
		return k
	})
}

func TestSideKeysDecodeAndNeverCollide(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := sideKey().Draw(t, "a"), sideKey().Draw(t, "b")
		got, err := DecodeSideKey(a.Encode())
		if err != nil || got != a {
			t.Fatalf("%q decodes to %q: %v", a, got, err)
		}
		if (string(a.Encode()) == string(b.Encode())) != (a == b) {
			t.Fatalf("%q and %q collide", a, b)
		}
		b = a
		b.ID = field().Draw(t, "other id")
		if strings.Compare(string(a.Encode()), string(b.Encode())) != strings.Compare(a.ID, b.ID) {
			t.Fatalf("%q and %q do not sort by id", a, b)
		}
		if group := sideGroup(string(a.Encode())); group != string([]byte{byte(a.Scope)})+a.Kind {
			t.Fatalf("%q is indexed as %q", a, group)
		}
	})
}

func TestBrokenSideKeysAreRefused(t *testing.T) {
	for _, b := range []string{"", "\x00", "\x03", "\x01", "\x01\x05abc", "\x02\x01", "\x02\x01k\x02a", "\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"} {
		if k, err := DecodeSideKey([]byte(b)); err == nil {
			t.Errorf("%q decodes to %q", b, k)
		}
	}
	if _, err := DecodeSideKey([]byte(fenceKey)); err != ErrFence { //nolint:errorlint // the very value is promised
		t.Errorf("the fence decodes with %v", err)
	}
}

func TestGoldenSideKey(t *testing.T) {
	k := SideKey{Scope: ScopeKey, Key: "acc_1", Kind: "pay", ID: "p9"}
	if got := string(k.Encode()); got != "\x02\x05acc_1\x03payp9" {
		t.Errorf("side key is %q: the layout is durable and must not change", got)
	}
}

func TestParkedRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Parked{
			Topic: field().Draw(t, "topic"), Partition: rapid.Int32Min(0).Draw(t, "partition"), Offset: rapid.Int64Min(0).Draw(t, "offset"),
			Timestamp: time.UnixMilli(rapid.Int64Range(-1, 1<<42).Draw(t, "time")), Reason: field().Draw(t, "reason"),
			ValueLeft: rapid.Bool().Draw(t, "left"),
		}
		if rapid.Bool().Draw(t, "has value") {
			p.Value = rapid.SliceOf(rapid.Byte()).Draw(t, "value")
		}
		for range rapid.IntRange(0, 3).Draw(t, "headers") {
			p.Headers = append(p.Headers, kgo.RecordHeader{Key: field().Draw(t, "name"), Value: []byte(field().Draw(t, "header"))})
		}
		got, err := DecodeParked(EncodeParked(p))
		if err != nil {
			t.Fatal(err)
		}
		sameHeaders := slices.EqualFunc(got.Headers, p.Headers, func(a, b kgo.RecordHeader) bool {
			return a.Key == b.Key && string(a.Value) == string(b.Value)
		})
		if got.Topic != p.Topic || got.Partition != p.Partition || got.Offset != p.Offset || !got.Timestamp.Equal(p.Timestamp) ||
			got.Reason != p.Reason || got.ValueLeft != p.ValueLeft || !sameHeaders ||
			(got.Value == nil) != (p.Value == nil) || string(got.Value) != string(p.Value) {
			t.Fatalf("%+v became %+v", p, got)
		}
	})
}

func FuzzDecodeParked(f *testing.F) {
	f.Add(EncodeParked(Parked{Topic: "t", Reason: "r", Value: []byte("v"), Headers: []kgo.RecordHeader{{Key: "a"}}}))
	f.Fuzz(func(_ *testing.T, b []byte) { // must not panic, whatever lies in the topic
		_, _ = DecodeParked(b)
		_, _ = DecodeSideKey(b)
	})
}

// model is the store said simply: three maps.
type model struct{ base, transaction, callback map[string]string }

func (m *model) put(key, value string) { m.callback[key] = value }
func (m *model) read() map[string]string {
	all := maps.Clone(m.base)
	for _, layer := range []map[string]string{m.transaction, m.callback} {
		for k, v := range layer {
			if v == "" {
				delete(all, k)
			} else {
				all[k] = v
			}
		}
	}
	return all
}

func TestStoreBehavesLikeThreeMaps(t *testing.T) {
	t.Run("memory", rapid.MakeCheck(func(t *rapid.T) { behavesLikeThreeMaps(t, newMemory(sideGroup)) }))
	t.Run("disk", rapid.MakeCheck(func(t *rapid.T) {
		f := memFolder(t)
		d, err := openDisk(f.of(0), f)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := errors.Join(d.err(), d.close()); err != nil {
				t.Fatal(err)
			}
		}()
		behavesLikeThreeMaps(t, space{d, sideSpace})
	}))
}

func behavesLikeThreeMaps(t *rapid.T, b base) {
	s := newStore(b, sideGroup)
	m := &model{base: map[string]string{}, transaction: map[string]string{}, callback: map[string]string{}}
	key := rapid.Custom(func(t *rapid.T) string {
		return string(SideKey{
			Scope: ScopeKey, Key: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "key"),
			Kind: rapid.SampledFrom([]string{"x", "y"}).Draw(t, "kind"), ID: rapid.SampledFrom([]string{"0", "1", "2", "3"}).Draw(t, "id"),
		}.Encode())
	})
	endCallback := func(keep bool) {
		if keep {
			s.keep()
			maps.Copy(m.transaction, m.callback)
		} else {
			s.revert()
		}
		clear(m.callback)
	}
	t.Repeat(map[string]func(*rapid.T){
		"put": func(t *rapid.T) {
			k, v := key.Draw(t, "k"), rapid.SampledFrom([]string{"1", "2"}).Draw(t, "v")
			s.put(k, []byte(v))
			m.put(k, v)
		},
		"delete": func(t *rapid.T) { k := key.Draw(t, "k"); s.put(k, nil); m.put(k, "") },
		"keep":   func(*rapid.T) { endCallback(true) },
		"revert": func(*rapid.T) { endCallback(false) },
		"commit": func(*rapid.T) {
			endCallback(true)
			s.commit()
			m.base = m.read()
			clear(m.transaction)
		},
		"rollback": func(*rapid.T) {
			endCallback(true)
			s.rollback()
			clear(m.transaction)
		},
		"scan": func(t *rapid.T) {
			compareScan(t, s, m, SideKey{Scope: ScopeKey, Key: "a", Kind: rapid.SampledFrom([]string{"x", "y"}).Draw(t, "kind")})
		},
		"": func(t *rapid.T) {
			want := m.read()
			for _, k := range []string{"a", "b"} {
				for _, id := range []string{"0", "1", "2", "3"} {
					full := string(SideKey{Scope: ScopeKey, Key: k, Kind: "x", ID: id}.Encode())
					if got := string(s.get(full)); got != want[full] {
						t.Fatalf("%q is %q, want %q", full, got, want[full])
					}
				}
			}
		},
	})
}

func compareScan(t *rapid.T, s *store, m *model, of SideKey) {
	ids := []string{"", "0", "1", "2", "3"}
	from, to := rapid.SampledFrom(ids).Draw(t, "from"), rapid.SampledFrom(ids).Draw(t, "to")
	limit := rapid.IntRange(0, 2).Draw(t, "limit")
	var want []Entry
	all := m.read()
	for _, id := range ids[1:] {
		of.ID = id
		v, ok := all[string(of.Encode())]
		if ok && id >= from && (to == "" || id < to) && (limit == 0 || len(want) < limit) {
			want = append(want, Entry{ID: id, Value: []byte(v)})
		}
	}
	of.ID = ""
	got := s.scan(scanRange{prefix: string(of.Encode()), fromID: from, toID: to, limit: limit})
	if !slices.EqualFunc(got, want, func(a, b Entry) bool { return a.ID == b.ID && string(a.Value) == string(b.Value) }) {
		t.Fatalf("scan of %q from %q to %q gives %q, want %q", of, from, to, got, want)
	}
	for group, w := range s.written {
		w.Scan(func(k string) bool {
			if _, ok := s.overlay[k]; !ok {
				t.Fatalf("group %q keeps %q, which was not written", group, k)
			}
			return true
		})
	}
	if m, ok := s.base.(*memory); ok {
		for group, ix := range m.indexes {
			ix.Scan(func(k string) bool {
				if !m.has(k) {
					t.Fatalf("index %q keeps %q, which is gone", group, k)
				}
				return true
			})
		}
	}
}

// TestKeysLandAlike: the engine's hash, franz-go's default partitioner and the explicit partition agree on 20,000 keys.
func TestKeysLandAlike(t *testing.T) {
	for _, n := range []int32{4, 16, 32} {
		p := newPartition(0, &Config{Partitions: n, Hasher: topics.Hasher, Logger: slog.New(slog.DiscardHandler)}, nil, nil)
		produce := newPartitioner().ForTopic("t")
		for i := range 20_000 {
			r := &kgo.Record{Key: fmt.Appendf(nil, "acc_%d", i), Partition: byKey}
			if home, got := p.home(r.Key), produce.Partition(r, int(n)); int(home) != got {
				t.Fatalf("key %s of %d partitions: home %d, produced to %d", r.Key, n, home, got)
			}
			r.Partition = int32(i) % n
			if got := produce.Partition(r, int(n)); got != int(r.Partition) {
				t.Fatalf("explicit partition %d became %d", r.Partition, got)
			}
		}
	}
}
