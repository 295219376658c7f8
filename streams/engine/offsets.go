package engine

import (
	"fmt"
	"slices"
	"strings"
)

// offsets are next offsets of one partition, one for each input, by the input's number.
type offsets []int64

const (
	none   int64 = -1 // nothing is committed, or applied
	untold int64 = -2 // it is not known
)

func newOffsets(inputs int, all int64) offsets { return slices.Repeat(offsets{all}, inputs) }

// told tells whether all are known.
func (o offsets) told() bool { return o != nil && !slices.Contains(o, untold) }

// String is the number alone where there is one input.
func (o offsets) String() string {
	return strings.Trim(fmt.Sprint([]int64(o)), "[]")
}
