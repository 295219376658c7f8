package broker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/child"
)

// Command is the hidden subcommand of the child. Arguments: the folder of the logs, the disk reserve in bytes, the socket
// for profiles if any. The listener is inherited as descriptor 3.
const Command = "__broker"

// Main runs the child and returns its exit status.
func Main(args []string) int {
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	ctx := child.Lifeline(20 * time.Second)
	go child.HeapRoom(ctx, 256<<20) // ends with the process
	if err := run(ctx, args, log); err != nil {
		log.Error("broker child ended", "error", err)
		return 1
	}
	return 0
}

func run(ctx context.Context, args []string, log *slog.Logger) error {
	if len(args) != 2 && len(args) != 3 {
		return errors.New("want arguments: log folder, disk reserve, socket for profiles if any")
	}
	reserve, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil {
		return fmt.Errorf("reading disk reserve: %w", err)
	}
	// The child of a parent that was just killed may still be writing its state.
	lock, err := child.Lock(ctx, filepath.Join(args[0], "..", "broker.lock"), 25*time.Second)
	if err != nil {
		return fmt.Errorf("owning log folder: %w", err)
	}
	defer func() { _ = lock.Close() }()
	serving := filepath.Join(args[0], "..", "serving") // there while a broker writes: found at a start, none closed the log
	if _, err := os.Stat(serving); err == nil {
		if err := mend(args[0], log); err != nil {
			return fmt.Errorf("mending the log of a broker that died: %w", err)
		}
	}
	if err := os.WriteFile(serving, nil, 0o600); err != nil {
		return fmt.Errorf("noting that the broker serves: %w", err)
	}
	inherited := os.NewFile(3, "listener")
	listener, err := net.FileListener(inherited)
	if err != nil {
		return fmt.Errorf("inheriting listener: %w", err)
	}
	_ = inherited.Close() // FileListener has its own copy
	addr, ok := listener.Addr().(*net.TCPAddr)
	if !ok {
		return fmt.Errorf("inherited listener is %s, no TCP", listener.Addr().Network())
	}
	cluster, err := kfake.NewCluster(
		kfake.Ports(addr.Port), // one port, one node
		kfake.ListenFn(func(string, string) (net.Listener, error) { return listener, nil }),
		kfake.DataDir(args[0]),
		kfake.ClusterID("caudal-embedded"),
		kfake.WithLogger(kafkaLog{log}),
		// A dead worker's partitions are to move within a second or two, not after Kafka's six.
		kfake.GroupMinSessionTimeout(time.Second),
		kfake.BrokerConfigs(map[string]string{
			// What a topic does not limit is kept for ever: the logs are the source of every replay.
			"log.retention.ms":    "-1",
			"log.retention.bytes": "-1",
			// Offsets of a group that was down for a holiday are needed as well.
			"offsets.retention.minutes": "5256000",
			"message.max.bytes":         "8388608",
			// Where the broker assigns partitions, its heartbeats are how soon a worker learns of a rebalance, and its session is
			// how long a dead one's partitions wait: as where the workers assign.
			"group.consumer.heartbeat.interval.ms": "100",
			"group.consumer.session.timeout.ms":    "6000",
		}),
	)
	if err != nil {
		return fmt.Errorf("starting kfake: %w", err)
	}
	room := &gauge{path: args[0], reserve: reserve}
	cluster.Fault(kfake.Fault{
		Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.KafkaStorageError, Count: -1,
		When: func(kmsg.Request) bool { return room.isFull() },
	})
	if len(args) == 3 {
		if err := profiles(ctx, args[2]); err != nil {
			return err
		}
	}
	child.Announce()
	<-ctx.Done()
	cluster.Close() // finishes the request it is in, then writes its state
	if err := enough(args[0], reserve); err != nil {
		return fmt.Errorf("stopped, but the state may not be written: %w", err) // the next start looks at the log itself
	}
	if err := os.Remove(serving); err != nil {
		return fmt.Errorf("noting that the broker has stopped: %w", err)
	}
	return nil
}

// profiles serves net/http/pprof until the process ends. An earlier child's socket is in the way.
func profiles(ctx context.Context, socket string) error {
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing old socket: %w", err)
	}
	l, err := new(net.ListenConfig).Listen(ctx, "unix", socket)
	if err != nil {
		return fmt.Errorf("listening for profiles: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(l) }() // ends with the process
	return nil
}

// kafkaLog passes kfake's warnings and errors on; below that it logs every request.
type kafkaLog struct{ log *slog.Logger }

func (k kafkaLog) Logf(level kfake.LogLevel, format string, args ...any) {
	switch level {
	case kfake.LogLevelError:
		k.log.Error(fmt.Sprintf(format, args...))
		if strings.HasPrefix(format, "endTx:") {
			// The marker of a transaction was not written, and in memory kfake goes on as if it were: readers would see what
			// is not committed. Nobody has been answered yet. The next start ends the transaction the same way everywhere.
			os.Exit(1)
		}
	case kfake.LogLevelWarn:
		k.log.Warn(fmt.Sprintf(format, args...))
		if strings.HasPrefix(format, "persist ") {
			os.Exit(1) // the disk has not what memory has: what was acknowledged could be gone at the next start
		}
	default:
	}
}
