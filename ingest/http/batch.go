package http

import (
	"bytes"
	"errors"
	"strconv"
	"sync"

	"github.com/valyala/fasthttp"

	"github.com/caudalpay/caudal/processors/payment"
)

// batchItem is one line on its way: refused at once, or prepared and then answered.
type batchItem struct {
	prepared prepared
	answer   answer
	ready    bool // goes to the log
	busy     bool // was refused for want of room
	pending  bool // acknowledged and not decided: the answer's body is written from what was prepared
}

// batch is the memory of one batch, which the next one uses again. Nothing of it may be held when its answer is written.
type batch struct {
	caller  *Caller
	at      int64 // when it was accepted
	items   []batchItem
	parcels []*parcel
	list    []Item
	index   []int // where each of list stands in items
	ids     []*identity
	known   []standing
	first   map[identity]int
}

func newBatches() *sync.Pool {
	return &sync.Pool{New: func() any { return &batch{first: make(map[identity]int)} }}
}

func (s *Server) openBatch(caller *Caller) *batch {
	b := s.batches.Get().(*batch) //nolint:forcetypeassert // the pool holds nothing else
	b.caller, b.at = caller, s.ports.Now().UnixMicro()
	return b
}

func (s *Server) closeBatch(b *batch) {
	b.restart()
	clear(b.list[:cap(b.list)])
	s.batches.Put(b)
}

// restart drops the items.
func (b *batch) restart() {
	for _, p := range b.parcels[:min(len(b.items)+1, len(b.parcels))] { // one more, where a handler panicked
		p.clear()
	}
	clear(b.items)
	b.items = b.items[:0]
}

// parcel is the memory of the command of the next item.
func (b *batch) parcel() *parcel {
	for len(b.parcels) <= len(b.items) {
		b.parcels = append(b.parcels, &parcel{})
	}
	return b.parcels[len(b.items)]
}

// postBatch takes up to a thousand payments. Each item is answered as a single write would be; the order is kept.
// A JSON array that cannot be read refuses the whole batch, since nothing tells where its items end; in NDJSON only
// the line is refused.
func (s *Server) postBatch(c *call) answer {
	b := s.openBatch(c.caller)
	defer s.closeBatch(b)
	lined := mediaType(c.ctx.Request.Header.ContentType()) == ndjsonMediaType
	var problem *Problem
	if lined {
		problem = s.readLines(b, c.ctx.Request.Body())
	} else {
		problem = s.readArray(b, c.ctx.Request.Body())
	}
	if problem != nil {
		return refusal(s.traced(problem))
	}
	items := b.items
	if len(items) == 0 {
		return refusal(s.problem(ErrorInvalidRequest, "", violation("", codeRequired, "at least one item")))
	}
	want := prefer(c.ctx.Request.Header.PeekAll(headerPrefer), 0, s.cfg.WaitMax)
	a := answer{status: fasthttp.StatusAccepted, applied: want.applied}
	if want.wait > 0 {
		a.status = fasthttp.StatusOK
		s.batchAndWait(b, want)
	} else {
		s.batchOnly(b)
	}
	if allBusy(items) {
		return refusal(s.problem(ErrorBusy, "The buffer of commands is full."))
	}
	if lined {
		a.media = ndjsonMediaType
	}
	size := 0
	for i := range items {
		size += len(items[i].answer.body) + len(`{"index":1000,"status":200,"replayed":true,"account_seq":1234567890,"body":},`)
		if items[i].pending {
			size += pendingBytesMost
		}
	}
	a.body = appendItems(make([]byte, 0, size+len(`{"items":[]}`)), items, lined)
	s.countItems(items)
	return a
}

// countItems counts neighbours of one status together: nearly all are.
func (s *Server) countItems(items []batchItem) {
	for from := 0; from < len(items); {
		to, status := from+1, items[from].answer.status
		for to < len(items) && items[to].answer.status == status {
			to++
		}
		s.metrics.items.WithLabelValues(strconv.Itoa(status)).Add(float64(to - from))
		from = to
	}
}

// readArray reads what is plain as such, and an item that is not with the decoder. Whatever is wrong with the array
// itself, only the decoder says: it reads the whole batch anew.
func (s *Server) readArray(b *batch, body []byte) *Problem {
	p := plain{text: string(body)}
	if !p.next('[') || p.next(']') {
		return s.readArrayStrictly(b, body)
	}
	for {
		if len(b.items) == s.cfg.BatchItemsMax {
			return s.restartStrictly(b, body)
		}
		p.space()
		from := p.at
		var r paymentRequest
		if p.payment(&r, payment.KindUnknown) {
			b.items = append(b.items, s.batchPaid(b, &r))
		} else {
			d := s.decoders.get(body[from:])
			item, err := s.batchItem(b, d)
			p.at = from + int(d.json.InputOffset())
			s.decoders.put(d)
			if err != nil {
				return s.restartStrictly(b, body)
			}
			b.items = append(b.items, item)
		}
		if p.next(',') {
			continue
		}
		if p.next(']') && p.end() {
			return nil
		}
		return s.restartStrictly(b, body)
	}
}

func (s *Server) restartStrictly(b *batch, body []byte) *Problem {
	b.restart()
	return s.readArrayStrictly(b, body)
}

func (s *Server) readArrayStrictly(b *batch, body []byte) *Problem {
	d := s.decoders.get(body)
	defer s.decoders.put(d)
	if d.json.PeekKind() != '[' {
		err := d.skip()
		if err == nil {
			d.add(codeWrongType, "an array is expected")
		}
		return s.unreadable(d, err)
	}
	if _, err := d.json.ReadToken(); err != nil {
		return s.unreadable(d, d.syntax(err))
	}
	for d.json.PeekKind() != ']' {
		if len(b.items) == s.cfg.BatchItemsMax {
			return s.tooMany()
		}
		d.base = len("/") + len(strconv.Itoa(len(b.items)))
		d.violations = nil
		item, err := s.batchItem(b, d)
		if err != nil {
			return s.unreadable(d, err)
		}
		b.items = append(b.items, item)
	}
	if _, err := d.json.ReadToken(); err != nil {
		return s.unreadable(d, d.syntax(err))
	}
	d.violations = nil
	return s.unreadable(d, d.end())
}

func (s *Server) readLines(b *batch, body []byte) *Problem {
	for line := range bytes.SplitSeq(body, []byte{'\n'}) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			continue
		}
		if len(b.items) == s.cfg.BatchItemsMax {
			return s.tooMany()
		}
		if len(line) > s.cfg.BodyMaxBytes {
			b.items = append(b.items, batchItem{answer: refusal(s.problem(ErrorTooLarge, "An item is a single write, with its limit."))})
			continue
		}
		b.items = append(b.items, s.readLine(b, line))
	}
	return nil
}

func (s *Server) readLine(b *batch, line []byte) batchItem {
	var r paymentRequest
	if p := (plain{text: string(line)}); p.payment(&r, payment.KindUnknown) && p.end() {
		return s.batchPaid(b, &r)
	}
	d := s.decoders.get(line)
	defer s.decoders.put(d)
	item, err := s.batchItem(b, d)
	if err == nil {
		err = d.end()
	}
	if err != nil {
		return batchItem{answer: refusal(s.traced(s.unreadable(d, err)))}
	}
	return item
}

// batchItem reads one item and prepares it. The error is a syntaxError.
func (s *Server) batchItem(b *batch, d *decoder) (batchItem, error) {
	var r paymentRequest
	if err := d.payment(&r, payment.KindUnknown); err != nil {
		return batchItem{}, err
	}
	if problem := s.unreadable(d, nil); problem != nil {
		return batchItem{answer: refusal(s.traced(problem))}, nil
	}
	return s.batchPaid(b, &r), nil
}

// batchPaid prepares an item that was read.
func (s *Server) batchPaid(b *batch, r *paymentRequest) batchItem {
	p, problem, err := s.pay(b.caller, r, b.at, b.parcel())
	if problem != nil || err != nil {
		return batchItem{answer: s.refused(problem, err)}
	}
	return batchItem{prepared: p, ready: true}
}

func (s *Server) tooMany() *Problem {
	return s.problems.make(ErrorTooLarge, "At most "+strconv.Itoa(s.cfg.BatchItemsMax)+" items.")
}

// ready lists the items for the log.
func (b *batch) ready() []Item {
	b.list, b.index, b.ids = b.list[:0], b.index[:0], b.ids[:0]
	for i := range b.items {
		if b.items[i].ready {
			b.list = append(b.list, b.items[i].prepared.item)
			b.index = append(b.index, i)
			b.ids = append(b.ids, &b.items[i].prepared.identity)
		}
	}
	return b.list
}

func (s *Server) batchOnly(b *batch) {
	list := b.ready()
	if len(list) == 0 {
		return
	}
	holder := s.holders.Add(1)
	s.begin(b, holder)
	errs := s.ports.Commands.SubmitBatch(s.requests, list)
	s.recent.endAll(b.ids, holder, func(i int) bool { return errs[i] == nil })
	for i, err := range errs {
		item := &b.items[b.index[i]]
		switch a := s.failed(&item.prepared, err); {
		case a != nil:
			item.answer, item.busy = *a, errors.Is(err, ErrBusy)
		case b.known[i] == standingConflict:
			item.answer = s.conflict()
		default:
			item.answer.status, item.answer.replayed, item.pending = fasthttp.StatusAccepted, b.known[i] == standingRepeated, true
		}
	}
}

func (s *Server) batchAndWait(b *batch, want preference) {
	list := b.ready()
	if len(list) == 0 {
		return
	}
	holder := s.holders.Add(1)
	s.begin(b, holder)
	results := s.ports.Commands.SubmitBatchAndWait(s.requests, list, want.wait)
	s.recent.endAll(b.ids, holder, func(i int) bool { return results[i].Err == nil || errors.Is(results[i].Err, ErrPending) })
	for i, result := range results {
		item := &b.items[b.index[i]]
		if a := s.failed(&item.prepared, result.Err); a != nil {
			item.answer, item.busy = *a, errors.Is(result.Err, ErrBusy)
			continue
		}
		item.answer = s.decided(&item.prepared, result.Decision, item.prepared.paid)
	}
}

// begin tells the memory about all items. A key that stands twice in one batch is a repetition or a conflict already:
// the log keeps the order.
func (s *Server) begin(b *batch, holder uint64) {
	b.known = s.recent.beginAll(b.known[:0], b.ids, b.list, holder)
	clear(b.first)
	for i, id := range b.ids {
		j, twice := b.first[*id]
		switch {
		case !twice:
			b.first[*id] = i
		case b.known[i] != standingNew:
		case bytes.Equal(b.list[i].Command.GetBodyHash(), b.list[j].Command.GetBodyHash()):
			b.known[i] = standingRepeated
		default:
			b.known[i] = standingConflict
		}
	}
}

// allBusy holds where nothing of the batch reached the log because there was no room.
func allBusy(items []batchItem) bool {
	for i := range items {
		if !items[i].busy {
			return false
		}
	}
	return true
}

// appendItems writes a BatchAnswer, or a BatchItemAnswer per line. The bodies are JSON already.
func appendItems(b []byte, items []batchItem, lined bool) []byte {
	if !lined {
		b = append(b, `{"items":[`...)
	}
	for i := range items {
		a := &items[i].answer
		if i > 0 && !lined {
			b = append(b, ',')
		}
		b = strconv.AppendInt(append(b, `{"index":`...), int64(i), 10)
		b = strconv.AppendInt(append(b, `,"status":`...), int64(a.status), 10)
		if a.replayed {
			b = append(b, `,"replayed":true`...)
		}
		if a.accountSeq > 0 {
			b = strconv.AppendUint(append(b, `,"account_seq":`...), a.accountSeq, 10)
		}
		b = append(b, `,"body":`...)
		if items[i].pending {
			b = appendPending(b, &items[i].prepared)
		} else {
			b = append(b, a.body...)
		}
		b = append(b, '}')
		if lined {
			b = append(b, '\n')
		}
	}
	if !lined {
		b = append(b, "]}"...)
	}
	return b
}
