package fetch

import (
	"fmt"
	"io/fs"
	"syscall"
)

// changeStamp: the inode and its change time, which no ordinary program can set back.
func changeStamp(info fs.FileInfo) string {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	return fmt.Sprint(st.Ino, st.Ctim.Sec, st.Ctim.Nsec)
}
