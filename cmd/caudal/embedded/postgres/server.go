// Package postgres runs a private PostgreSQL server as a supervised child process.
//
// It listens on a unix socket only, with a password that is made once and kept, mode 0600, in the data
// folder, so a second start continues with the same data source name. For root, the server is dropped to
// the user postgres or nobody. A data folder of another major version is refused, never changed or wiped.
//
//	Data/pgdata      the database cluster
//	Data/password    of the superuser "caudal"
//	Data/lock        held while a server is supervised
package postgres

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/child"
)

const (
	superuser = "caudal"
	database  = "caudal"
	port      = "5432" // only a part of the socket's name
)

// Server is a running PostgreSQL.
type Server struct {
	*child.Process

	lock    *os.File
	folder  *os.File // the cluster, see clusterPath
	sockets string   // folder made for a socket whose path would be too long, else empty
	dsn     url.URL
}

// Start initialises the data folder if it is new, starts the server and returns when it answers. ctx
// bounds the start; the server then runs until Stop or the end of this process.
func Start(ctx context.Context, cfg Config) (_ *Server, err error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	user, err := runAs()
	if err != nil {
		return nil, err
	}
	if err := user.canEnter(filepath.Join(cfg.Home, "bin", "postgres")); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
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
	c := cluster{home: cfg.Home, dir: filepath.Join(cfg.Data, "pgdata"), user: user}
	password, err := c.ensure(ctx, filepath.Join(cfg.Data, "password"))
	if err != nil {
		return nil, err
	}
	if err := c.checkVersion(ctx); err != nil {
		return nil, err
	}
	if s.folder, err = c.open(); err != nil {
		return nil, err
	}
	socket, err := s.socketFolder(c)
	if err != nil {
		return nil, err
	}
	s.dsn = url.URL{
		Scheme: "postgres", User: url.UserPassword(superuser, password), Path: "/postgres",
		RawQuery: url.Values{"host": {socket}, "port": {port}, "sslmode": {"disable"}}.Encode(),
	}
	if err := s.supervise(ctx, cfg, c); err != nil {
		return nil, err
	}
	s.dsn.Path = "/" + database
	return s, nil
}

// supervise starts the process. SIGINT is Postgres's fast shutdown: it ends sessions and writes a
// checkpoint. SIGTERM would wait for clients; SIGQUIT leaves recovery to the next start.
func (s *Server) supervise(ctx context.Context, cfg Config, c cluster) error {
	args := []string{"-D", c.path(), "-h", "", "-p", port, "-k", c.path()}
	if s.sockets != "" {
		args[len(args)-1] = s.sockets
	}
	process, err := child.Supervise(ctx, child.Spec{
		Name: "postgres", Path: filepath.Join(cfg.Home, "bin", "postgres"), Args: append(args, cfg.arguments()...),
		Env: c.environment(), CleanEnv: true, Dir: "/", ExtraFiles: []*os.File{s.folder},
		Credential: c.user.credential(), Nice: child.NiceStore, LogFile: cfg.LogFile, Logger: cfg.Logger,
		Prepare: c.vacate, Probe: s.probe,
		StopSignal: syscall.SIGINT, KillSignal: syscall.SIGQUIT, StartTimeout: 2 * time.Minute,
	})
	if err != nil {
		return err
	}
	s.Process = process
	if err := s.createDatabase(ctx); err != nil {
		return errors.Join(err, process.Stop(context.WithoutCancel(ctx)))
	}
	return nil
}

// DSN of the database "caudal", as a URL: pgx, database/sql and goose take it, and another database is
// another path.
func (s *Server) DSN() string { return s.dsn.String() }

// Stop shuts the server down in order and waits for it.
func (s *Server) Stop(ctx context.Context) error {
	err := s.Process.Stop(ctx)
	s.release()
	return err
}

func (s *Server) release() {
	for _, f := range []*os.File{s.folder, s.lock} {
		if f != nil {
			_ = f.Close()
		}
	}
	if s.sockets != "" {
		_ = os.RemoveAll(s.sockets)
	}
}

// probe connects to the maintenance database, which exists from the start.
func (s *Server) probe(ctx context.Context) error {
	maintenance := s.dsn
	maintenance.Path = "/postgres"
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, maintenance.String())
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

func (s *Server) createDatabase(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, s.dsn.String())
	if err != nil {
		return fmt.Errorf("connecting to create the database: %w", err)
	}
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, "CREATE DATABASE "+database)
	var exists *pgconn.PgError
	if err != nil && (!errors.As(err, &exists) || exists.Code != "42P04") {
		return fmt.Errorf("creating the database: %w", err)
	}
	return nil
}

// socketFolder is where clients find the socket: the cluster itself, unless its path does not fit a
// socket address (107 bytes).
func (s *Server) socketFolder(c cluster) (string, error) {
	if len(filepath.Join(c.dir, ".s.PGSQL."+port)) <= 103 {
		return c.dir, nil
	}
	dir, err := os.MkdirTemp("", "caudal-pg-")
	if err != nil {
		return "", fmt.Errorf("making socket folder: %w", err)
	}
	s.sockets = dir
	return dir, c.user.own(dir)
}
