package bench

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/broker"
	"github.com/caudalpay/caudal/cmd/caudal/embedded/clickhouse/engine"
)

// ticksPerSecond is USER_HZ, which Linux fixes at 100 for what /proc shows.
const ticksPerSecond = 100

// Parts of the system, as its processes are told apart.
const (
	partUp         = "up (ingress, ticker, both sinks)"
	partBroker     = "broker"
	partWorker     = "streams worker"
	partPostgres   = "Postgres"
	partClickHouse = "ClickHouse"
)

func partNames() []string {
	return []string{partUp, partBroker, partWorker, partPostgres, partClickHouse}
}

// cpu is the processor time of the system and all its descendants by part, the load generator not among them.
func (s *system) cpu() (map[string]time.Duration, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("reading /proc: %w", err)
	}
	parent, used := map[int]int{}, map[int]int64{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if parent[pid], used[pid], err = ticksOf(pid); errors.Is(err, errGone) {
			continue
		} else if err != nil {
			return nil, err
		}
	}
	parts := map[string]time.Duration{}
	for pid, ticks := range used {
		for at := pid; at > 1; at = parent[at] {
			if at == s.cmd.Process.Pid {
				parts[s.part(pid)] += time.Duration(ticks) * time.Second / ticksPerSecond
				break
			}
		}
	}
	return parts, nil
}

var errGone = errors.New("the process has ended")

// ticksOf is the processor time of a process and of its ended children, and who its parent is.
func ticksOf(pid int) (parent int, ticks int64, err error) {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, 0, errGone
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	parent, _ = strconv.Atoi(fields[1])
	for _, f := range fields[11:15] { // utime stime cutime cstime
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("reading processor time: %w", err)
		}
		ticks += n
	}
	return parent, ticks, nil
}

func (s *system) part(pid int) string {
	if pid == s.cmd.Process.Pid {
		return partUp
	}
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return partPostgres // a backend that has just ended: only Postgres forks for a short time
	}
	args := strings.Split(string(line), "\x00")
	for _, a := range args[1:] {
		switch a {
		case broker.Command:
			return partBroker
		case engine.Command:
			return partClickHouse
		case "worker":
			return partWorker
		}
	}
	return partPostgres
}

// since is what was used between two readings.
func since(before, after map[string]time.Duration) (by map[string]time.Duration, sum time.Duration) {
	by = map[string]time.Duration{}
	for part, t := range after {
		by[part] = t - before[part]
		sum += by[part]
	}
	return by, sum
}
