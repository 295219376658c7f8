package clickhouse_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/embedtest"
)

// TestFullDiskLeavesNoSpoiltPart: ClickHouse itself does not notice all that a full disk refuses, and commits parts that
// nobody can read. Here a disk runs full again and again in mid-insert and mid-merge; each time it has room again all is read.
func TestFullDiskLeavesNoSpoiltPart(t *testing.T) {
	if !embedtest.MayMount(t) {
		return
	}
	disk := embedtest.SmallDisk(t, "size=300m,mode=0755")
	server := embedtest.StartClickHouse(t, filepath.Join(disk, "data"))
	embedtest.CreateClickHouseDatabase(t, server, "d")
	conn := open(t, server.Options("d"))
	exec(t, conn, "CREATE TABLE t (id UInt64, text String) ENGINE = ReplacingMergeTree ORDER BY id")
	filler := filepath.Join(disk, "filler")
	refused := 0
	for round := range 4 {
		filled := make(chan struct{})
		go func() {
			defer close(filled)
			embedtest.Fill(t, filler)
		}()
		for insert := 0; ; insert++ {
			err := conn.Exec(t.Context(), fmt.Sprintf("INSERT INTO t SELECT number + %d, toString(cityHash64(number)) FROM numbers(2000)", 2000*(1000*round+insert)))
			if err == nil {
				err = conn.Exec(t.Context(), "OPTIMIZE TABLE t")
			}
			if err != nil {
				refused++
				break
			}
		}
		<-filled
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
		var sum uint64
		read := func() error { return conn.QueryRow(t.Context(), "SELECT sum(cityHash64(*)) FROM t").Scan(&sum) }
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			err := read()
			if err == nil {
				time.Sleep(300 * time.Millisecond) // a start that is due has happened then
				err = read()
			}
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("round %d, with room again: %v", round, err)
			}
		}
	}
	if server.Restarts() == 0 || refused == 0 {
		t.Errorf("%d starts, %d refusals: the disk was never full", server.Restarts(), refused)
	}
}
