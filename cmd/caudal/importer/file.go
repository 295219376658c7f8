package importer

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/caudalpay/caudal/cmd/caudal/lines"
)

// file is a CSV file with its header read.
type file struct {
	closer io.Closer
	reader *csv.Reader
	header []string
	digest string // of the whole file
	lines  int    // without the header; a quoted line break counts, so it is for the progress bar only
	number int64
}

// open reads the file once for its digest and length, and then its header.
func open(path, delimiter string) (*file, error) {
	f, err := os.Open(path) //nolint:gosec // the path is what the caller asked for
	if err != nil {
		return nil, fmt.Errorf("opening file: %w", err)
	}
	out := &file{closer: f}
	if err := out.begin(f, delimiter); err != nil {
		return nil, errors.Join(fmt.Errorf("reading %s: %w", path, err), f.Close())
	}
	return out, nil
}

func (f *file) begin(r io.ReadSeeker, delimiter string) error {
	if err := lines.Whole(r); err != nil { // the whole file would, by its digest, be other payments than the one that was cut
		return err //nolint:wrapcheck // the caller says of which file
	}
	hash, breaks := sha256.New(), breakCounter(0)
	if _, err := io.Copy(io.MultiWriter(hash, &breaks), r); err != nil {
		return err
	}
	f.digest, f.lines = hex.EncodeToString(hash.Sum(nil)), max(int(breaks)-1, 0)
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return err
	}
	buffered := bufio.NewReaderSize(r, 1<<20)
	if mark, err := buffered.Peek(len(lines.Mark)); err == nil && string(mark) == lines.Mark {
		if _, err := buffered.Discard(len(lines.Mark)); err != nil {
			return err
		}
	}
	f.reader = csv.NewReader(buffered)
	if delimiter != "" {
		f.reader.Comma = rune(delimiter[0])
	}
	header, err := f.reader.Read() // the number of its fields binds the rows
	if err != nil {
		return fmt.Errorf("reading the header: %w", err)
	}
	f.header = header
	return nil
}

func (f *file) columns() (map[string]int, error) {
	columns := make(map[string]int, len(f.header))
	for i, name := range f.header {
		name = strings.TrimSpace(name)
		if _, ok := columns[name]; ok {
			return nil, fmt.Errorf("the header names %q twice", name)
		}
		columns[name] = i
	}
	return columns, nil
}

// next returns a row, or why a line is none. The error is io.EOF at the end, or that the file cannot be read.
func (f *file) next() (*row, *refused, error) {
	cells, err := f.reader.Read()
	var parse *csv.ParseError
	switch {
	case errors.As(err, &parse):
		f.number++
		return &row{number: f.number, line: parse.StartLine, cells: cells}, &refused{"malformed_row", parse.Err.Error()}, nil
	case err != nil:
		return nil, nil, err
	}
	f.number++
	line, _ := f.reader.FieldPos(0)
	return &row{number: f.number, line: line, cells: cells}, nil, nil
}

// breakCounter counts line breaks.
type breakCounter int

func (c *breakCounter) Write(b []byte) (int, error) {
	*c += breakCounter(bytes.Count(b, []byte{'\n'}))
	return len(b), nil
}
