// Package clickhouse runs the real ClickHouse engine as a supervised child process and gives
// clickhouse-go what it needs to use it.
//
// Programs reach it over a unix socket with the owner's password, which is made once and kept, mode 0600,
// in the data folder. People reach it over HTTP on a loopback port: the user "analyst" may read and needs
// no password, so a plain curl works; "caudal" may do everything. Native TCP is not available.
//
// This process owns the listeners and hands them to each incarnation of the child, so the port stays the
// same and requests made while the child restarts wait instead of being refused.
package clickhouse

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/child"
	"github.com/caudalpay/caudal/cmd/caudal/embedded/clickhouse/engine"
)

// Config of a server.
type Config struct {
	Library  string // libchdb.so
	Data     string // folder of everything the server keeps; made if missing
	HTTPAddr string // for people; default 127.0.0.1:0, a free port
	LogFile  string // default: Data/clickhouse.log
	Logger   *slog.Logger
}

func (c *Config) setDefaults() (err error) {
	if c.Library == "" || c.Data == "" {
		return errors.New("embedded ClickHouse: Library and Data are required")
	}
	if c.Data, err = filepath.Abs(c.Data); err != nil {
		return fmt.Errorf("resolving Data: %w", err)
	}
	if c.HTTPAddr == "" {
		c.HTTPAddr = "127.0.0.1:0"
	}
	if c.LogFile == "" {
		c.LogFile = filepath.Join(c.Data, "clickhouse.log")
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Server is a running ClickHouse.
type Server struct {
	*child.Process

	password string
	lock     *os.File
	socket   *net.UnixListener
	http     *net.TCPListener
	inherit  []*os.File // the listeners as the children get them
	sockets  string     // folder made for a socket whose path would be too long, else empty
}

// Start starts the engine and returns when it answers. ctx bounds the start; the server then runs until
// Stop or the end of this process.
func Start(ctx context.Context, cfg Config) (_ *Server, err error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(cfg.Data, "store"), 0o700); err != nil {
		return nil, fmt.Errorf("making data folder: %w", err)
	}
	s := &Server{}
	defer func() {
		if err != nil {
			s.release()
		}
	}()
	if s.lock, err = child.Lock(ctx, filepath.Join(cfg.Data, "lock"), 10*time.Second); err != nil {
		return nil, fmt.Errorf("owning data folder: %w", err)
	}
	if s.password, err = keptPassword(filepath.Join(cfg.Data, engine.PasswordFile)); err != nil {
		return nil, err
	}
	if err := s.listen(ctx, cfg); err != nil {
		return nil, err
	}
	s.Process, err = child.Supervise(ctx, child.Spec{
		Name: "clickhouse", Args: []string{engine.Command, cfg.Library, cfg.Data}, Env: []string{"TZ=UTC"},
		Nice: child.NiceStore, ExtraFiles: s.inherit, LogFile: cfg.LogFile, Logger: cfg.Logger, StopTimeout: 25 * time.Second,
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

func keptPassword(path string) (string, error) {
	kept, err := os.ReadFile(path) //nolint:gosec // the path is configuration
	if err == nil {
		return strings.TrimSpace(string(kept)), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("reading password: %w", err)
	}
	password := rand.Text()
	if err := os.WriteFile(path, []byte(password+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("keeping password: %w", err)
	}
	return password, nil
}

// listen opens the unix socket and the port.
func (s *Server) listen(ctx context.Context, cfg Config) (err error) {
	path := filepath.Join(cfg.Data, "clickhouse.sock")
	if len(path) > 107 { // the size of a socket address
		if s.sockets, err = os.MkdirTemp("", "caudal-ch-"); err != nil {
			return fmt.Errorf("making socket folder: %w", err)
		}
		path = filepath.Join(s.sockets, "clickhouse.sock")
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing old socket: %w", err)
	}
	if s.socket, err = net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"}); err != nil {
		return fmt.Errorf("listening on socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return fmt.Errorf("closing socket to others: %w", err)
	}
	l, err := child.Listen(ctx, cfg.HTTPAddr)
	if err != nil {
		return fmt.Errorf("listening for ClickHouse's HTTP interface: %w", err)
	}
	s.http = l
	for _, l := range []interface{ File() (*os.File, error) }{s.socket, s.http} {
		f, err := l.File()
		if err != nil {
			return fmt.Errorf("copying listener: %w", err)
		}
		s.inherit = append(s.inherit, f)
	}
	return nil
}

// Options for clickhouse-go. There is no compression: on one machine it only costs. The database has to
// exist; "default" is not one to keep tables in (an overlay over files).
func (s *Server) Options(database string) *clickhouse.Options {
	socket := s.socket.Addr().String()
	return &clickhouse.Options{
		Protocol: clickhouse.HTTP,
		Addr:     []string{"clickhouse:80"}, // the dialer does not use it
		Auth:     clickhouse.Auth{Database: database, Username: engine.OwnerUser, Password: s.password},
		DialContext: func(ctx context.Context, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
		DialTimeout: 10 * time.Second, ReadTimeout: 5 * time.Minute,
		MaxOpenConns: 6, MaxIdleConns: 6, ConnMaxLifetime: time.Hour,
	}
}

// DSN for clickhouse-go in another process, over the HTTP address. It contains the password.
func (s *Server) DSN(database string) string {
	dsn := url.URL{Scheme: "http", User: url.UserPassword(engine.OwnerUser, s.password), Host: s.HTTPAddr(), Path: "/" + database}
	return dsn.String()
}

// HTTPAddr is the address of the HTTP interface, with the port that was taken.
func (s *Server) HTTPAddr() string { return s.http.Addr().String() }

// Password of the user "caudal".
func (s *Server) Password() string { return s.password }

// Stop lets running statements finish and ends the engine.
func (s *Server) Stop(ctx context.Context) error {
	err := s.Process.Stop(ctx)
	s.release()
	return err
}

func (s *Server) release() {
	for _, f := range s.inherit {
		_ = f.Close()
	}
	if s.http != nil {
		_ = s.http.Close()
	}
	if s.socket != nil {
		_ = s.socket.Close() // removes the socket
	}
	if s.sockets != "" {
		_ = os.RemoveAll(s.sockets)
	}
	if s.lock != nil {
		_ = s.lock.Close()
	}
}
