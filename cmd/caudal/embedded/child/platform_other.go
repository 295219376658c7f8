//go:build !linux

package child

import (
	"os"
	"syscall"
)

const selfPath = ""

func executable() (string, error) { return os.Executable() }

// setDeathSignal: other systems have no death signal; the end of standard input is what tells the child.
func setDeathSignal(*syscall.SysProcAttr, syscall.Signal) {}

func memoryTotal() uint64 { return memoryUsual }
