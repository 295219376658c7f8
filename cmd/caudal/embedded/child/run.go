package child

import (
	"bytes"
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
)

// forks hands work to the one thread that starts processes. A death signal comes when the thread that forked ends,
// not the process, and the runtime ends a thread whose goroutine returns locked to it: so one thread forks, for life.
//
//nolint:gochecknoglobals // threads belong to the process
var forks = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for fork := range work {
			fork()
		}
	}()
	return work
})

// Start starts a command that receives the death signal when this process ends, however it ends.
func Start(cmd *exec.Cmd, death syscall.Signal) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	setDeathSignal(cmd.SysProcAttr, death)
	started := make(chan error)
	forks() <- func() { started <- cmd.Start() }
	return <-started
}

// Run runs a command to its end, killing it if this process ends first: what it works on may then be
// taken over by a next start. Its output is part of the error.
func Run(cmd *exec.Cmd) error {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := Start(cmd, syscall.SIGKILL)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		return fmt.Errorf("%w\n%s", err, strings.TrimSpace(out.String()))
	}
	return nil
}

// standBack lowers the priority of a child's group of processes.
func standBack(group, nice int) error {
	if nice == 0 {
		return nil
	}
	return syscall.Setpriority(syscall.PRIO_PGRP, group, nice)
}
