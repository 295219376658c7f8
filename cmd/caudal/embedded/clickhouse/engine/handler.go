package engine

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// bytesMax of a request body: inserts are streamed into the engine, statements are held in memory.
const (
	insertBytesMax    = 4 << 30
	statementBytesMax = 64 << 20
)

// handler answers ClickHouse's HTTP interface.
type handler struct {
	pool              *pool
	password          string
	version, timezone string
}

func newHandler(p *pool, password string) (*handler, error) {
	h := &handler{pool: p, password: password}
	_, err := p.killer.run("SELECT version(), timezone()", "TabSeparated", nil, func(row []byte) error {
		var ok bool
		h.version, h.timezone, ok = strings.Cut(strings.TrimSpace(string(row)), "\t")
		if !ok {
			return fmt.Errorf("unexpected version row %q", row)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("asking the engine for its version: %w", err)
	}
	return h, nil
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	head := w.Header()
	head.Set("X-ClickHouse-Server-Display-Name", "caudal")
	head.Set("X-ClickHouse-Timezone", h.timezone)
	switch {
	case r.URL.Path == "/ping", r.URL.Path == "/" && r.Method == http.MethodGet && !r.URL.Query().Has("query"):
		_, _ = io.WriteString(w, "Ok.\n") // the client may be gone
		return
	case r.URL.Path != "/":
		http.Error(w, "There is no handle "+r.URL.Path, http.StatusNotFound)
		return
	}
	id := r.URL.Query().Get("query_id")
	if id == "" {
		id = uuid.NewString()
	}
	head.Set("X-ClickHouse-Query-Id", id)
	out := newOutput(w, r)
	err := h.serve(out, r)
	if err == nil {
		err = out.close()
	}
	if err != nil {
		out.fail(asException(err))
	}
}

// request is one statement on its way through the engine.
type request struct {
	statement string
	keyword   string
	body      io.Reader // data that follows the statement
	inBody    bool      // the statement itself was the body
}

// serve runs one request.
func (h *handler) serve(out *output, r *http.Request) error {
	who, err := authenticate(r, h.password)
	if err != nil {
		return err
	}
	req, err := readRequest(r)
	if err != nil {
		return err
	}
	query := r.URL.Query()
	if revision, err := strconv.Atoi(query.Get("client_protocol_version")); err == nil && revision > 0 && req.statement == handshake {
		_, err := out.Write(h.handshakeBlock(revision))
		return err
	}
	if (r.Method == http.MethodGet || r.Method == http.MethodHead) && !reads(req.keyword) {
		return exceptionf(codeReadonly, "Cannot execute query in readonly mode. For queries over HTTP, method GET implies readonly. "+
			"You should use method POST for modifying queries. (READONLY)")
	}
	insertsBody := req.keyword == "INSERT" && !req.inBody
	if !insertsBody {
		if err := req.join(); err != nil {
			return err
		}
	}
	if who == analyst {
		if err := checkAnalyst(req, query); err != nil {
			return err
		}
	}
	s, err := h.pool.lend(r.Context(), who)
	if err != nil {
		return err
	}
	defer h.pool.giveBack(s)
	s.stale = leavesTraces(req.keyword, req.statement)
	params, err := s.prepare(query)
	if err != nil {
		return err
	}
	defer h.pool.killWhenGone(r.Context(), s)()
	if insertsBody {
		return s.insertBody(out, req)
	}
	return s.execute(out, req, params, r)
}

// readRequest takes the statement from the query string, or from the body if there is none.
func readRequest(r *http.Request) (*request, error) {
	switch {
	case strings.HasPrefix(r.Header.Get("Content-Type"), "multipart/"):
		return nil, exceptionf(codeNotImplemented, "external tables over multipart are not supported by the embedded server (NOT_IMPLEMENTED)")
	case r.URL.Query().Has("session_id"):
		return nil, exceptionf(codeNotImplemented, "HTTP sessions are not supported by the embedded server (NOT_IMPLEMENTED)")
	}
	body, err := decodeBody(r)
	if err != nil {
		return nil, err
	}
	req := &request{statement: r.URL.Query().Get("query"), body: body}
	if req.statement == "" {
		text, err := readStatement(body)
		if err != nil {
			return nil, err
		}
		req.statement, req.inBody, req.body = text, true, bytes.NewReader(nil)
	}
	req.statement = strings.TrimSpace(req.statement)
	if req.keyword = keyword(req.statement); req.keyword == "" {
		return nil, exceptionf(62, "Syntax error: failed at position 1 (end of query). (SYNTAX_ERROR)")
	}
	return req, nil
}

func readStatement(body io.Reader) (string, error) {
	text, err := io.ReadAll(io.LimitReader(body, statementBytesMax+1))
	if err != nil {
		return "", exceptionf(codeCannotReadData, "cannot read the request body: %v (CANNOT_READ_ALL_DATA)", err)
	}
	if len(text) > statementBytesMax {
		return "", exceptionf(codeTooLarge, "a statement with more than %d bytes: send data as body of ?query=INSERT (TOO_MANY_BYTES)", statementBytesMax)
	}
	return string(text), nil
}

// join appends the body to a statement from the query string, as ClickHouse does.
func (req *request) join() error {
	rest, err := readStatement(req.body)
	if err != nil {
		return err
	}
	if rest != "" {
		req.statement += "\n" + rest
	}
	return nil
}

// execute runs a statement that is complete, streaming its result where the format allows.
func (s *session) execute(out *output, req *request, params []param, r *http.Request) error {
	format := r.Header.Get("X-ClickHouse-Format")
	if format == "" {
		format = r.URL.Query().Get("default_format")
	}
	if format == "" {
		format = "TabSeparated"
	}
	shown := format
	if m := formatClause.FindStringSubmatch(req.statement); m != nil && req.keyword != "INSERT" {
		shown = m[1]
	}
	out.setFormat(shown)
	write := func(chunk []byte) error {
		_, err := out.Write(chunk)
		return err
	}
	if (req.keyword == "SELECT" || req.keyword == "WITH") && joinable(shown) && r.URL.Query().Get("wait_end_of_query") != "1" {
		err := s.stream(req.statement, format, params, write)
		if err == nil && !out.sent && shown == "Native" {
			return s.writeHeader(out, req.statement, params)
		}
		if !notStreamable(err) {
			return err
		}
	}
	st, err := s.run(req.statement, format, params, write)
	out.summary(st)
	return err
}

// notStreamable: refused before anything ran, so the buffered way is still open.
func notStreamable(err error) bool {
	var e *Exception
	return errors.As(err, &e) && e.Code == codeBadArguments && strings.Contains(e.Text, "Streaming query is not supported")
}
