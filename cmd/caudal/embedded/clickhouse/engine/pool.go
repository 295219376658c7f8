package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// role is what a caller may do; each has connections of its own.
type role int

const (
	owner   role = iota // everything
	analyst             // reads, under limits
)

// sizes of the two pools: connections run in parallel, and the machine is shared.
const (
	ownerConnections   = 6
	analystConnections = 2
)

// pool lends engine connections. The engine stops when its last connection closes: the killer, which is
// kept for KILL QUERY, also anchors it.
type pool struct {
	lib    *library
	base   []string // settings of every connection
	log    *slog.Logger
	free   map[role]chan *session
	serial atomic.Int64

	killing sync.Mutex
	killer  *session
}

// session is a pooled connection and what is set on it.
type session struct {
	*connection
	role     role
	database string
	settings map[string]string
	mark     string // its log_comment, by which KILL QUERY finds its statement
	stale    bool   // a statement may have left settings or temporary tables behind
}

func newPool(lib *library, base []string, log *slog.Logger) (*pool, error) {
	p := &pool{lib: lib, base: base, log: log, free: map[role]chan *session{
		owner:   make(chan *session, ownerConnections),
		analyst: make(chan *session, analystConnections),
	}}
	var err error
	if p.killer, err = p.open(owner); err != nil {
		return nil, err
	}
	for r, free := range p.free {
		for range cap(free) {
			s, err := p.open(r)
			if err != nil {
				return nil, err
			}
			free <- s
		}
	}
	return p, nil
}

func (p *pool) open(r role) (*session, error) {
	mark := "caudal-" + strconv.FormatInt(p.serial.Add(1), 10)
	conn, err := p.lib.open(append(slices.Clone(p.base), "--log_comment="+mark)...)
	if err != nil {
		return nil, err
	}
	s := &session{connection: conn, role: r, database: "default", settings: map[string]string{}, mark: mark}
	if r == analyst {
		if err := s.exec(analystLimits); err != nil {
			conn.close()
			return nil, fmt.Errorf("limiting analyst connection: %w", err)
		}
	}
	return s, nil
}

// analystLimits ends with readonly, after which nothing can be set any more. readonly=1 also forbids the
// table functions that read files and addresses.
const analystLimits = "SET max_execution_time = 60, max_memory_usage = 1000000000, max_result_bytes = 1000000000, " +
	"max_threads = 2, readonly = 1"

// lend waits for a connection of the role.
func (p *pool) lend(ctx context.Context, r role) (*session, error) {
	select {
	case s := <-p.free[r]:
		return s, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// giveBack returns a connection, replaced by a new one if it is stale.
func (p *pool) giveBack(s *session) {
	if s.stale {
		if fresh, err := p.open(s.role); err == nil {
			s.close()
			s = fresh
		} else {
			p.log.Error("replacing a used connection failed", "error", err)
		}
	}
	p.free[s.role] <- s
}

// close waits for the statements that run, as long as ctx allows, and closes everything.
func (p *pool) close(ctx context.Context) error {
	for _, free := range p.free {
		for range cap(free) {
			select {
			case s := <-free:
				s.close()
			case <-ctx.Done():
				return fmt.Errorf("waiting for running statements: %w", ctx.Err())
			}
		}
	}
	p.killing.Lock()
	defer p.killing.Unlock()
	p.killer.close()
	return nil
}

// killWhenGone kills the session's statement once ctx ends, that is when the client has left: a call into
// the engine cannot be interrupted, but a statement can be killed from another connection. The returned
// function ends the watch and must be called before the session is lent again.
func (p *pool) killWhenGone(ctx context.Context, s *session) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-done:
			return
		case <-ctx.Done():
		}
		for { // the statement may not have begun yet
			p.killing.Lock()
			err := p.killer.exec("KILL QUERY WHERE Settings['log_comment'] = " + quote(s.mark) + " ASYNC")
			p.killing.Unlock()
			if err != nil {
				p.log.Warn("killing a statement failed", "error", err)
			}
			select {
			case <-done:
				return
			case <-time.After(200 * time.Millisecond):
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

var settingName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// prepare brings database and settings of the session to what the request's query string wants, sending
// only what differs, and returns the statement's parameters.
func (s *session) prepare(query url.Values) ([]param, error) {
	var params []param
	want := map[string]string{}
	for name, values := range query {
		if p, ok := strings.CutPrefix(name, "param_"); ok {
			params = append(params, param{name: p, value: values[0]})
			continue
		}
		if isInterfaceOption(name) {
			continue
		}
		if !settingName.MatchString(name) {
			return nil, exceptionf(codeUnknownSetting, "Setting %s is neither a builtin setting nor started with a known prefix. (UNKNOWN_SETTING)", name)
		}
		want[name] = values[0]
	}
	if err := s.set(want); err != nil {
		return nil, err
	}
	database := query.Get("database")
	if database == "" {
		database = "default"
	}
	if database != s.database {
		if err := s.exec("USE " + quoteName(database)); err != nil {
			return nil, err
		}
		s.database = database
	}
	return params, nil
}

func (s *session) set(want map[string]string) error {
	var changes []string
	for name := range s.settings {
		if _, ok := want[name]; !ok {
			changes = append(changes, name+" = DEFAULT")
		}
	}
	for name, value := range want {
		if now, ok := s.settings[name]; !ok || now != value {
			changes = append(changes, name+" = "+quote(value))
		}
	}
	if len(changes) == 0 {
		return nil
	}
	slices.Sort(changes)
	if err := s.exec("SET " + strings.Join(changes, ", ")); err != nil {
		s.stale = !isReadonly(err) // which of them hold now is unknown
		return err
	}
	s.settings = maps.Clone(want)
	return nil
}

func isReadonly(err error) bool {
	var e *Exception
	return errors.As(err, &e) && e.Code == codeReadonly
}

func quote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

func quoteName(s string) string {
	return "`" + strings.NewReplacer(`\`, `\\`, "`", "\\`").Replace(s) + "`"
}
