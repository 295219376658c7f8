package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/child"
)

// Command is the hidden subcommand of the child. Argument: the folder of the logs. The listener is
// inherited as descriptor 3.
const Command = "__broker"

// Main runs the child and returns its exit status.
func Main(args []string) int {
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	ctx := child.Lifeline(20 * time.Second)
	if err := run(ctx, args, log); err != nil {
		log.Error("broker child ended", "error", err)
		return 1
	}
	return 0
}

func run(ctx context.Context, args []string, log *slog.Logger) error {
	if len(args) != 1 {
		return errors.New("want argument: log folder")
	}
	// The child of a parent that was just killed may still be writing its state.
	lock, err := child.Lock(ctx, filepath.Join(args[0], "..", "broker.lock"), 25*time.Second)
	if err != nil {
		return fmt.Errorf("owning log folder: %w", err)
	}
	defer func() { _ = lock.Close() }()
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
		}),
	)
	if err != nil {
		return fmt.Errorf("starting kfake: %w", err)
	}
	child.Announce()
	<-ctx.Done()
	cluster.Close() // finishes the request it is in, then writes its state
	return nil
}

// kafkaLog passes kfake's warnings and errors on; below that it logs every request.
type kafkaLog struct{ log *slog.Logger }

func (k kafkaLog) Logf(level kfake.LogLevel, format string, args ...any) {
	switch level {
	case kfake.LogLevelError:
		k.log.Error(fmt.Sprintf(format, args...))
	case kfake.LogLevelWarn:
		k.log.Warn(fmt.Sprintf(format, args...))
	default:
	}
}
