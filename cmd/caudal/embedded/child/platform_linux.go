package child

import "syscall"

// selfPath names the running program itself, even when its file was deleted or replaced: parent and
// children are always of one version.
const selfPath = "/proc/self/exe"

func executable() (string, error) { return selfPath, nil }

func setDeathSignal(attr *syscall.SysProcAttr, sig syscall.Signal) { attr.Pdeathsig = sig }

// memoryTotal is the machine's memory in bytes.
func memoryTotal() uint64 {
	var info syscall.Sysinfo_t
	if syscall.Sysinfo(&info) != nil {
		return memoryUsual
	}
	return uint64(info.Totalram) * uint64(info.Unit) //nolint:unconvert // narrower on some platforms
}
