package child

import "syscall"

// selfPath names the running program itself, even when its file was deleted or replaced: parent and
// children are always of one version.
const selfPath = "/proc/self/exe"

func executable() (string, error) { return selfPath, nil }

func setDeathSignal(attr *syscall.SysProcAttr, sig syscall.Signal) { attr.Pdeathsig = sig }
