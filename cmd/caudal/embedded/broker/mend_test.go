package broker_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/broker"
	"github.com/caudalpay/caudal/cmd/caudal/embedded/embedtest"
)

// crashed is the folder as a kill -9 of the broker would leave it now.
func crashed(t *testing.T, data string) string {
	t.Helper()
	image := filepath.Join(t.TempDir(), "broker")
	if err := os.CopyFS(image, os.DirFS(data)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(image, "address")); err != nil { // the first broker still has it
		t.Fatal(err)
	}
	return image
}

// cutLastBatch takes the last batch off a partition: the marker that a broker died before.
func cutLastBatch(t *testing.T, image, partition string) {
	t.Helper()
	segment := filepath.Join(image, "logs", "partitions", partition, "0")
	raw, err := os.ReadFile(segment + ".dat")
	if err != nil {
		t.Fatal(err)
	}
	last := 0
	for at := 0; at < len(raw); at += 12 + int(binary.BigEndian.Uint32(raw[at+8:])) {
		last = at
	}
	index, err := os.Stat(segment + ".idx")
	if err == nil {
		err = errors.Join(os.Truncate(segment+".dat", int64(last)), os.Truncate(segment+".idx", index.Size()-15))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Invariant: a commit whose markers were written in part is a commit in every partition after the next start.
func TestTornCommitIsCompleted(t *testing.T) {
	data := t.TempDir()
	server := embedtest.StartBroker(t, data)
	createTopic(t, server, "t")
	tx := client(t, server, kgo.TransactionalID("x"))
	commit(t, tx, "t", 0, 200)
	commit(t, tx, "t", 200, 400)
	image := crashed(t, data)
	cutLastBatch(t, image, "t-1")
	cutLastBatch(t, image, "t-3")
	again := embedtest.StartBroker(t, image)
	committed(t, again, "t", 400)
	commit(t, client(t, again, kgo.TransactionalID("x")), "t", 400, 600)
	committed(t, again, "t", 600)
	committed(t, embedtest.StartBroker(t, crashed(t, image)), "t", 600) // and read from its log again
}

// Invariant: a transaction without any commit marker is aborted for ever; the next commit of the same producer does not
// carry it along, not even when the log is read again after another kill.
func TestOpenTransactionStaysAborted(t *testing.T) {
	data := t.TempDir()
	server := embedtest.StartBroker(t, data)
	createTopic(t, server, "t")
	commit(t, client(t, server, kgo.TransactionalID("x")), "t", 0, 200)
	image := crashed(t, data)
	for p := range 4 {
		cutLastBatch(t, image, fmt.Sprintf("t-%d", p))
	}
	again := embedtest.StartBroker(t, image)
	commit(t, client(t, again, kgo.TransactionalID("x")), "t", 200, 300)
	committed(t, again, "t", 100)
	committed(t, embedtest.StartBroker(t, crashed(t, image)), "t", 100)
}

// Invariant: a producer whose transaction the broker's death cut in two cannot commit the second half.
func TestProducerOfACutTransactionIsFenced(t *testing.T) {
	server := embedtest.StartBroker(t, t.TempDir())
	createTopic(t, server, "t")
	tx := client(t, server, kgo.TransactionalID("x"))
	if err := tx.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	for n := range 100 {
		tx.Produce(t.Context(), record("t", n), nil)
	}
	if err := tx.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	killBroker(t, server)
	_ = tx.ProduceSync(t.Context(), record("t", 100)) // may be refused, or never be committed
	if err := tx.EndTransaction(t.Context(), kgo.TryCommit); err == nil {
		t.Error("half a transaction was committed")
	}
	other := client(t, server, kgo.TransactionalID("y"))
	commit(t, other, "t", 1000, 1010)
	committed(t, server, "t", 10)
}

// Invariant: below its reserve of disk the broker takes no records, says so, and takes them again when there is room.
func TestDiskReserve(t *testing.T) {
	data := t.TempDir()
	server, err := broker.Start(t.Context(), broker.Config{Data: data})
	if err != nil {
		t.Fatal(err)
	}
	createTopic(t, server, "t")
	if err := errors.Join(server.Ready(), server.Stop(t.Context())); err != nil {
		t.Fatal(err)
	}
	full, err := broker.Start(t.Context(), broker.Config{Data: data, ReserveBytes: 1 << 60})
	if err != nil {
		t.Fatal(err)
	}
	if full.Ready() == nil {
		t.Error("ready without room")
	}
	err = client(t, full, kgo.RecordDeliveryTimeout(time.Second)).ProduceSync(t.Context(), record("t", 1)).FirstErr()
	if err == nil || !errors.Is(err, kgo.ErrRecordTimeout) && !errors.Is(err, kerr.KafkaStorageError) {
		t.Errorf("a record without room was answered %v", err)
	}
	if err := full.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	roomy := embedtest.StartBroker(t, data)
	commit(t, client(t, roomy, kgo.TransactionalID("x")), "t", 0, 10)
	committed(t, roomy, "t", 10)
}
