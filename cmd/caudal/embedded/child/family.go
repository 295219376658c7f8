package child

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Family are the names of the processes below one by their ids, as the kernel has them now. One that has ended and is only not
// yet waited for is none.
func Family(root int) map[int]string {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	parents, names := map[int]int{}, map[int]string{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if name, parent, ok := status(pid); ok {
			parents[pid], names[pid] = parent, name
		}
	}
	family := map[int]string{}
	for pid := range parents {
		for at := parents[pid]; at > 1; at = parents[at] {
			if at == root {
				family[pid] = names[pid]
				break
			}
		}
	}
	return family
}

// Alive tells whether a process runs: one that has ended and is only not yet waited for does not.
func Alive(pid int) bool {
	_, _, ok := status(pid)
	return ok
}

// status is the name of a process and who started it.
func status(pid int) (name string, parent int, ok bool) {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	open, end := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')') // a name may hold anything
	if err != nil || open < 0 || end < open {
		return "", 0, false
	}
	fields := strings.Fields(string(stat[end+1:]))
	if len(fields) < 2 || fields[0] == "Z" {
		return "", 0, false
	}
	parent, err = strconv.Atoi(fields[1])
	return string(stat[open+1 : end]), parent, err == nil
}
