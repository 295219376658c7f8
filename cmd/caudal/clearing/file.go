package clearing

import (
	"bytes"
	"crypto/rand"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/caudalpay/caudal/cmd/caudal/lines"
	ingesthttp "github.com/caudalpay/caudal/ingest/http"
	"github.com/caudalpay/caudal/ingest/issuing"
)

// What the first line of a file says of it.
const (
	Format  = "caudal.clearings"
	Version = 1
)

// Header is the first line of a file, under the name header.
type Header struct {
	Format  string `json:"format"`
	Version int    `json:"version"`
	File    string `json:"file"` // what the network calls it
}

// Trailer is the last line of a file, under the name trailer: what stands between has to come to the same.
type Trailer struct {
	Count int            `json:"count"`
	Sums  map[string]Sum `json:"sums"` // by currency
}

// Sum is what the items of a currency come to, in minor units.
type Sum struct {
	Debit  int64 `json:"debit"`  // what cardholders pay
	Credit int64 `json:"credit"` // what they get
}

// Add counts an item.
func (t *Trailer) Add(currency string, amountMinor int64, credit bool) {
	if t.Sums == nil {
		t.Sums = map[string]Sum{}
	}
	t.Count++
	sum := t.Sums[currency]
	if credit {
		sum.Credit += amountMinor
	} else {
		sum.Debit += amountMinor
	}
	t.Sums[currency] = sum
}

const (
	itemsMax    = 1_000_000 // their sums are far below what fits: no item is above 10^12
	faultsShown = 20
)

// faults is why a file is not loaded, each with its line.
type faults struct {
	texts []string
	n     int
}

func (f *faults) add(line int, format string, a ...any) {
	if f.n++; f.n <= faultsShown {
		f.texts = append(f.texts, fmt.Sprintf("line %d: ", line)+fmt.Sprintf(format, a...))
	}
}

func (f *faults) err() error {
	if f.n == 0 {
		return nil
	}
	if more := f.n - len(f.texts); more > 0 {
		f.texts = append(f.texts, fmt.Sprintf("and %d more", more))
	}
	return errors.New("nothing was sent:\n  " + strings.Join(f.texts, "\n  "))
}

// item is a line between header and trailer, as it stands.
type item struct {
	number int
	text   []byte
}

// read reads a whole file, and gives its lines once nothing is wrong with any of them, and all of them come to what the trailer says.
func read(name string, now time.Time) (file string, items []lines.Line, err error) {
	f, err := os.Open(name) //nolint:gosec // the operator names it
	if err != nil {
		return "", nil, err //nolint:wrapcheck // it names the file
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return check(f, now)
}

func check(r io.Reader, now time.Time) (string, []lines.Line, error) {
	var texts []item
	err := lines.Scan(r, func(n int, text []byte) error {
		if len(texts) == itemsMax+2 { // the rest is not read: it may be larger than the memory
			return fmt.Errorf("the file has more than %d items, which is what is loaded at once: split it", itemsMax)
		}
		texts = append(texts, item{n, bytes.Clone(text)})
		return nil
	})
	if err != nil {
		return "", nil, err //nolint:wrapcheck // it says where
	}
	if len(texts) < 2 {
		return "", nil, errors.New("the file has no two lines: it begins with a header and ends in a trailer")
	}
	var wrong faults
	header := readHeader(texts[0], &wrong)
	last := texts[len(texts)-1]
	told := readTrailer(last, &wrong)
	var found Trailer
	items := found.read(texts[1:len(texts)-1], now, &wrong)
	if wrong.n == 0 { // else the items that could not be read would be missing in the sums too
		found.compare(told, last.number, &wrong)
	}
	return header.File, items, wrong.err()
}

func readHeader(line item, wrong *faults) Header {
	var first struct {
		Header *Header `json:"header"`
	}
	switch err := json.Unmarshal(line.text, &first, json.RejectUnknownMembers(true)); {
	case err != nil || first.Header == nil:
		wrong.add(line.number, `no header: the first line is {"header":{"format":%q,"version":%d,"file":"NAME"}}`, Format, Version)
	case first.Header.Format != Format || first.Header.Version != Version:
		wrong.add(line.number, "the header says another format than %s in version %d", Format, Version)
	case first.Header.File == "":
		wrong.add(line.number, "the header names no file")
	default:
		return *first.Header
	}
	return Header{}
}

func readTrailer(line item, wrong *faults) Trailer {
	var last struct {
		Trailer *Trailer `json:"trailer"`
	}
	if err := json.Unmarshal(line.text, &last, json.RejectUnknownMembers(true)); err != nil || last.Trailer == nil {
		wrong.add(line.number, `no trailer: the last line is {"trailer":{"count":N,"sums":{"BRL":{"debit":N,"credit":N}}}}, and a file without it may have been cut`)
		return Trailer{}
	}
	return *last.Trailer
}

// read reads the items, and counts them.
func (t *Trailer) read(texts []item, now time.Time, wrong *faults) []lines.Line {
	run := rand.Text()
	items := make([]lines.Line, 0, len(texts))
	seen := make(map[string]int, len(texts))
	for _, line := range texts {
		c, violations := ingesthttp.ParseClearing(line.text, now)
		for _, v := range violations {
			wrong.add(line.number, "%s", strings.TrimPrefix(*v.Pointer+": "+v.Detail, ": "))
		}
		if len(violations) > 0 {
			continue
		}
		name := c.Identity("clearing")
		if first, ok := seen[name]; ok {
			wrong.add(line.number, "the item of line %d again: transmitted_at, stan, acquirer and terminal are the same", first)
			continue
		}
		seen[name] = line.number
		t.Add(c.Currency, c.AmountMinor, c.Credit())
		items = append(items, lines.Line{
			Number: line.number, Lane: lane(&c, line.text), Body: stdjson.RawMessage(line.text),
			Key: fmt.Sprintf("clearing-%s-%d", run, line.number), // the item names itself: a key is for what is sent again within a run
		})
	}
	return items
}

// lane keeps the items of one authorization in their order, and those that collect nothing wherever.
func lane(c *issuing.Clearing, text []byte) string {
	if c.Authorization == (issuing.Message{}) {
		return string(text)
	}
	return c.Authorization.Identity("authorization")
}

// compare holds what was found against what the trailer tells.
func (t *Trailer) compare(told Trailer, line int, wrong *faults) {
	if told.Count != t.Count {
		wrong.add(line, "the trailer counts %d items, the file has %d", told.Count, t.Count)
	}
	both := maps.Clone(t.Sums)
	if both == nil {
		both = map[string]Sum{}
	}
	maps.Copy(both, told.Sums)
	for _, currency := range slices.Sorted(maps.Keys(both)) {
		is, says := t.Sums[currency], told.Sums[currency]
		if is != says {
			wrong.add(line, "in %s the trailer has a debit of %d and a credit of %d, the items come to %d and %d", currency, says.Debit, says.Credit, is.Debit, is.Credit)
		}
	}
}
