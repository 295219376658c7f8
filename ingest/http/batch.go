package http

import (
	"bytes"
	"errors"
	"strconv"

	"github.com/valyala/fasthttp"

	"github.com/caudalpay/caudal/processors/payment"
)

// batchItem is one line on its way: refused at once, or prepared and then answered.
type batchItem struct {
	prepared prepared
	answer   answer
	ready    bool // goes to the log
	busy     bool // was refused for want of room
}

// postBatch takes up to a thousand payments. Each item is answered as a single write would be; the order is kept.
// A JSON array that cannot be read refuses the whole batch, since nothing tells where its items end; in NDJSON only
// the line is refused.
func (s *Server) postBatch(c *call) answer {
	lined := mediaType(c.ctx.Request.Header.ContentType()) == ndjsonMediaType
	var items []batchItem
	var problem *Problem
	if lined {
		items, problem = s.readLines(c)
	} else {
		items, problem = s.readArray(c)
	}
	if problem != nil {
		return refusal(s.traced(problem))
	}
	if len(items) == 0 {
		return refusal(s.problem(ErrorInvalidRequest, "", violation("", codeRequired, "at least one item")))
	}
	want := prefer(c.ctx.Request.Header.PeekAll(headerPrefer), 0, s.cfg.WaitMax)
	a := answer{status: fasthttp.StatusAccepted, applied: want.applied}
	if want.wait > 0 {
		a.status = fasthttp.StatusOK
		s.batchAndWait(items, want)
	} else {
		s.batchOnly(items)
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
	}
	a.body = appendItems(make([]byte, 0, size+len(`{"items":[]}`)), items, lined)
	for i := range items {
		s.metrics.items.WithLabelValues(strconv.Itoa(items[i].answer.status)).Inc()
	}
	return a
}

// itemBytesUsual is what an item takes at least, more or less.
const itemBytesUsual = 160

// expected guesses how many items a body holds.
func (s *Server) expected(c *call) int {
	return min(s.cfg.BatchItemsMax, len(c.ctx.Request.Body())/itemBytesUsual+1)
}

func (s *Server) readArray(c *call) ([]batchItem, *Problem) {
	d := s.decoders.get(c.ctx.Request.Body())
	defer s.decoders.put(d)
	if d.json.PeekKind() != '[' {
		err := d.skip()
		if err == nil {
			d.add(codeWrongType, "an array is expected")
		}
		return nil, s.unreadable(d, err)
	}
	if _, err := d.json.ReadToken(); err != nil {
		return nil, s.unreadable(d, d.syntax(err))
	}
	items := make([]batchItem, 0, s.expected(c))
	for d.json.PeekKind() != ']' {
		if len(items) == s.cfg.BatchItemsMax {
			return nil, s.tooMany()
		}
		d.base = len("/") + len(strconv.Itoa(len(items)))
		d.violations = nil
		item, err := s.batchItem(c, d)
		if err != nil {
			return nil, s.unreadable(d, err)
		}
		items = append(items, item)
	}
	if _, err := d.json.ReadToken(); err != nil {
		return nil, s.unreadable(d, d.syntax(err))
	}
	d.violations = nil
	return items, s.unreadable(d, d.end())
}

func (s *Server) readLines(c *call) ([]batchItem, *Problem) {
	items := make([]batchItem, 0, s.expected(c))
	for line := range bytes.SplitSeq(c.ctx.Request.Body(), []byte{'\n'}) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			continue
		}
		if len(items) == s.cfg.BatchItemsMax {
			return nil, s.tooMany()
		}
		if len(line) > s.cfg.BodyMaxBytes {
			items = append(items, batchItem{answer: refusal(s.problem(ErrorTooLarge, "An item is a single write, with its limit."))})
			continue
		}
		items = append(items, s.readLine(c, line))
	}
	return items, nil
}

func (s *Server) readLine(c *call, line []byte) batchItem {
	d := s.decoders.get(line)
	defer s.decoders.put(d)
	item, err := s.batchItem(c, d)
	if err == nil {
		err = d.end()
	}
	if err != nil {
		return batchItem{answer: refusal(s.traced(s.unreadable(d, err)))}
	}
	return item
}

// batchItem reads one item and prepares it. The error is a syntaxError.
func (s *Server) batchItem(c *call, d *decoder) (batchItem, error) {
	var r paymentRequest
	if err := d.payment(&r, payment.KindUnknown); err != nil {
		return batchItem{}, err
	}
	if problem := s.unreadable(d, nil); problem != nil {
		return batchItem{answer: refusal(s.traced(problem))}, nil
	}
	p, problem, err := s.pay(c.caller, &r)
	if problem != nil || err != nil {
		return batchItem{answer: s.refused(problem, err)}, nil
	}
	return batchItem{prepared: p, ready: true}, nil
}

func (s *Server) tooMany() *Problem {
	return s.problems.make(ErrorTooLarge, "At most "+strconv.Itoa(s.cfg.BatchItemsMax)+" items.")
}

// ready lists the items for the log, and where each of them stands in the batch.
func ready(items []batchItem) (list []Item, index []int) {
	list, index = make([]Item, 0, len(items)), make([]int, 0, len(items))
	for i := range items {
		if items[i].ready {
			list = append(list, items[i].prepared.item)
			index = append(index, i)
		}
	}
	return list, index
}

func (s *Server) batchOnly(items []batchItem) {
	list, index := ready(items)
	if len(list) == 0 {
		return
	}
	holder := s.holders.Add(1)
	known := s.begin(items, index, holder)
	for i, err := range s.ports.Commands.SubmitBatch(s.requests, list) {
		item := &items[index[i]]
		s.recent.end(item.prepared.identity, holder, err == nil)
		if a := s.failed(&item.prepared, err); a != nil {
			item.answer, item.busy = *a, errors.Is(err, ErrBusy)
			continue
		}
		item.answer = s.acknowledged(&item.prepared, known[i])
	}
}

func (s *Server) batchAndWait(items []batchItem, want preference) {
	list, index := ready(items)
	if len(list) == 0 {
		return
	}
	holder := s.holders.Add(1)
	s.begin(items, index, holder)
	for i, result := range s.ports.Commands.SubmitBatchAndWait(s.requests, list, want.wait) {
		item := &items[index[i]]
		s.recent.end(item.prepared.identity, holder, result.Err == nil || errors.Is(result.Err, ErrPending))
		if a := s.failed(&item.prepared, result.Err); a != nil {
			item.answer, item.busy = *a, errors.Is(result.Err, ErrBusy)
			continue
		}
		item.answer = s.decided(&item.prepared, result.Decision, item.prepared.paid)
	}
}

// begin tells the memory about all items. A key that stands twice in one batch is a repetition or a conflict already:
// the log keeps the order.
func (s *Server) begin(items []batchItem, index []int, holder uint64) []standing {
	known := make([]standing, len(index))
	first := make(map[string]int, len(index))
	for i, at := range index {
		p := &items[at].prepared
		known[i] = s.recent.begin(p.identity, p.item.Command.GetBodyHash(), holder, false)
		if j, twice := first[p.identity]; twice && known[i] == standingNew {
			known[i] = standingRepeated
			if !bytes.Equal(p.item.Command.GetBodyHash(), items[index[j]].prepared.item.Command.GetBodyHash()) {
				known[i] = standingConflict
			}
		} else if !twice {
			first[p.identity] = i
		}
	}
	return known
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
		b = append(append(b, `,"body":`...), a.body...)
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
