package importer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/caudalpay/caudal/cmd/caudal/client"
)

const (
	// waited is what a batch asks to wait: a row is done when it is decided, so that a decline stands in the side file.
	waited   = "wait=30"
	pauseMin = 50 * time.Millisecond
	pauseMax = 2 * time.Second
	// patience is how long rows may stay unanswered, without one of them moving on, before the import stops.
	patience = 5 * time.Minute
)

// worker sends the rows of its accounts, one request at a time.
type worker struct {
	run      *run
	accounts map[string]account // by external id
}

// account is what opening it came to: its id, or why not.
type account struct {
	id  string
	why *refused
}

// work takes rows as they come: all that wait, up to a batch.
func (w *worker) work(ctx context.Context, rows <-chan *row) error {
	for first := range rows {
		batch := []*row{first}
	fill:
		for len(batch) < w.run.options.Batch {
			select {
			case next, more := <-rows:
				if !more {
					break fill
				}
				batch = append(batch, next)
			default:
				break fill
			}
		}
		if err := w.send(ctx, batch); err != nil {
			return fmt.Errorf("importing lines %d to %d: %w", batch[0].line, batch[len(batch)-1].line, err)
		}
	}
	return nil
}

// send brings every row of a batch to its end, in order.
func (w *worker) send(ctx context.Context, batch []*row) error {
	if err := w.openMissing(ctx, batch); err != nil {
		return err
	}
	open := make([]*row, 0, len(batch))
	for _, r := range batch {
		if r.open != nil {
			a := w.accounts[r.open.ExternalID]
			if a.why != nil {
				if err := w.run.refuse(r, *a.why); err != nil {
					return err
				}
				continue
			}
			r.item.AccountID = a.id
		}
		open = append(open, r)
	}
	pause, moved := pauseMin, time.Now()
	for len(open) > 0 {
		rest, err := w.once(ctx, open)
		if err != nil {
			return err
		}
		if len(rest) == len(open) && time.Since(moved) > patience {
			return fmt.Errorf("%d rows stay without a decision", len(rest))
		}
		if len(rest) < len(open) {
			moved, pause = time.Now(), pauseMin
		}
		if open = rest; len(open) == 0 {
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
			pause = min(2*pause, pauseMax)
		}
	}
	return nil
}

// answered is an item of the batch's answer, as far as it matters here.
type answered struct {
	Status   int         `json:"status"`
	Replayed bool        `json:"replayed"`
	Body     itemMessage `json:"body"`
}

type itemMessage struct {
	Decision   string   `json:"decision"`
	Status     any      `json:"status"` // a payment's word, or a problem's number
	Code       string   `json:"code"`
	Detail     string   `json:"detail"`
	Reasons    []string `json:"reasons"`
	Violations []struct {
		Pointer string `json:"pointer"`
		Detail  string `json:"detail"`
	} `json:"violations"`
}

// once sends rows and returns those that have to be sent again: not taken for now, or taken and not decided in time.
// To send them again is safe, a repeat moves nothing.
func (w *worker) once(ctx context.Context, rows []*row) ([]*row, error) {
	items := make([]*item, len(rows))
	for i, r := range rows {
		items[i] = &r.item
	}
	answer, err := w.run.api.Do(ctx, client.Request{Method: http.MethodPost, Path: "/payments:batch", Prefer: waited, Body: items})
	if err != nil {
		return nil, err
	}
	var got struct {
		Items []answered `json:"items"`
	}
	if err := json.Unmarshal(answer.Body, &got); err != nil || answer.Status >= http.StatusMultipleChoices || len(got.Items) != len(rows) {
		return nil, errors.Join(fmt.Errorf("a batch of %d was answered %d: %.300s", len(rows), answer.Status, answer.Body), err)
	}
	var rest []*row
	for i, a := range got.Items {
		again, err := w.settle(rows[i], a)
		if err != nil {
			return nil, err
		}
		if again {
			rest = append(rest, rows[i])
		}
	}
	return rest, nil
}

// settle notes what became of a row, or tells to send it again.
func (w *worker) settle(r *row, a answered) (again bool, err error) {
	review := a.Body.Decision == "review"
	switch {
	case a.Body.Status == "pending", a.Status == http.StatusTooManyRequests, a.Status >= http.StatusInternalServerError,
		a.Status == http.StatusConflict && a.Body.Code == "idempotency_in_flight":
		return true, nil
	case a.Replayed:
		w.run.mu.Lock()
		w.run.result.Repeated++
		w.run.mu.Unlock()
	}
	switch {
	case a.Status < http.StatusMultipleChoices && (review || a.Body.Decision == "approved"):
		w.run.count(func(result *Result) {
			if review {
				result.Review++
			} else {
				result.Approved++
			}
		})
		return false, nil
	case a.Status < http.StatusMultipleChoices:
		return false, fmt.Errorf("line %d was answered %d with the decision %q", r.line, a.Status, a.Body.Decision)
	default:
		return false, w.run.refuse(r, a.Body.why())
	}
}

// why is the main reason of a decline, else the code of the problem, with all that was said about it.
func (m itemMessage) why() refused {
	details := make([]string, 0, 1+len(m.Violations))
	if m.Detail != "" {
		details = append(details, m.Detail)
	}
	for _, v := range m.Violations {
		details = append(details, strings.TrimSpace(v.Pointer+" "+v.Detail))
	}
	out := refused{code: m.Code, detail: strings.Join(details, "; ")}
	if len(m.Reasons) > 0 {
		out.code = m.Reasons[0]
		out.detail = strings.Join(m.Reasons, " ")
	}
	return out
}

// openMissing opens the accounts that this worker meets for the first time.
func (w *worker) openMissing(ctx context.Context, batch []*row) error {
	var mu sync.Mutex
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(openAtOnce)
	asked := map[string]bool{}
	found := map[string]account{}
	for _, r := range batch {
		if r.open == nil || asked[r.open.ExternalID] {
			continue
		}
		if _, known := w.accounts[r.open.ExternalID]; known {
			continue
		}
		asked[r.open.ExternalID] = true
		group.Go(func() error {
			a, err := w.openOne(inner, r.open)
			mu.Lock()
			defer mu.Unlock()
			found[r.open.ExternalID] = a
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for external, a := range found {
		w.accounts[external] = a
		if a.why == nil {
			w.run.mu.Lock()
			w.run.result.AccountsOpened++
			w.run.mu.Unlock()
		}
	}
	return nil
}

// openOne opens an account, or finds that it is open on the same terms, and waits until it can be used.
func (w *worker) openOne(ctx context.Context, o *opening) (account, error) {
	pause := pauseMin
	for until := time.Now().Add(patience); time.Now().Before(until); pause = min(2*pause, pauseMax) {
		answer, err := w.run.api.Do(ctx, client.Request{Method: http.MethodPost, Path: "/accounts", Key: "import-open-" + o.ExternalID, Body: o})
		if err != nil {
			return account{}, fmt.Errorf("opening account %s: %w", o.ExternalID, err)
		}
		var body struct {
			itemMessage
			AccountID string `json:"account_id"`
		}
		if err := json.Unmarshal(answer.Body, &body); err != nil {
			return account{}, fmt.Errorf("opening account %s: answered %d: %.300s: %w", o.ExternalID, answer.Status, answer.Body, err)
		}
		switch {
		case answer.Status < http.StatusMultipleChoices && body.Status != "pending" && body.AccountID != "":
			return account{id: body.AccountID}, nil
		case answer.Status == http.StatusUnauthorized || answer.Status == http.StatusForbidden:
			return account{}, fmt.Errorf("opening account %s: answered %d: %s", o.ExternalID, answer.Status, body.Code)
		case answer.Status >= http.StatusBadRequest && answer.Status < http.StatusInternalServerError &&
			body.Code != "idempotency_in_flight" && answer.Status != http.StatusTooManyRequests:
			why := body.why()
			return account{why: &refused{"account_refused", strings.TrimSpace(why.code + " " + why.detail)}}, nil
		}
		select {
		case <-ctx.Done():
			return account{}, ctx.Err()
		case <-time.After(pause):
		}
	}
	return account{}, fmt.Errorf("opening account %s: still not usable", o.ExternalID)
}
