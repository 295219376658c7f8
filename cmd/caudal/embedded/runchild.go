// Package embedded is the entry to the parts that caudal can run by itself: a broker, Postgres and
// ClickHouse. Each lives in a package of its own; what is here tells a child process that it is one.
package embedded

import (
	"os"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/broker"
	"github.com/caudalpay/caudal/cmd/caudal/embedded/clickhouse/engine"
)

// RunChild runs the child that args (os.Args) ask for, and ends the process with its status. It returns
// false if they ask for none. It has to be the first call of main.
func RunChild(args []string) bool {
	if len(args) < 2 {
		return false
	}
	switch args[1] {
	case engine.Command:
		os.Exit(engine.Main(args[2:]))
	case broker.Command:
		os.Exit(broker.Main(args[2:]))
	}
	return false
}
