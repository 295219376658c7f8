// Command run starts and ends an Apache Kafka that stays: make kafka-up, make kafka-down.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/caudalpay/caudal/streams/streamtest/kafkad"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("run", flag.ExitOnError)
	data := f.String("data", "kafka-data", "folder of the cluster")
	brokers := f.Int("brokers", 1, "1, or 3 with replication 3 and min.insync.replicas 2")
	f.Usage = func() {
		_, _ = fmt.Fprintln(f.Output(), "run up|down [-data DIR] [-brokers 1|3]")
		f.PrintDefaults()
	}
	if len(args) == 0 {
		f.Usage()
		return flag.ErrHelp
	}
	_ = f.Parse(args[1:]) // ends the process
	switch args[0] {
	case "up":
		return up(ctx, kafkad.Config{Dir: *data, Brokers: *brokers, Stay: true, Progress: os.Stderr})
	case "down":
		n, err := kafkad.Down(ctx, *data, os.Stderr)
		if err == nil && n == 0 {
			fmt.Fprintf(os.Stderr, "no broker of %s runs\n", *data)
		}
		return err
	default:
		f.Usage()
		return flag.ErrHelp
	}
}

func up(ctx context.Context, cfg kafkad.Config) error {
	addrs, err := kafkad.Running(cfg.Dir)
	if err != nil {
		return err
	}
	if addrs == nil {
		c, err := kafkad.Start(ctx, cfg)
		if err != nil {
			return err
		}
		addrs = c.Addrs()
	}
	fmt.Println(strings.Join(addrs, ","))
	return nil
}
