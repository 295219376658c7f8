package webhooks

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	railsv1 "github.com/caudalpay/caudal/schemas/rails/v1"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files")

func fullNotification() *railsv1.Notification {
	return &railsv1.Notification{
		Version: 1, Kind: dispute, Processor: "cielo", EventId: "evt_1", ReceivedAtUs: 1_790_000_000_000_000, BodySha256: bytes.Repeat([]byte{7}, 32),
		Sealed: &paymentsv1.Sealed{KeyId: "k_0011223344556677", Ciphertext: []byte("sealed")}, Type: "chargeback", Reference: "tid-1",
		OwnReference: "aboxzrswfgseg22wzts3tgbrtkvj2nb", State: railsv1.NotifiedState_NOTIFIED_STATE_CAPTURED,
		AuthorizedMinor: 1234, CapturedMinor: 1000, ReturnedMinor: 100,
		Dispute: &railsv1.NotifiedDispute{
			Id: "d1", Stage: railsv1.DisputeStage_DISPUTE_STAGE_PRE_ARBITRATION, StageWord: "SEGUNDO_CHARGEBACK", AmountMinor: 1000, Currency: "BRL",
			DeadlineUs: 1_790_000_000_000_001, ReasonCode: "4853", Tid: "t1", OccurredAtUs: 1_790_000_000_000_002,
		},
	}
}

// What was ever written stays readable.
func TestGoldenBytes(t *testing.T) {
	n := fullNotification()
	for _, m := range []proto.Message{n, n.GetDispute()} { // a field that is added has to stand above
		fields := m.ProtoReflect().Descriptor().Fields()
		set := 0
		m.ProtoReflect().Range(func(protoreflect.FieldDescriptor, protoreflect.Value) bool {
			set++
			return true
		})
		if set != fields.Len() {
			t.Errorf("%s: %d of %d fields are set", m.ProtoReflect().Descriptor().Name(), set, fields.Len())
		}
	}
	got, err := proto.MarshalOptions{Deterministic: true}.Marshal(n)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", "golden", "v1", "notification.bin")
	if *rewrite {
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	back := &railsv1.Notification{}
	if !bytes.Equal(got, want) || proto.Unmarshal(want, back) != nil || !proto.Equal(back, n) {
		t.Errorf("other bytes than before:\n%x\n%x", got, want)
	}
}
