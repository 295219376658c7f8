//go:build !linux

package fetch

import "io/fs"

func changeStamp(fs.FileInfo) string { return "" }
