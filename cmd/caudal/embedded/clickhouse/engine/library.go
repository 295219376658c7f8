package engine

import (
	"errors"
	"fmt"
	"regexp"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"unsafe"

	"github.com/ebitengine/purego"
)

type pointer = unsafe.Pointer

// library is libchdb bound with purego, so that CGO stays off.
//
// What the engine demands is kept here: one storage path per process; connecting and closing one at a
// time, with the process's signal handlers saved around it, since the engine replaces those of the Go
// runtime; every result, also one that is an error, destroyed.
type library struct {
	path string // storage folder of all connections

	connect     func(argc int32, argv pointer) pointer
	closeConn   func(conn pointer)
	query       func(conn, query pointer, n uintptr, format pointer, fn uintptr, names, nameLens, values, valueLens pointer, count uintptr) pointer
	streamQuery func(conn, query pointer, n uintptr, format pointer, fn uintptr, names, nameLens, values, valueLens pointer, count uintptr) pointer
	streamFetch func(conn, stream pointer) pointer
	streamStop  func(conn, stream pointer)
	destroy     func(result pointer)
	buffer      func(result pointer) pointer
	length      func(result pointer) uintptr
	errorText   func(result pointer) string
	rowsRead    func(result pointer) uint64
	rowsWritten func(result pointer) uint64

	insertOpen    func(conn, query pointer, n uintptr, format pointer, fn uintptr) pointer
	insertAppend  func(insert, data pointer, n uintptr) int32
	insertDone    func(insert pointer) pointer
	insertError   func(insert pointer) string
	insertDestroy func(insert pointer)

	setSignalHandlers func(on int32)
	sigaction         func(sig int32, act, old pointer) int32

	lifecycle sync.Mutex // connect and close
}

// load opens the library file. path is the folder in which the engine keeps its data.
func load(file, path string) (l *library, err error) {
	handle, err := purego.Dlopen(file, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, fmt.Errorf("opening engine library: %w", err)
	}
	self, err := purego.Dlopen("", purego.RTLD_NOW)
	if err != nil {
		return nil, fmt.Errorf("opening C library: %w", err)
	}
	defer func() { // purego reports a missing symbol by panicking
		if r := recover(); r != nil {
			err = fmt.Errorf("binding engine library (libchdb 26.7.2 or newer is needed): %v", r)
		}
	}()
	l = &library{path: path}
	for symbol, function := range map[string]any{
		"chdb_connect":                     &l.connect,
		"chdb_close_conn":                  &l.closeConn,
		"chdb_query_with_params_n":         &l.query,
		"chdb_stream_query_with_params_n":  &l.streamQuery,
		"chdb_stream_fetch_result":         &l.streamFetch,
		"chdb_stream_cancel_query":         &l.streamStop,
		"chdb_destroy_query_result":        &l.destroy,
		"chdb_result_buffer":               &l.buffer,
		"chdb_result_length":               &l.length,
		"chdb_result_error":                &l.errorText,
		"chdb_result_storage_rows_read":    &l.rowsRead,
		"chdb_result_rows_written":         &l.rowsWritten,
		"chdb_stream_insert_n":             &l.insertOpen,
		"chdb_stream_append":               &l.insertAppend,
		"chdb_stream_done":                 &l.insertDone,
		"chdb_stream_insert_error":         &l.insertError,
		"chdb_destroy_insert_stream":       &l.insertDestroy,
		"chdb_set_signal_handlers_enabled": &l.setSignalHandlers,
	} {
		purego.RegisterLibFunc(function, handle, symbol)
	}
	purego.RegisterLibFunc(&l.sigaction, self, "sigaction")
	defer l.keepSignals()()
	l.setSignalHandlers(0)
	return l, nil
}

// keepSignals saves the signal handlers; the returned function puts them back.
func (l *library) keepSignals() func() {
	signals := []int32{
		int32(syscall.SIGILL), int32(syscall.SIGTRAP), int32(syscall.SIGABRT), int32(syscall.SIGBUS), int32(syscall.SIGFPE),
		int32(syscall.SIGSEGV), int32(syscall.SIGSYS), int32(syscall.SIGTSTP), int32(syscall.SIGURG), int32(syscall.SIGTERM),
		int32(syscall.SIGINT), int32(syscall.SIGHUP), int32(syscall.SIGQUIT), int32(syscall.SIGPIPE),
	}
	saved := make([][256]byte, len(signals)) // struct sigaction is 152 bytes with glibc on amd64
	for i, s := range signals {
		l.sigaction(s, nil, pointer(&saved[i][0]))
	}
	return func() {
		for i, s := range signals {
			l.sigaction(s, pointer(&saved[i][0]), nil)
		}
	}
}

// Exception is an error of ClickHouse; Text is what its server would send.
type Exception struct {
	Code int
	Text string
}

func (e *Exception) Error() string { return e.Text }

var exceptionPrefix = regexp.MustCompile(`^(?:Code: (\d+)\. DB::Exception: )+`)

// newException undoes the engine's repeated wrapping of the prefix.
func newException(text string) *Exception {
	m := exceptionPrefix.FindStringSubmatchIndex(text)
	if m == nil {
		return exceptionf(codeUnknown, "%s", text)
	}
	code, err := strconv.Atoi(text[m[2]:m[3]])
	if err != nil {
		code = codeUnknown
	}
	return exceptionf(code, "%s", text[m[1]:])
}

func exceptionf(code int, format string, args ...any) *Exception {
	return &Exception{Code: code, Text: fmt.Sprintf("Code: %d. DB::Exception: ", code) + fmt.Sprintf(format, args...)}
}

// connection runs one statement at a time; several connections run in parallel.
type connection struct {
	lib    *library
	owner  pointer // chdb_connection*, for closing
	handle pointer // *owner, for statements
}

// open makes one more connection; settings are "--name=value".
func (l *library) open(settings ...string) (*connection, error) {
	l.lifecycle.Lock()
	defer l.lifecycle.Unlock()
	args := append([]string{"clickhouse", "--path=" + l.path}, settings...)
	argv, texts := make([]pointer, len(args)+1), make([][]byte, len(args))
	for i, a := range args {
		texts[i] = append([]byte(a), 0)
		argv[i] = pointer(&texts[i][0])
	}
	defer l.keepSignals()()
	owner := l.connect(int32(len(args)), pointer(&argv[0])) //nolint:gosec // a handful of arguments
	runtime.KeepAlive(texts)
	if owner == nil {
		return nil, fmt.Errorf("connecting to the engine failed: folder %s unusable or a bad setting", l.path)
	}
	return &connection{lib: l, owner: owner, handle: *(*pointer)(owner)}, nil
}

func (c *connection) close() {
	c.lib.lifecycle.Lock()
	defer c.lib.lifecycle.Unlock()
	defer c.lib.keepSignals()()
	c.lib.closeConn(c.owner)
}

// param is a value for {name:Type} in a statement, in ClickHouse's escaped text form.
type param struct{ name, value string }

// arguments keeps the memory of one call together and alive.
type arguments struct {
	query, format      []byte
	texts              [][]byte
	names, values      []pointer
	nameLens, valueLen []uintptr
}

func first[T any](s []T) pointer { return pointer(unsafe.SliceData(s)) } //nolint:gosec // callers keep s alive over the call

func newArguments(query []byte, format string, params []param) *arguments {
	a := &arguments{query: query, format: []byte(format)}
	for _, p := range params {
		// A terminating zero gives empty texts an address.
		name, value := append([]byte(p.name), 0), append([]byte(p.value), 0)
		a.texts = append(a.texts, name, value)
		a.names, a.values = append(a.names, first(name)), append(a.values, first(value))
		a.nameLens, a.valueLen = append(a.nameLens, uintptr(len(p.name))), append(a.valueLen, uintptr(len(p.value)))
	}
	return a
}

func (a *arguments) call(conn pointer, f func(conn, query pointer, n uintptr, format pointer, fn uintptr, names, nameLens, values, valueLens pointer, count uintptr) pointer) pointer {
	result := f(conn, first(a.query), uintptr(len(a.query)), first(a.format), uintptr(len(a.format)),
		first(a.names), first(a.nameLens), first(a.values), first(a.valueLen), uintptr(len(a.names)))
	runtime.KeepAlive(a)
	return result
}

type stats struct{ rowsRead, rowsWritten uint64 }

// run executes one statement; out, if set, sees its whole output, valid during the call only.
func (c *connection) run(statement, format string, params []param, out func([]byte) error) (stats, error) {
	a := newArguments([]byte(statement), format, params)
	return c.take(a.call(c.handle, c.lib.query), out)
}

func (c *connection) exec(statement string) error {
	_, err := c.run(statement, "TabSeparated", nil, nil)
	return err
}

// take reads and destroys one result.
func (c *connection) take(result pointer, out func([]byte) error) (stats, error) {
	if result == nil {
		return stats{}, errors.New("the engine returned no result")
	}
	defer c.lib.destroy(result)
	if text := c.lib.errorText(result); text != "" {
		return stats{}, newException(text)
	}
	st := stats{rowsRead: c.lib.rowsRead(result), rowsWritten: c.lib.rowsWritten(result)}
	if n := c.lib.length(result); n > 0 && out != nil {
		return st, out(unsafe.Slice((*byte)(c.lib.buffer(result)), n)) //nolint:gosec // valid until destroy, which is deferred
	}
	return st, nil
}

// stream executes a SELECT and hands over its output chunk by chunk; an error of out cancels it.
func (c *connection) stream(statement, format string, params []param, out func([]byte) error) error {
	a := newArguments([]byte(statement), format, params)
	s := a.call(c.handle, c.lib.streamQuery)
	if s == nil {
		return errors.New("the engine returned no stream")
	}
	defer c.lib.destroy(s)
	if text := c.lib.errorText(s); text != "" {
		return newException(text)
	}
	for {
		n := 0
		_, err := c.take(c.lib.streamFetch(c.handle, s), func(chunk []byte) error {
			n = len(chunk)
			return out(chunk)
		})
		if err != nil {
			c.lib.streamStop(c.handle, s)
			return err
		}
		if n == 0 {
			return nil
		}
	}
}

// insertion is an open INSERT; its connection takes no other statement until finish or abort.
type insertion struct {
	conn   *connection
	handle pointer
}

func (c *connection) insert(statement, format string) (*insertion, error) {
	a := newArguments([]byte(statement), format, nil)
	handle := c.lib.insertOpen(c.handle, first(a.query), uintptr(len(a.query)), first(a.format), uintptr(len(a.format)))
	runtime.KeepAlive(a)
	if handle == nil {
		return nil, errors.New("the engine opened no insert")
	}
	if text := c.lib.insertError(handle); text != "" {
		c.lib.insertDestroy(handle)
		return nil, newException(text)
	}
	return &insertion{conn: c, handle: handle}, nil
}

func (i *insertion) Write(data []byte) (int, error) {
	if len(data) == 0 {
		return 0, nil
	}
	if i.conn.lib.insertAppend(i.handle, first(data), uintptr(len(data))) != 0 {
		if text := i.conn.lib.insertError(i.handle); text != "" {
			return 0, newException(text)
		}
		return 0, errors.New("the engine refused insert data without saying why")
	}
	runtime.KeepAlive(data)
	return len(data), nil
}

// finish commits: when it returns nil, the rows are on disk as the table's fsync settings say.
func (i *insertion) finish() (stats, error) {
	defer i.conn.lib.insertDestroy(i.handle)
	return i.conn.take(i.conn.lib.insertDone(i.handle), nil)
}

// abort drops what is not committed.
func (i *insertion) abort() { i.conn.lib.insertDestroy(i.handle) }
