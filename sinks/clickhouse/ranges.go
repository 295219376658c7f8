package clickhouse

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	chdriver "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// ErrNotOwner says that another sink has taken the next range.
var ErrNotOwner = errors.New("another sink writes this store")

// claim is a recorded range: what the insert with its number holds.
type claim struct {
	seq         uint64
	owner       string
	first, next map[int32]int64
}

// row is a claim as the store takes it.
type row struct {
	Sink       string  `json:"sink"`
	Seq        uint64  `json:"seq"`
	Owner      string  `json:"owner"`
	Partitions []int32 `json:"partitions"`
	First      []int64 `json:"first"`
	Next       []int64 `json:"next"`
}

// sinkName is the sink in the store's rows: there is one.
const sinkName = "all"

// lastClaim is the newest range, with seq 0 where there is none.
func lastClaim(ctx context.Context, conn driver.Conn) (claim, error) {
	return readClaim(conn.QueryRow(ctx, `SELECT seq, owner, partitions, first, next FROM sink_ranges
WHERE sink = ? ORDER BY seq DESC LIMIT 1`, sinkName))
}

func readClaim(answer driver.Row) (claim, error) {
	c := claim{first: map[int32]int64{}, next: map[int32]int64{}}
	var partitions []int32
	var first, next []int64
	err := answer.Scan(&c.seq, &c.owner, &partitions, &first, &next)
	if errors.Is(err, sql.ErrNoRows) {
		return c, nil
	}
	if err != nil {
		return c, fmt.Errorf("reading a recorded range: %w", err)
	}
	for i, p := range partitions {
		c.first[p], c.next[p] = first[i], next[i]
	}
	return c, nil
}

// record takes the claim's number, durably, or ends with ErrNotOwner where another sink has it.
// The insert's token is the number, so the store keeps the first of two and drops the second without a word: who has it
// is read back. Our own earlier attempt, thought to be lost, can be the first as well: then this session ends and the
// next one repeats what is recorded. Nobody has it where the store died between the token and the row: the next attempt
// has another token, again the same for all sinks.
func record(ctx context.Context, conn driver.Conn, c claim) error {
	r := row{Sink: sinkName, Seq: c.seq, Owner: c.owner, Partitions: slices.Sorted(maps.Keys(c.next))}
	for _, p := range r.Partitions {
		r.First, r.Next = append(r.First, c.first[p]), append(r.Next, c.next[p])
	}
	body, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encoding a range: %w", err)
	}
	for attempt := range attemptsMost {
		if err := conn.InsertFormat(exactlyOnce(ctx, token("range", c.seq, attempt)), "JSONEachRow",
			"INSERT INTO sink_ranges (sink, seq, owner, partitions, first, next)", bytes.NewReader(body)); err != nil {
			return fmt.Errorf("recording a range: %w", err)
		}
		got, err := readClaim(conn.QueryRow(ctx, `SELECT seq, owner, partitions, first, next FROM sink_ranges
WHERE sink = ? AND seq >= ? ORDER BY seq LIMIT 1`, sinkName, c.seq))
		if err != nil {
			return err
		}
		if got.seq != 0 {
			return c.compare(got)
		}
	}
	return fmt.Errorf("recording range %d: it is not there after %d inserts", c.seq, attemptsMost)
}

// compare tells why the range that stands is not this one.
func (c claim) compare(got claim) error {
	if got.seq != c.seq || got.owner != c.owner {
		return fmt.Errorf("%w: range %d is %q's", ErrNotOwner, c.seq, got.owner)
	}
	if !maps.Equal(got.first, c.first) || !maps.Equal(got.next, c.next) {
		return fmt.Errorf("recording range %d: an earlier attempt stands", c.seq)
	}
	return nil
}

// token names an insert: the same for whoever makes it. A further attempt has one of its own.
func token(what string, seq uint64, attempt int) string {
	name := fmt.Sprintf("%s/%s/%d", what, sinkName, seq)
	if attempt == 0 {
		return name
	}
	return fmt.Sprintf("%s/%d", name, attempt)
}

// exactlyOnce makes an insert synchronous and drops it where its token is known, in the table and behind its views.
// A range holds an identity once and the view sums each block itself, so replacing and summing within the block, as
// optimize_on_insert does, would find nothing: it took a tenth of the store's processor time.
func exactlyOnce(ctx context.Context, token string) context.Context {
	return chdriver.Context(ctx, chdriver.WithSettings(chdriver.Settings{
		"insert_deduplication_token":                         token,
		"insert_deduplicate":                                 1,
		"deduplicate_blocks_in_dependent_materialized_views": 1,
		"async_insert":                                       0,
		"optimize_on_insert":                                 0,
	}))
}
