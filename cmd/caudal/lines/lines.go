// Package lines sends the lines of a card network's file through the front door, one request each, and says what became of every
// line. It decides nothing, and does not know what the lines say.
package lines

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/caudalpay/caudal/cmd/caudal/client"
	"github.com/caudalpay/caudal/cmd/caudal/progress"
)

// Mark is the byte order mark that some programs write before the first line.
const Mark = "\ufeff"

// lineMax is how long a line may be, in bytes.
const lineMax = 64 << 10

// Scan gives every line that holds anything, with its number from 1, without the space around it. The text is valid until each
// returns; an error of each ends the reading, and is returned.
func Scan(r io.Reader, each func(number int, text []byte) error) error {
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, lineMax)
	n := 1
	for ; scanner.Scan(); n++ {
		if text := bytes.TrimSpace(bytes.TrimPrefix(scanner.Bytes(), []byte(Mark))); len(text) > 0 {
			if err := each(n, text); err != nil {
				return err
			}
		}
	}
	if err := scanner.Err(); err != nil {
		return fmt.Errorf("reading line %d, of at most %d bytes: %w", n, lineMax, err)
	}
	return nil
}

// Whole refuses a table whose last line does not end: cut inside its last field, that line would be read as another reference, or a
// smaller amount. It leaves the reader at the beginning.
func Whole(r io.ReadSeeker) error {
	size, err := r.Seek(0, io.SeekEnd)
	if err == nil && size > 0 {
		last := make([]byte, 1)
		if _, err = r.Seek(-1, io.SeekEnd); err == nil {
			if _, err = io.ReadFull(r, last); err == nil && last[0] != '\n' {
				return errors.New("nothing was sent: the last line does not end in a line break, so the file may have been cut; where it is whole, add one")
			}
		}
	}
	if err == nil {
		_, err = r.Seek(0, io.SeekStart)
	}
	if err != nil {
		return fmt.Errorf("looking for the end of the file: %w", err)
	}
	return nil
}

// Line is a line on its way, or what is wrong with it.
type Line struct {
	Number  int    // of the file, from 1
	Lane    string // lines of one lane are sent one after the other, in their order
	Key     string // its idempotency key
	Body    any    // of the request
	Refused string // why it is not sent; empty: it is
}

// Refusal is a line that changed nothing.
type Refusal struct {
	Line     int    `json:"line"` // of the file, from 1
	Code     string `json:"code"`
	Detail   string `json:"detail"`
	Instance string `json:"instance,omitempty"` // where what it is about stands in the API, where the answer says so
}

// Options say what to load, and where to.
type Options struct {
	File     string
	URL      string
	Token    string
	Workers  int       // requests in flight
	Progress io.Writer // a bar where it is a terminal, and what is waited for; nil: nobody hears
}

// Validate says what cannot be meant.
func (o Options) Validate() error {
	if o.Workers < 1 {
		return fmt.Errorf("%d workers: at least one sends", o.Workers)
	}
	return nil
}

// Door is where lines are sent to.
type Door struct {
	Options
	Path string // of the request that takes a line
	What string // what it takes, for who may not send it
}

// Send sends the lines. Each is either given to taken, with its answer, or among those refused, in the order of the file; one that is
// refused stops no other. The error tells what stopped it half-way.
func Send(ctx context.Context, door Door, lines []Line, taken func(*Line, client.Answer) error) ([]Refusal, error) {
	if err := door.Validate(); err != nil {
		return nil, err
	}
	api := client.New(strings.TrimSuffix(door.URL, "/"), door.Token, door.Workers).Telling(door.Progress)
	defer api.Close()
	bar := progress.New(door.Progress, door.What, "lines", int64(len(lines)))
	refusals := []Refusal{}
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	for _, lane := range lanes(lines, door.Workers) {
		group.Go(func() error {
			for _, l := range lane {
				a, refused, err := l.send(ctx, api, &door)
				if err != nil {
					return fmt.Errorf("sending line %d: %w", l.Number, err)
				}
				mu.Lock()
				if refused != nil {
					refusals = append(refusals, *refused)
				} else {
					err = taken(l, a)
				}
				mu.Unlock()
				if err != nil {
					return fmt.Errorf("reading the answer to line %d: %w", l.Number, err)
				}
				bar.Add(1)
			}
			return nil
		})
	}
	err := group.Wait()
	if err == nil {
		bar.Finish()
	}
	slices.SortFunc(refusals, func(a, b Refusal) int { return a.Line - b.Line })
	return refusals, err //nolint:wrapcheck // the workers have said what they were doing
}

// lanes deals the lines out, those of one lane to one worker.
func lanes(lines []Line, n int) [][]*Line {
	out := make([][]*Line, n)
	for i := range lines {
		h := fnv.New32a()
		_, _ = io.WriteString(h, lines[i].Lane) // a hash takes everything
		at := int(h.Sum32()) % len(out)
		out[at] = append(out[at], &lines[i])
	}
	return out
}

const (
	inFlight       = "idempotency_in_flight"
	inFlightPause  = 200 * time.Millisecond
	inFlightTrials = 300 // a minute: longer than anybody waits for an answer
)

// send hands a line over.
func (l *Line) send(ctx context.Context, api *client.Client, door *Door) (client.Answer, *Refusal, error) {
	if l.Refused != "" {
		return client.Answer{}, &Refusal{Line: l.Number, Code: "unreadable", Detail: l.Refused}, nil
	}
	for trial := 1; ; trial++ {
		a, err := api.Do(ctx, client.Request{Method: http.MethodPost, Path: door.Path, Key: l.Key, Prefer: "wait=30", Body: l.Body})
		switch {
		case err != nil:
			return a, nil, err //nolint:wrapcheck // the caller says of which line
		case a.Status == http.StatusAccepted:
			return a, &Refusal{Line: l.Number, Code: "pending", Detail: "in the log, and not decided in time: load the file again"}, nil
		case a.Status < http.StatusMultipleChoices:
			return a, nil, nil
		case a.Status == http.StatusUnauthorized, a.Status == http.StatusForbidden:
			return a, nil, fmt.Errorf("the key may not tell of %s: %d", door.What, a.Status)
		}
		refused, err := l.problem(a)
		if err != nil || refused.Code != inFlight || trial == inFlightTrials {
			return a, refused, err
		}
		select { // a request whose answer was lost is still waited for
		case <-time.After(inFlightPause):
		case <-ctx.Done():
			return a, nil, ctx.Err()
		}
	}
}

// problem reads why a line was refused.
func (l *Line) problem(a client.Answer) (*Refusal, error) {
	var problem struct {
		client.Problem
		Instance   string                             `json:"instance"`
		Violations []struct{ Pointer, Detail string } `json:"violations"`
	}
	if err := json.Unmarshal(a.Body, &problem); err != nil {
		return nil, fmt.Errorf("reading the answer: %d %.200s", a.Status, a.Body)
	}
	for _, v := range problem.Violations {
		problem.Detail = strings.TrimSpace(problem.Detail + " " + v.Pointer + ": " + v.Detail + ".")
	}
	return &Refusal{Line: l.Number, Code: problem.Code, Detail: problem.Detail, Instance: problem.Instance}, nil
}
