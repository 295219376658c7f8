package topology

import (
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/processors/payment"
	"github.com/caudalpay/caudal/schemas/topics"
)

// TestAnyProducerLandsRight compares three ways to a partition: ours, Kafka's default as franz-go has it, and Goka's hasher.
func TestAnyProducerLandsRight(t *testing.T) {
	for _, partitions := range []int{1, 3, 16, 32} {
		kafka := kgo.StickyKeyPartitioner(nil).ForTopic(topics.Commands)
		for i := range 20_000 {
			key := string(payment.AccountIDFrom("t", "m", fmt.Sprint(i)))
			switch i % 4 {
			case 1:
				key = string(payment.CustomerKeyFrom("t", "m", fmt.Sprint(i)))
			case 3:
				key = strings.Repeat("k", i%7) + fmt.Sprint(i) // every length modulo 4
			}
			ours := int(topics.Partition([]byte(key), int32(partitions)))
			if want := kafka.Partition(&kgo.Record{Key: []byte(key)}, partitions); ours != want {
				t.Fatalf("key %q of %d partitions: %d, Kafka's default puts it on %d", key, partitions, ours, want)
			}
			h := topics.Hasher()
			if _, err := h.Write([]byte(key)); err != nil {
				t.Fatal(err)
			}
			if got := int(int32(h.Sum32())) % partitions; got != ours {
				t.Fatalf("key %q of %d partitions: Goka's hasher puts it on %d, not %d", key, partitions, got, ours)
			}
		}
	}
}
