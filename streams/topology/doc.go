// Package topology wires the groups: one file per group says which topics it reads and writes, and holds the thin shell
// around its pure reducer. A shell decodes, loads what the reducer's Reads names, applies, encodes, writes and emits.
//
// It refuses to decide anything: whatever a decision depends on is in the command, the cell, the side records or the
// pinned reference documents.
package topology
