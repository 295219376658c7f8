// Package disputes loads a card network's file of disputes through the front door of a running installation.
// It decides nothing: each line is a word about one dispute, which the house takes, knows already, or refuses.
package disputes

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/caudalpay/caudal/cmd/caudal/client"
	"github.com/caudalpay/caudal/cmd/caudal/lines"
)

// Options say what to load, and where to: CSV with a header where the file's name ends in .csv, else one JSON object per line.
type Options struct {
	lines.Options
	Connector string // who tells, of lines that do not say it; empty: the operator
}

// Result counts the lines. Invariant: where nothing stopped the run, each line that holds anything is taken, repeated, stale or refused.
type Result struct {
	Lines    int             `json:"lines"`
	Taken    int             `json:"taken"`
	Repeated int             `json:"repeated"` // said before, to the letter: nothing has moved
	Stale    []lines.Refusal `json:"stale"`    // the dispute is past what the line says, also where that was said before: nothing has moved
	Refused  []lines.Refusal `json:"refused"`  // both in the order of the file
}

// word is a line: the body of POST /disputes, or what is wrong with it.
type word struct {
	line    int
	body    map[string]any
	refused string
}

// Load sends every line, in order per pay-in. A line that is refused stops no other. Running it again changes nothing: the
// key of a line is what it says, and the house takes what is told under one key once. The error tells what stopped it half-way; then run it again.
func Load(ctx context.Context, o Options) (Result, error) {
	words, err := read(o)
	if err != nil {
		return Result{}, fmt.Errorf("reading %s: %w", o.File, err)
	}
	told, stages := make([]lines.Line, len(words)), map[int]any{}
	for i, w := range words {
		stages[w.line] = w.body["stage"]
		if told[i], err = w.told(); err != nil {
			return Result{}, fmt.Errorf("encoding line %d: %w", w.line, err)
		}
	}
	doubt(told)
	result := Result{Lines: len(words), Stale: []lines.Refusal{}}
	door := lines.Door{Options: o.Options, Path: "/disputes", What: "disputes"}
	result.Refused, err = lines.Send(ctx, door, told, func(l *lines.Line, a client.Answer) error {
		return result.take(l.Number, stages[l.Number], a)
	})
	slices.SortFunc(result.Stale, func(a, b lines.Refusal) int { return a.Line - b.Line })
	return result, err //nolint:wrapcheck // it says at which line
}

// take counts a line that the house did not refuse. A stage that moves a dispute, or finds it there, leaves the status of its name.
func (r *Result) take(line int, stage any, a client.Answer) error {
	var dispute struct {
		Status string `json:"status"`
	}
	if err := json.Unmarshal(a.Body, &dispute); err != nil {
		return fmt.Errorf("decoding: %w", err)
	}
	switch {
	case dispute.Status != stage:
		r.Stale = append(r.Stale, stale(line, dispute.Status, a.Replayed))
	case a.Replayed:
		r.Repeated++
	default:
		r.Taken++
	}
	return nil
}

// stale names a line that a dispute is past. A repeat gets the first answer, and the dispute may have gone on since.
func stale(line int, status string, again bool) lines.Refusal {
	detail := "the dispute stands at " + status
	if again {
		detail = "said before, when the dispute stood at " + status
	}
	return lines.Refusal{Line: line, Code: "stale", Detail: detail}
}

// doubt refuses what is said again, to the letter, behind other words on its pay-in: it may be news, as a dispute that is won a second
// time, and under its key it would be taken for a repeat.
func doubt(told []lines.Line) {
	last, first := map[string]string{}, map[string]int{}
	for i := range told {
		l := &told[i]
		if l.Refused != "" {
			continue
		}
		if n := first[l.Key]; n > 0 && last[l.Lane] != l.Key {
			l.Refused = fmt.Sprintf("line %d says the same, and another line stands between them: give each its occurred_at, so that the second is no repeat", n)
			continue
		}
		if first[l.Key] == 0 {
			first[l.Key] = l.Number
		}
		last[l.Lane] = l.Key
	}
}

// told is the line to send. Those about one pay-in go in their order: it is what they say.
func (w *word) told() (lines.Line, error) {
	body, err := json.Marshal(w.body)
	if err != nil {
		return lines.Line{}, err //nolint:wrapcheck // the caller says of which line
	}
	sum := sha256.Sum256(body)
	return lines.Line{
		Number: w.line, Lane: fmt.Sprint(w.body["payment_id"]), Key: fmt.Sprintf("dispute-%x", sum[:16]), Body: json.RawMessage(body), Refused: w.refused,
	}, nil
}

func read(o Options) (words []word, err error) {
	f, err := os.Open(o.File)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if strings.EqualFold(filepath.Ext(o.File), ".csv") {
		if err = lines.Whole(f); err == nil {
			words, err = readCSV(f)
		}
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
	err := lines.Scan(r, func(n int, text []byte) error {
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
		return nil
	})
	if err == nil && len(words) == 0 { // a file that nobody has written must not look like one that was loaded
		err = errors.New("the file is empty: each of its lines is a JSON object")
	}
	return words, err //nolint:wrapcheck // it says at which line
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
	header[0] = strings.TrimPrefix(header[0], lines.Mark)
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
