package main

import (
	"os"
	"testing"

	"github.com/caudalpay/caudal/cmd/caudal/embedded"
)

// asCaudal makes the test binary behave as the real one, children included: what is killed below is this very code.
const asCaudal = "CAUDAL_TEST_AS_MAIN"

func TestMain(m *testing.M) {
	if embedded.RunChild(os.Args) {
		return
	}
	if os.Getenv(asCaudal) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}
