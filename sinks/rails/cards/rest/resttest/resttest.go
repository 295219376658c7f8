// Package resttest tries a dialect against a server of recorded answers, as text: what is asked of the acquirer, what the
// server says, which requests it got, and what the dialect made of it.
package resttest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/caudalpay/caudal/sinks/rails/cards"
)

// deadline of a call, far beyond what a busy machine takes: a server that hangs is given up when it has the request.
const deadline = 20 * time.Second

// Run walks through the files of testdata. Each case is a command
//
//	<operation> [amount=] [reference=] [brand=] [installments=] [account=] [nobody]
//
// with the answers to give, each after a line "HTTP <status>"; "CUT" cuts the connection after the request was read,
// "HANG" never answers, "TORN <status>" cuts it in the middle of the body, and nobody means that nobody listens.
func Run[P cards.Port](t *testing.T, dial func(url string) (P, error)) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			t.Helper()
			return try(t, d, dial)
		})
	})
}

func try[P cards.Port](t *testing.T, d *datadriven.TestData, dial func(url string) (P, error)) string {
	t.Helper()
	ctx, giveUp := context.WithTimeout(t.Context(), deadline)
	defer giveUp()
	s := &server{answers: parse(d.Input), giveUp: giveUp}
	listening := httptest.NewServer(s)
	defer listening.Close()
	if d.HasArg("nobody") {
		listening.Close()
	}
	port, err := dial(listening.URL)
	if err != nil {
		t.Fatal(err)
	}
	r, status := request(t, d, port)
	said := ""
	switch p := any(port).(type) {
	case cards.Acquirer:
		if status {
			said = tellStanding(p.Status(ctx, r))
		} else {
			said = tell(call(p, r.Operation)(ctx, r))
		}
	case cards.Bank:
		if status {
			said = tell(p.Find(ctx, r))
		} else {
			said = tell(p.Send(ctx, r))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got.String() + "=> " + said + "\n"
}

func call(a cards.Acquirer, o cards.Operation) func(context.Context, cards.Request) (cards.Result, error) {
	switch o {
	case cards.OperationCapture:
		return a.Capture
	case cards.OperationVoid:
		return a.Void
	case cards.OperationRefund:
		return a.Refund
	default:
		return a.Authorize
	}
}

func request(t *testing.T, d *datadriven.TestData, p cards.Port) (r cards.Request, status bool) {
	t.Helper()
	const orderID = "pi_aaaaaaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbb.collect"
	r = cards.Request{
		OrderID: orderID, OwnReference: p.OwnReference(orderID, 1), AmountMinor: 15_700, Currency: "BRL",
		Instrument: "6e1bf77a-b28b-4660-b14f-455e2a1c95e9", Brand: "visa", Installments: 1,
	}
	d.MaybeScanArgs(t, "amount", &r.AmountMinor)
	d.MaybeScanArgs(t, "reference", &r.Reference)
	d.MaybeScanArgs(t, "brand", &r.Brand)
	d.MaybeScanArgs(t, "account", &r.Destination.Account)
	installments := 1
	d.MaybeScanArgs(t, "installments", &installments)
	r.Installments = uint32(installments)
	for _, o := range []cards.Operation{
		cards.OperationAuthorize, cards.OperationCollect, cards.OperationCapture, cards.OperationVoid, cards.OperationRefund,
		cards.OperationSend,
	} {
		if o.String() == d.Cmd {
			r.Operation = o
		}
	}
	if r.Operation == cards.OperationUnknown && d.Cmd != "status" {
		d.Fatalf(t, "no operation %q", d.Cmd)
	}
	return r, d.Cmd == "status"
}

func tell(r cards.Result, err error) string {
	if err != nil {
		return "not sent"
	}
	return fmt.Sprintf("%s code=%q reference=%q amount=%d", r.Outcome, r.Code, r.Reference, r.AmountMinor) + told("tid", r.TID)
}

func tellStanding(s cards.Standing, err error) string {
	if err != nil {
		return "not sent"
	}
	words := []string{"unclear", "absent", "pending", "authorized", "captured", "voided", "declined"}
	out := fmt.Sprintf("%s code=%q reference=%q authorized=%d captured=%d returned=%d",
		words[s.State], s.Code, s.Reference, s.AuthorizedMinor, s.CapturedMinor, s.ReturnedMinor) + told("tid", s.TID)
	if s.Disputed {
		out += " disputed"
	}
	return out
}

// told is what few tell, where it is told.
func told(name, text string) string {
	if text == "" {
		return ""
	}
	return fmt.Sprintf(" %s=%q", name, text)
}

// answer is what the server says to one request.
type answer struct {
	status int // 0: nothing
	word   string
	body   string
}

func parse(input string) (all []answer) {
	for line := range strings.Lines(input) {
		word := strings.TrimSpace(line)
		if word == "CUT" || word == "HANG" {
			all = append(all, answer{word: word})
			continue
		}
		var status int
		if n, err := fmt.Sscanf(word, "HTTP %d", &status); err == nil && n == 1 {
			all = append(all, answer{status: status})
		} else if n, err := fmt.Sscanf(word, "TORN %d", &status); err == nil && n == 1 {
			all = append(all, answer{status: status, word: "TORN"})
		} else if len(all) > 0 {
			all[len(all)-1].body += line
		}
	}
	return all
}

// server gives the answers in their order, and notes what it was asked.
type server struct {
	giveUp context.CancelFunc // as a caller does at its deadline

	mu      sync.Mutex
	answers []answer
	got     bytes.Buffer
}

// ServeHTTP implements http.Handler.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	s.mu.Lock()
	s.note(r, body)
	next := answer{status: http.StatusTeapot}
	if len(s.answers) > 0 {
		next, s.answers = s.answers[0], s.answers[1:]
	}
	s.mu.Unlock()
	switch next.word {
	case "CUT":
		panic(http.ErrAbortHandler)
	case "HANG":
		s.giveUp()
		<-r.Context().Done()
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if next.word == "TORN" {
		w.Header().Set("Content-Length", "1000")
	}
	w.WriteHeader(next.status)
	_, _ = io.WriteString(w, next.body)
	if next.word == "TORN" {
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

func (s *server) note(r *http.Request, body []byte) {
	fmt.Fprintf(&s.got, "%s %s\n", r.Method, r.URL.RequestURI())
	var names []string
	for name := range r.Header {
		if !slices.Contains([]string{"Accept-Encoding", "Content-Length", "User-Agent", "Accept"}, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(&s.got, "%s: %s\n", name, strings.Join(r.Header[name], ", "))
	}
	if len(body) == 0 {
		return
	}
	if json.Indent(&s.got, body, "", " ") != nil {
		s.got.Write(body)
	}
	s.got.WriteByte('\n')
}
