//go:build mutants

package main

import (
	"strings"
	"testing"

	"github.com/caudalpay/caudal/cmd/caudal/chaos"
	"github.com/caudalpay/caudal/streams/engine"
)

// mutantSeeds are tried until one finds the mutant: whether a fault falls where it must depends on the machine.
const mutantSeeds = 3

// TestMutants attacks engines that are wrong on purpose. Each must be found, and found by what is wrong with it.
func TestMutants(t *testing.T) {
	wrongState := func(r chaos.Report) bool { return r.WrongBalance+r.WrongDecisions+r.WrongSide > 0 && r.Refused == 0 }
	twice := func(r chaos.Report) bool { return r.DuplicateDecisions > 0 }
	orderedTwice := func(r chaos.Report) bool { return r.DuplicateOrders > 0 && twice(r) } // what would charge a card twice
	// The engine itself finds that state and offsets disagree, and stops rather than lie: then commands stay undecided.
	refusedOr := func(other func(chaos.Report) bool) func(chaos.Report) bool {
		return func(r chaos.Report) bool { return r.Refused > 0 && r.Missing > 0 || other(r) }
	}
	for _, m := range []struct {
		name, faults string
		found        func(chaos.Report) bool
		more         []string
	}{
		{engine.MutantNoRollback, "leave_join,kill", wrongState, nil},
		{engine.MutantOffsetsOutside, "kill", refusedOr(twice), nil},
		{engine.MutantNoFence, "zombie", twice, nil},
		{engine.MutantShortRestore, "kill", refusedOr(wrongState), nil},
		{engine.MutantEmitTwice, "leave_join,kill", orderedTwice, nil},
		{engine.MutantAppliedUnminded, "leave_join", wrongState, []string{"--session-timeout", "8s"}}, // remembered for so long
	} {
		t.Run(m.name, func(t *testing.T) {
			for _, seed := range strings.Split("123", "")[:mutantSeeds] {
				args := append([]string{"--payments", "6000", "--faults", "8", "--only", m.faults, "--state", "memory", "--seed", seed, "--stall", "10s"}, m.more...)
				r, status := attack(t, engine.MutantEnv+"="+m.name, args...)
				if status == 1 && !r.Passed && m.found(r) {
					return
				}
			}
			t.Errorf("nobody noticed")
		})
	}
}

// TestMutantsUnharmed: without faults no mutant shows, so it is the attack that finds them.
func TestMutantsUnharmed(t *testing.T) {
	for _, name := range []string{
		engine.MutantNoRollback, engine.MutantOffsetsOutside, engine.MutantNoFence, engine.MutantShortRestore, engine.MutantEmitTwice, engine.MutantAppliedUnminded,
	} {
		r, status := attack(t, engine.MutantEnv+"="+name, "--payments", "1000", "--faults", "0", "--members", "1")
		if status != 0 {
			t.Errorf("%s: status %d: %s", name, status, r.FirstFinding)
		}
	}
}

// TestStockGokaFails: what the engine is for.
func TestStockGokaFails(t *testing.T) {
	r, status := attack(t, "", "--engine", "stock-goka", "--payments", "4000", "--faults", "5", "--seed", "1")
	if status != 1 || r.DuplicateDecisions+r.WrongBalance == 0 {
		t.Errorf("status %d: stock Goka survived", status)
	}
}

// TestStockGokaUnharmed: without faults it does what the engine does, so it is the faults that it does not survive.
func TestStockGokaUnharmed(t *testing.T) {
	if r, status := attack(t, "", "--engine", "stock-goka", "--payments", "2000", "--faults", "0", "--members", "1"); status != 0 {
		t.Errorf("status %d: %s", status, r.FirstFinding)
	}
}
