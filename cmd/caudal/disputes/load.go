// Package disputes loads a card network's file of disputes through the front door of a running installation.
// It decides nothing: each line is a word about one dispute, which the house takes, knows already, or refuses.
package disputes

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/sync/errgroup"

	"github.com/caudalpay/caudal/cmd/caudal/client"
)

// Options say what to load, and where to.
type Options struct {
	File      string // CSV with a header where it ends in .csv, else one JSON object per line
	URL       string
	Token     string
	Connector string    // who tells, of lines that do not say it; empty: the operator
	Workers   int       // requests in flight
	Progress  io.Writer // hears what is waited for; nil: nobody does
}

// Result counts the lines. Invariant: each line that holds anything is either taken or refused.
type Result struct {
	Lines   int       `json:"lines"`
	Taken   int       `json:"taken"`
	Refused []Refusal `json:"refused"` // in the order of the file
}

// Refusal is a line that changed nothing.
type Refusal struct {
	Line   int    `json:"line"` // of the file, from 1
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

// word is a line on its way: the body of POST /disputes, or what is wrong with it.
type word struct {
	line    int
	body    map[string]any
	refused string
}

const (
	lineMax       = 64 << 10
	byteOrderMark = "\ufeff"
)

// Load sends every line, in order per pay-in. A line that is refused stops no other. Running it again changes nothing: the
// key of a line is what it says, and the house takes what is told under one key once. The error tells what stopped it half-way; then run it again.
func Load(ctx context.Context, o Options) (Result, error) {
	if o.Workers < 1 {
		return Result{}, fmt.Errorf("%d workers: at least one sends", o.Workers)
	}
	words, err := read(o)
	if err != nil {
		return Result{}, fmt.Errorf("reading %s: %w", o.File, err)
	}
	api := client.New(o.URL, o.Token, o.Workers).Telling(o.Progress)
	defer api.Close()
	result := Result{Lines: len(words), Refused: []Refusal{}}
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	for _, lane := range lanes(words, o.Workers) {
		group.Go(func() error {
			for _, w := range lane {
				refused, err := w.send(ctx, api)
				if err != nil {
					return fmt.Errorf("sending line %d: %w", w.line, err)
				}
				mu.Lock()
				if refused != nil {
					result.Refused = append(result.Refused, *refused)
				} else {
					result.Taken++
				}
				mu.Unlock()
			}
			return nil
		})
	}
	err = group.Wait()
	slices.SortFunc(result.Refused, func(a, b Refusal) int { return a.Line - b.Line })
	return result, err
}

// lanes deals the words out, those about one pay-in to one lane: their order is what they say.
func lanes(words []word, n int) [][]word {
	out := make([][]word, n)
	for _, w := range words {
		h := fnv.New32a()
		_, _ = fmt.Fprint(h, w.body["payment_id"]) // a hash takes everything
		at := int(h.Sum32()) % len(out)
		out[at] = append(out[at], w)
	}
	return out
}

// send hands a word over; nil means that the house has it.
func (w *word) send(ctx context.Context, api *client.Client) (*Refusal, error) {
	if w.refused != "" {
		return &Refusal{Line: w.line, Code: "unreadable", Detail: w.refused}, nil
	}
	body, err := json.Marshal(w.body)
	if err != nil {
		return nil, fmt.Errorf("encoding: %w", err)
	}
	sum := sha256.Sum256(body)
	a, err := api.Do(ctx, client.Request{Method: http.MethodPost, Path: "/disputes", Key: fmt.Sprintf("dispute-%x", sum[:16]), Prefer: "wait=30", Body: w.body})
	switch {
	case err != nil:
		return nil, err
	case a.Status == http.StatusOK:
		return nil, nil //nolint:nilnil // nothing is refused
	case a.Status == http.StatusAccepted:
		return &Refusal{Line: w.line, Code: "pending", Detail: "in the log, and not decided in time: load the file again"}, nil
	case a.Status == http.StatusUnauthorized, a.Status == http.StatusForbidden:
		return nil, fmt.Errorf("the key may not tell of disputes: %d", a.Status)
	}
	var problem struct {
		client.Problem
		Violations []struct{ Pointer, Detail string } `json:"violations"`
	}
	if err := json.Unmarshal(a.Body, &problem); err != nil {
		return nil, fmt.Errorf("reading the answer: %d %.200s", a.Status, a.Body)
	}
	for _, v := range problem.Violations {
		problem.Detail = strings.TrimSpace(problem.Detail + " " + v.Pointer + ": " + v.Detail + ".")
	}
	return &Refusal{Line: w.line, Code: problem.Code, Detail: problem.Detail}, nil
}

func read(o Options) (words []word, err error) {
	f, err := os.Open(o.File)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if strings.EqualFold(filepath.Ext(o.File), ".csv") {
		words, err = readCSV(f)
	} else {
		words, err = readLines(f)
	}
	if o.Connector != "" {
		for _, w := range words {
			if w.body != nil && w.body["connector"] == nil {
				w.body["connector"] = o.Connector
			}
		}
	}
	return words, err
}

// readLines reads one object per line. Numbers stay as they are written.
func readLines(r io.Reader) ([]word, error) {
	var words []word
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, lineMax)
	n := 1
	for ; lines.Scan(); n++ {
		text := bytes.TrimSpace(bytes.TrimPrefix(lines.Bytes(), []byte(byteOrderMark)))
		if len(text) == 0 {
			continue
		}
		w := word{line: n}
		d := json.NewDecoder(bytes.NewReader(text))
		d.UseNumber()
		switch err := d.Decode(&w.body); {
		case err != nil || w.body == nil || d.More():
			w.body, w.refused = nil, "the line is not one JSON object"
		case !jsontext.Value(text).IsValid(): // else the last of two amounts would be sent, and the front door see one
			w.body, w.refused = nil, "a name stands twice, or the text is no UTF-8"
		}
		words = append(words, w)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading line %d, of at most %d bytes: %w", n, lineMax, err)
	}
	return words, nil
}

// readCSV reads rows by the names in the header, which are those of the body. An empty field is left out.
func readCSV(r io.Reader) ([]word, error) {
	rows := csv.NewReader(r)
	rows.FieldsPerRecord = -1
	header, err := rows.Read()
	switch {
	case errors.Is(err, io.EOF):
		return nil, errors.New("the file is empty: its first line names the columns")
	case err != nil:
		return nil, fmt.Errorf("reading the header: %w", err)
	}
	header[0] = strings.TrimPrefix(header[0], byteOrderMark)
	if err := checkHeader(header); err != nil {
		return nil, err
	}
	var words []word
	for {
		fields, err := rows.Read()
		var bad *csv.ParseError
		switch {
		case errors.Is(err, io.EOF):
			return words, nil
		case errors.As(err, &bad):
			words = append(words, word{line: bad.StartLine, refused: bad.Err.Error()})
			continue
		case err != nil:
			return words, err
		}
		line, _ := rows.FieldPos(0)
		words = append(words, row(line, header, fields))
	}
}

// checkHeader refuses columns that no line could be read by: of two amounts neither is the right one.
func checkHeader(header []string) error {
	known := []string{"payment_id", "stage", "amount", "reference", "reason_code", "connector", "deadline", "occurred_at"}
	for i, name := range header {
		switch {
		case !slices.Contains(known, name):
			return fmt.Errorf("the header has a column %.40q: choose from %s", name, strings.Join(known, ", "))
		case slices.Contains(header[:i], name):
			return fmt.Errorf("the header has the column %s twice", name)
		}
	}
	for _, name := range known[:4] {
		if !slices.Contains(header, name) {
			return fmt.Errorf("the header has no column %s", name)
		}
	}
	return nil
}

func row(line int, header, fields []string) word {
	if len(fields) != len(header) {
		return word{line: line, refused: fmt.Sprintf("%d fields, and the header has %d", len(fields), len(header))}
	}
	w := word{line: line, body: map[string]any{}}
	for i, text := range fields {
		text = strings.TrimSpace(text)
		switch {
		case text == "":
		case header[i] == "amount":
			n, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				return word{line: line, refused: "amount is no whole number of minor units"}
			}
			w.body["amount"] = n
		default:
			w.body[header[i]] = text
		}
	}
	return w
}
