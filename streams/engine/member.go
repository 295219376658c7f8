package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kerr"
)

// member is one of the members of the group that this process is: a name, and the state of what is assigned to it. Nothing
// of it is shared: a partition that goes from one member of a process to another is restored like any that arrives.
type member struct {
	cfg    *Config
	parts  []*partition
	joins  *joins
	folder *folder // nil: state is in memory

	begun     bool // everything assigned to it was running once
	abandoned bool // a goroutine that hangs may use its state still
}

// sessionFolder begins the name of a further member's folder inside Dir; its number follows.
const sessionFolder = "session."

// ofMember is the config of one of the members. The first has the names as they are given, whatever their number.
func (c Config) ofMember(i int) *Config {
	c.CacheBytes = max(1, c.CacheBytes/int64(c.Sessions))
	if i == 0 {
		return &c
	}
	number := strconv.Itoa(i)
	c.TransactionalID += "." + number
	c.InstanceID += "." + number
	if c.Dir != "" {
		c.Dir = vfs.Default.PathJoin(c.Dir, sessionFolder+number)
	}
	return &c
}

// members takes the folders.
func (e *Engine) members() (all []*member, err error) {
	for i := range e.cfg.Sessions {
		m := &member{cfg: e.cfg.ofMember(i)}
		if m.folder, err = openFolder(m.cfg, vfs.Default); err != nil {
			return all, err
		}
		all = append(all, m)
	}
	return all, all[0].folder.forgetMembers(e.cfg.Sessions)
}

// forgetMembers removes the state of members that are no more.
func (f *folder) forgetMembers(sessions int) error {
	if f == nil {
		return nil
	}
	names, err := f.fs.List(f.dir)
	for _, name := range names {
		number, ok := strings.CutPrefix(name, sessionFolder)
		if i, convErr := strconv.Atoi(number); ok && convErr == nil && i >= sessions {
			err = errors.Join(err, f.fs.RemoveAll(f.fs.PathJoin(f.dir, name)))
		}
	}
	if err != nil {
		return fmt.Errorf("removing the state of members that are no more: %w", err)
	}
	return nil
}

// run works until ctx ends or something goes wrong, and closes the state.
func (m *member) run(ctx context.Context, e *Engine, tables *lookups) error {
	m.joins = newJoins(m.cfg.Joins)
	if err := m.joins.connect(m.cfg.clientOptions()); err != nil {
		return err
	}
	defer m.joins.close()
	m.parts = make([]*partition, m.cfg.Partitions)
	for i := range m.parts {
		m.parts[i] = newPartition(int32(i), m.cfg, e.callback, tables)
		m.parts[i].folder = m.folder
	}
	err := beside(ctx, m.joins.follow, func(ctx context.Context) error { return e.work(ctx, m) })
	if !m.abandoned { // else what hangs may wake up, and must find its databases open
		m.forget()
	}
	return err
}

// forget drops the state of all partitions. What is on disk stays there.
func (m *member) forget() {
	for _, p := range m.parts {
		p.reset()
		m.joins.drop(p)
	}
}

const (
	restartsMax  = 5 // of a member's sessions, within restartsTime
	restartsTime = time.Minute
	restartPause = 100 * time.Millisecond
)

// sessions has one session. Where the process has other members, whose work would end with the process, one that fails is
// followed by another, which asks the broker what became of it, as the next process would.
func (m *member) sessions(ctx context.Context, e *Engine) error {
	var failures []time.Time
	for {
		err := newSession(e, m).run(ctx)
		if err == nil || ctx.Err() != nil || e.cfg.Sessions == 1 || m.abandoned || final(err) {
			return err
		}
		failures = slices.DeleteFunc(failures, func(at time.Time) bool { return time.Since(at) > restartsTime })
		if failures = append(failures, time.Now()); len(failures) > restartsMax {
			return err
		}
		m.cfg.Logger.Warn("session begins anew", "group", m.cfg.Group, "instance", m.cfg.InstanceID, "error", err)
		e.metrics.restarts.Inc()
		m.forget()
		select {
		case <-time.After(restartPause):
		case <-ctx.Done():
			return nil
		}
	}
}

// final tells of an error that another session would only have again, or that says that another process took this one's name.
func final(err error) bool {
	if errors.Is(err, kerr.FencedInstanceID) {
		return true // a producer is fenced also where its transaction took too long
	}
	_, torn := errors.AsType[*TornError](err)
	_, graph := errors.AsType[*GraphChangedError](err)
	_, version := errors.AsType[*StateVersionError](err)
	return torn || graph || version
}
