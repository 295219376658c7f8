package engine

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// member is one of the members of the group that this process is: a name, and the state of what is assigned to it. Nothing
// of it is shared: a partition that goes from one member of a process to another is restored like any that arrives.
type member struct {
	cfg    *Config
	parts  []*partition
	joins  *joins
	folder *folder // nil: state is in memory
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
	if m.folder == nil || m.folder.abandoned {
		return err
	}
	if errors.Is(err, ErrCallbackDeadline) { // it may wake up, and must find its database open
		m.folder.abandoned = true
		return err
	}
	for _, p := range m.parts {
		p.reset()
	}
	return err
}
