package kafkad

import "syscall"

// endWithParent: no broker outlives its test, however that ends.
func endWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }
