package logtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// OwnCPU is what this process has used.
func OwnCPU(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// FamilyCPU sums what the server and its processes have used; those that ended count as the server's.
func FamilyCPU(t testing.TB, pid int) (sum time.Duration) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range stats {
		text, err := os.ReadFile(path) //nolint:gosec // of /proc
		if err != nil {
			continue // it has ended
		}
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		own := strings.HasPrefix(path, fmt.Sprintf("/proc/%d/", pid))
		if fields[1] != strconv.Itoa(pid) && !own {
			continue
		}
		for n := 11; n < 15; n++ { // utime stime cutime cstime, in hundredths of a second
			ticks, err := strconv.ParseInt(fields[n], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			if own || n < 13 {
				sum += time.Duration(ticks) * 10 * time.Millisecond
			}
		}
	}
	return sum
}
