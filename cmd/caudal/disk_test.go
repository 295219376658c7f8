package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/embedtest"
)

// Invariant: a disk that runs full in mid-load makes the house not ready and refuse payments; when there is room again it
// comes back by itself, and nothing acknowledged is lost, then or after a restart.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	if !embedtest.MayMount(t) {
		return
	}
	disk := embedtest.SmallDisk(t, "size=700m,mode=0755")
	data := filepath.Join(disk, "data")
	h := startHouse(t, data)
	api := h.api(t)
	accounts := h.openAccounts(t, api, 20)
	stopFlood := h.flooded(api, accounts)
	time.Sleep(time.Second)
	filler := filepath.Join(disk, "filler")
	embedtest.Fill(t, filler)
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
