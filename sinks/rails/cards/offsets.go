package cards

// offsets remembers which records of a partition are finished, and up to where all of them are. One goroutine's.
type offsets struct {
	open map[int64]struct{} // read and not finished
	low  int64              // nothing below is open
	next int64              // behind the last that was read
}

func newOffsets() *offsets { return &offsets{open: map[int64]struct{}{}, low: -1, next: -1} }

// read notes a record that is to be finished.
func (o *offsets) read(offset int64) {
	if o.low < 0 {
		o.low = offset
	}
	o.open[offset] = struct{}{}
	o.next = offset + 1
}

// finish notes that a record needs nothing any more.
func (o *offsets) finish(offset int64) {
	delete(o.open, offset)
	for o.low < o.next {
		if _, is := o.open[o.low]; is {
			return
		}
		o.low++ // also over markers, which were never read
	}
}

// committable is the offset to go on from after a restart; -1: nothing was read.
func (o *offsets) committable() int64 { return o.low }
