package engine

import (
	"fmt"
	"slices"
	"strings"
)

// GraphKind is the side record that says what wrote the state of a partition: ScopePartition, no id; value: state version,
// 1 byte, then one line per edge of the group's graph.
const GraphKind = EnginePrefix + "graph"

// stateVersion is the form of everything the engine writes into the changelogs.
const stateVersion = 1

// graph of the group, as it is recorded.
func (c *Config) graph() string {
	lines := []string{
		fmt.Sprintf("partitions %d", c.Partitions), "input " + c.Input, "side " + c.Side, "dead letters " + c.DeadLetters,
	}
	for _, i := range c.MoreInputs {
		lines = append(lines, "input "+i)
	}
	for _, o := range c.Outputs {
		lines = append(lines, "output "+o)
	}
	for _, l := range c.Lookups {
		lines = append(lines, "lookup "+l)
	}
	for _, j := range c.Joins {
		lines = append(lines, "join "+j)
	}
	slices.Sort(lines)
	return string(rune(stateVersion)) + strings.Join(lines, "\n")
}

// StateVersionError means that a newer release wrote the state.
type StateVersionError struct {
	Group     string
	Partition int32
	Version   byte
}

func (e *StateVersionError) Error() string {
	return fmt.Sprintf("the state of partition %d of group %s has version %d, this program knows %d: start the release that wrote it, or a newer one",
		e.Partition, e.Group, e.Version, stateVersion)
}

// GraphChangedError means that the state was written by a group with other edges.
type GraphChangedError struct {
	Group      string
	Partition  int32
	Gone, Come []string // edges
}

func (e *GraphChangedError) Error() string {
	return fmt.Sprintf("the state of partition %d was written by a group %s with other edges: it had [%s], it now has [%s] instead; "+
		"start with the recorded edges, or take the state over by setting AcceptGraph for one start of every member",
		e.Partition, e.Group, strings.Join(e.Gone, ", "), strings.Join(e.Come, ", "))
}

// checkGraph compares what wrote the restored state with what runs now. State without a record is from before there was one.
func (p *partition) checkGraph(cfg *Config) error {
	switch {
	case p.graph == "" || p.graph == p.graphNow:
		return nil
	case p.graph[0] != stateVersion:
		return &StateVersionError{Group: cfg.Group, Partition: p.id, Version: p.graph[0]}
	case cfg.AcceptGraph:
		return nil
	}
	before, now := strings.Split(p.graph[1:], "\n"), strings.Split(p.graphNow[1:], "\n")
	without := func(lines, others []string) []string {
		return slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return slices.Contains(others, l) })
	}
	return &GraphChangedError{Group: cfg.Group, Partition: p.id, Gone: without(before, now), Come: without(now, before)}
}
