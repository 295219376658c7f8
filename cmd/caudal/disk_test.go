package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// smallDisk mounts a file system of its own for one test.
func smallDisk(t *testing.T, options string) string {
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

// mayMount runs the test again in a user and mount namespace of its own where this process may not mount: who is not root
// has that right there. It reports whether this process is to go on.
func mayMount(t *testing.T) bool {
	t.Helper()
	if os.Geteuid() == 0 || os.Getenv("CAUDAL_TEST_NAMESPACE") != "" {
		return true
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run", "^"+t.Name()+"$", "-test.v")
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

// fill writes until the disk takes no more.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
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

// Invariant: a disk that runs full in mid-load makes the house not ready and refuse payments; when there is room again it
// comes back by itself, and nothing acknowledged is lost, then or after a restart.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	if !mayMount(t) {
		return
	}
	disk := smallDisk(t, "size=700m,mode=0755")
	data := filepath.Join(disk, "data")
	h := startHouse(t, data)
	api := h.api(t)
	accounts := h.openAccounts(t, api, 20)
	stopFlood := h.flooded(api, accounts)
	time.Sleep(time.Second)
	filler := filepath.Join(disk, "filler")
	fill(t, filler)
	h.falls(10 * time.Second)
	if err := h.payMeanwhile(accounts[0]); err != nil {
		t.Error(err)
	}
	time.Sleep(2 * time.Second)
	if h.ready() {
		t.Error("ready on a full disk")
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	h.rises(90 * time.Second)
	time.Sleep(time.Second) // of flowing payments
	acknowledged := stopFlood()
	h.settle(t, api, accounts)
	h.stored(acknowledged)
	h.stop()
	verifyStrictly(t, data)
	h = startHouse(t, data)
	h.stored(acknowledged)
	api.Close()
	h.stop()
}
