package kafkad

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// parentOf makes this test binary start a cluster in the folder it names, and wait for its own end.
const parentOf = "CAUDAL_KAFKAD_TEST_PARENT_OF"

func TestMain(m *testing.M) {
	if dir := os.Getenv(parentOf); dir != "" {
		_, err := Start(context.Background(), Config{Dir: dir, Brokers: 1, ShortLived: true})
		fmt.Println("started", err)
		_, _ = io.Copy(io.Discard, os.Stdin)
	}
	os.Exit(m.Run())
}

// needKafka: the tests of a machine without Java must pass.
func needKafka(t *testing.T) {
	t.Helper()
	if os.Getenv("CAUDAL_TEST_KAFKA") == "" {
		t.Skip("starts Apache Kafka: make test-kafka")
	}
}

func TestNoBrokerOutlivesItsParent(t *testing.T) {
	needKafka(t)
	dir := filepath.Join(t.TempDir(), "kafka")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), parentOf+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		_, err = cmd.StdinPipe()
	}
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "started <nil>\n" {
		t.Fatalf("%q, %v", line, err)
	}
	if addrs, err := Running(dir); err != nil || len(addrs) != 1 {
		t.Fatalf("running: %v, %v", addrs, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	for until := time.Now().Add(10 * time.Second); ; time.Sleep(pollEvery) {
		addrs, err := Running(dir)
		if err != nil {
			t.Fatal(err)
		}
		if addrs == nil {
			return
		}
		if time.Now().After(until) {
			_, _ = Down(t.Context(), dir, os.Stderr) // so that this test leaves none either
			t.Fatal("a broker outlives its parent")
		}
	}
}

// TestUpAndDown: a cluster that stays is found by its folder, ended by it, and comes back with what it held.
func TestUpAndDown(t *testing.T) {
	needKafka(t)
	cfg := Config{Dir: filepath.Join(t.TempDir(), "kafka"), Brokers: 1, ShortLived: true, Stay: true}
	var first []string
	for round := range 2 {
		c, err := Start(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Kill)
		addrs, err := Running(cfg.Dir)
		if err != nil || !slices.Equal(addrs, c.Addrs()) {
			t.Fatalf("running: %v, %v; started %v", addrs, err, c.Addrs())
		}
		client, err := kgo.NewClient(kgo.SeedBrokers(addrs...))
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		admin := kadm.NewClient(client)
		if round == 0 {
			first = addrs
			if _, err := admin.CreateTopic(t.Context(), 3, 1, nil, "kept"); err != nil {
				t.Fatal(err)
			}
		}
		details, err := admin.ListTopics(t.Context(), "kept")
		if err != nil || len(details["kept"].Partitions) != 3 || !slices.Equal(first, addrs) {
			t.Fatalf("round %d on %v, then %v: %v, %v", round, first, addrs, details, err)
		}
		if n, err := Down(t.Context(), cfg.Dir, io.Discard); err != nil || n != 1 {
			t.Fatalf("down: %d, %v", n, err)
		}
		if addrs, err := Running(cfg.Dir); err != nil || addrs != nil {
			t.Fatalf("running after down: %v, %v", addrs, err)
		}
	}
}
