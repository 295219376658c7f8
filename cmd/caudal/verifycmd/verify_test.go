package verifycmd_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/caudalpay/caudal/cmd/caudal/verifycmd"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/sinks/audit"
	"github.com/caudalpay/caudal/sinks/audit/audittest"
)

// TestBrokenBooksEndWithAnError: the command prints what it found, and its error (exit code 1) names the first difference.
func TestBrokenBooksEndWithAnError(t *testing.T) {
	h := audittest.New(t, 21)
	h.Open(4)
	h.Play(60)
	p, i := h.Find(func(d *paymentsv1.Decision) bool { return len(d.GetJournals()) > 0 })
	h.Edit(p, i, func(d *paymentsv1.Decision) { d.Journals[0].Postings[0].AmountMinor++ })
	var out bytes.Buffer
	c := verifycmd.New()
	c.SetArgs([]string{"--brokers", h.Publish()[0], "--partitions", fmt.Sprint(audittest.Partitions), "-o", "json"})
	c.SetOut(&out)
	c.SilenceErrors, c.SilenceUsage = true, true
	err := c.ExecuteContext(t.Context())
	broken, ok := errors.AsType[*audit.DifferenceError](err)
	if !ok || broken.First.Partition != p || broken.First.Offset != int64(i) || !strings.Contains(err.Error(), h.Decision(p, i).GetAccount()) {
		t.Fatalf("%v\n%s", err, &out)
	}
	var report audit.Report
	if err := json.Unmarshal(out.Bytes(), &report); err != nil {
		t.Fatal(err)
	}
	if report.Balanced || report.FirstDifference == nil || *report.FirstDifference != broken.First {
		t.Fatalf("%+v", report.FirstDifference)
	}
}

// TestContradictingFlagsAreRefused: what cannot be meant is not guessed at.
func TestContradictingFlagsAreRefused(t *testing.T) {
	for _, args := range [][]string{
		{"--postgres", "postgres://x"}, {"--output", "xml"}, {"--data", "x", "--brokers", "y:1"}, {"--data", "/nowhere/at/all"}, {"--brokers", "x:1", "--clickhouse", "::"},
	} {
		c := verifycmd.New()
		c.SetArgs(args)
		c.SetOut(&bytes.Buffer{})
		c.SilenceErrors, c.SilenceUsage = true, true
		if err := c.ExecuteContext(t.Context()); err == nil {
			t.Errorf("%v passes", args)
		}
	}
}
