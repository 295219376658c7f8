package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/schemas/topics"
	"github.com/caudalpay/caudal/sinks/audit"
)

// Invariant: an account that is parked works again once what parked it is discarded, with everything that waited decided,
// and the books say what became of each command.
func TestParkedAccountWorksAgain(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	h := startHouse(t, data)
	api := h.api(t)
	accounts := h.openAccounts(t, api, 10)
	sick := accounts[0]
	stopFlood := h.flooded(api, accounts[1:])
	client, err := kgo.NewClient(kgo.SeedBrokers(h.addresses().Brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	poison := &kgo.Record{
		Topic: topics.Commands, Partition: topics.Partition([]byte(sick), topics.PartitionsDefault), Key: []byte(sick), Value: []byte("\xff\xffnonsense"),
	}
	if err := client.ProduceSync(t.Context(), poison).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if status, body := h.pay(t, api, sick, "behind"); status != http.StatusAccepted {
		t.Errorf("a payment behind a parked one was answered %d %s", status, body)
	}
	dlq := func(args ...string) (string, error) {
		out, err := caudal(t, append([]string{"dlq", "--data", data}, args...)...).CombinedOutput()
		return string(out), err
	}
	says := func(failed bool, words string, args ...string) {
		t.Helper()
		if out, err := dlq(args...); (err != nil) != failed || !strings.Contains(out, words) {
			t.Errorf("dlq %v: no %q in %v\n%s", args, words, err, out)
		}
	}
	says(false, sick, "list")
	says(false, "ffff6e6f6e73656e7365", "show", sick)
	says(true, fmt.Sprintf("caudal dlq discard %s %d --reason WHY", sick, poison.Offset), "redrive", sick, "--reason", "try")
	says(false, `"left": 0`, "discard", sick, fmt.Sprint(poison.Offset), "--reason", "nonsense", "-o", "json")
	if status, body := h.pay(t, api, sick, "after"); status != http.StatusCreated {
		t.Errorf("a payment after the discard was answered %d %s", status, body)
	}
	// The caller who got no answer repeats, and finds what was decided.
	if status, body := h.pay(t, api, sick, "behind"); status != http.StatusOK && status != http.StatusCreated {
		t.Errorf("the payment that had waited is repeated, and answered %d %s", status, body)
	}
	for metric, want := range map[string]float64{
		"caudal_streams_parked_keys": 0, "caudal_streams_discarded_records_total": 1, "caudal_streams_redriven_records_total": 1, "caudal_streams_dead_letters_total": 0,
	} {
		if got := h.metric(metric); got != want {
			t.Errorf("%s is %v, want %v", metric, got, want)
		}
	}
	acknowledged := stopFlood()
	h.settle(t, api, accounts)
	h.stored(acknowledged)
	api.Close()
	h.stop()

	out, err := caudal(t, "verify", "--data", data, "-o", "json").Output()
	var report audit.Report
	if decodeErr := json.Unmarshal(out, &report); err != nil || decodeErr != nil || report.Parked != 0 || report.Dead != 0 || report.Discarded != 1 {
		t.Fatalf("%v %v\n%s", err, decodeErr, out)
	}
	says(false, "nonsense", "list") // of an installation that is not up, too
	says(true, "caudal up --data "+data, "redrive", sick, "--reason", "nobody is there")
}
