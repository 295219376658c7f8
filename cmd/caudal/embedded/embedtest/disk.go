package embedtest

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// SmallDisk mounts a file system of its own for one test.
func SmallDisk(t testing.TB, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Fatalf("a full disk cannot be tried here: mounting a tmpfs: %v (run as root, or where user namespaces are allowed)", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmounting %s: %v", dir, err)
		}
	})
	return dir
}

// capSysAdmin lets a process mount inside the namespaces it owns.
const capSysAdmin = 21

// MayMount runs the test again in a user and mount namespace of its own where this process may not mount: who is not root
// has that right there. It reports whether this process is to go on.
func MayMount(t testing.TB) bool {
	t.Helper()
	if os.Geteuid() == 0 || os.Getenv("CAUDAL_TEST_NAMESPACE") != "" {
		return true
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run", "^"+t.Name()+"$", "-test.v") //nolint:gosec // the test itself
	cmd.Env = append(os.Environ(), "CAUDAL_TEST_NAMESPACE=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getuid(), HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getgid(), HostID: os.Getgid(), Size: 1}},
		AmbientCaps: []uintptr{capSysAdmin},
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("in a namespace that may mount: %v\n%s", err, out)
	}
	return false
}

// Fill writes until the disk takes no more.
func Fill(t testing.TB, path string) {
	t.Helper()
	f, err := os.Create(path) //nolint:gosec // a file of the test
	if err != nil {
		t.Fatal(err)
	}
	for chunk := make([]byte, 1<<20); err == nil; {
		_, err = f.Write(chunk)
		if errors.Is(err, syscall.ENOSPC) && len(chunk) > 1 {
			chunk, err = chunk[:len(chunk)/2], nil
		}
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}
