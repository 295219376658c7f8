package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/child"
	"github.com/caudalpay/caudal/cmd/caudal/embedded/embedtest"
	"github.com/caudalpay/caudal/cmd/caudal/embedded/postgres"
)

func TestMain(m *testing.M) { embedtest.Main(m) }

func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func exec(t *testing.T, conn *pgx.Conn, statement string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func text(t *testing.T, conn *pgx.Conn, statement string) (s string) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), statement).Scan(&s); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	return s
}

func TestDurableSettingsHold(t *testing.T) {
	conn := connect(t, embedtest.Postgres(t))
	for name, want := range map[string]string{
		"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "data_checksums": "on",
		"listen_addresses": "", "server_encoding": "UTF8", "TimeZone": "UTC",
	} {
		if got := text(t, conn, "SHOW "+name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	if version := text(t, conn, "SHOW server_version"); !strings.HasPrefix(version, "18.") {
		t.Errorf("server version %s", version)
	}
}

func TestPasswordIsNeeded(t *testing.T) {
	dsn := strings.Replace(embedtest.Postgres(t), "caudal:", "caudal:x", 1)
	if conn, err := pgx.Connect(t.Context(), dsn); err == nil {
		_ = conn.Close(t.Context())
		t.Fatal("a wrong password was accepted")
	}
}

// TestKilledServerIsBack: after kill -9 in the middle of inserts the same DSN serves again, and every
// acknowledged row is there.
func TestKilledServerIsBack(t *testing.T) {
	server := embedtest.StartPostgres(t, t.TempDir())
	exec(t, connect(t, server.DSN()), "CREATE TABLE t (id bigint PRIMARY KEY)")
	var acknowledged int64
	for range 3 {
		first := server.PID()
		conn := connect(t, server.DSN())
		time.AfterFunc(100*time.Millisecond, func() { _ = syscall.Kill(first, syscall.SIGKILL) })
		for {
			if _, err := conn.Exec(t.Context(), "INSERT INTO t VALUES ($1) ON CONFLICT DO NOTHING", acknowledged+1); err != nil {
				break
			}
			acknowledged++
		}
		began := time.Now()
		for {
			again, err := pgx.Connect(t.Context(), server.DSN())
			if err == nil {
				_ = again.Close(t.Context())
				break
			}
			if time.Since(began) > 30*time.Second {
				t.Fatalf("not back: %v", err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Logf("killed server answers again after %v", time.Since(began).Round(time.Millisecond))
		if server.PID() == first {
			t.Fatal("the server was not killed")
		}
		var rows, last int64
		if err := connect(t, server.DSN()).QueryRow(t.Context(), "SELECT count(*), max(id) FROM t").Scan(&rows, &last); err != nil {
			t.Fatal(err)
		}
		// One row may be stored without its acknowledgement having arrived.
		if rows != last || last < acknowledged || last > acknowledged+1 {
			t.Fatalf("%d rows up to %d, acknowledged up to %d", rows, last, acknowledged)
		}
		acknowledged = last
	}
	if acknowledged < 3 {
		t.Fatalf("only %d inserts", acknowledged)
	}
}

// What a killed server leaves behind names a process that may be there still: not reaped yet, or, in a container after a restart, another of the
// same user. The data folder is this process's own, so neither blocks the start.
func TestLocksLeftBehindBlockNothing(t *testing.T) {
	data := t.TempDir()
	home := embedtest.Binaries(t).PostgresHome
	start := func() *postgres.Server {
		t.Helper()
		server, err := postgres.Start(t.Context(), postgres.Config{Home: home, Data: data})
		if err != nil {
			t.Fatal(err)
		}
		return server
	}
	if err := start().Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	cluster := filepath.Join(data, "pgdata")
	info, err := os.Stat(cluster)
	if err != nil {
		t.Fatal(err)
	}
	owner, _ := info.Sys().(*syscall.Stat_t)
	other := osexec.Command("sleep", "60")
	if os.Getuid() == 0 {
		other.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: owner.Uid, Gid: owner.Gid}}
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Process.Kill(); _ = other.Wait() })
	for _, name := range []string{"postmaster.pid", ".s.PGSQL.5432.lock"} {
		path := filepath.Join(cluster, name)
		if err := os.WriteFile(path, fmt.Appendf(nil, "%d\n%s\n", other.Process.Pid, cluster), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(path, int(owner.Uid), int(owner.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	if err := start().Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestSecondStartContinues(t *testing.T) {
	data := filepath.Join(t.TempDir(), strings.Repeat("long", 30)) // its socket needs a shorter path
	home := embedtest.Binaries(t).PostgresHome
	var password string
	for round := range 2 {
		server, err := postgres.Start(t.Context(), postgres.Config{Home: home, Data: data})
		if err != nil {
			t.Fatal(err)
		}
		conn := connect(t, server.DSN())
		if round == 0 {
			exec(t, conn, "CREATE TABLE t (id bigint)")
			password = conn.Config().Password
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if _, err := postgres.Start(ctx, postgres.Config{Home: home, Data: data}); err == nil {
				t.Error("two servers started on one folder")
			}
			cancel()
		}
		exec(t, conn, "INSERT INTO t VALUES (1)")
		if n := text(t, conn, "SELECT count(*)::text FROM t"); n != []string{"1", "2"}[round] || conn.Config().Password != password {
			t.Errorf("start %d: %s rows, same password: %v", round, n, conn.Config().Password == password)
		}
		if info, err := os.Stat(filepath.Join(data, "password")); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("password file: %v %v", info, err)
		}
		if err := server.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestOtherMajorVersionIsRefused(t *testing.T) {
	data := t.TempDir()
	home := embedtest.Binaries(t).PostgresHome
	server, err := postgres.Start(t.Context(), postgres.Config{Home: home, Data: data})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	version := filepath.Join(data, "pgdata", "PG_VERSION")
	set := func(s string) {
		if err := os.WriteFile(version, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, other := range []string{"17\n", "1\n", "180\n"} {
		set(other)
		if _, err := postgres.Start(t.Context(), postgres.Config{Home: home, Data: data}); !errors.Is(err, postgres.ErrOtherVersion) {
			t.Errorf("folder of version %q: %v", other, err)
		}
	}
	set("18\n")
	again := embedtest.StartPostgres(t, data)
	if got := text(t, connect(t, again.DSN()), "SELECT 'unharmed'"); got != "unharmed" {
		t.Error(got)
	}
}

func TestHalfMadeClusterIsMadeAnew(t *testing.T) {
	data := t.TempDir()
	if err := os.MkdirAll(filepath.Join(data, "pgdata.init", "base"), 0o700); err != nil {
		t.Fatal(err)
	}
	embedtest.StartPostgres(t, data)
}

// TestStalePidFile: a pid file of a dead postmaster whose pid now belongs to another program, as after the
// restart of a container, must not block the start.
func TestStalePidFile(t *testing.T) {
	data := t.TempDir()
	home := embedtest.Binaries(t).PostgresHome
	server, err := postgres.Start(t.Context(), postgres.Config{Home: home, Data: data})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The shared server's postmaster runs as the same user, which is the case that Postgres cannot tell.
	stale := strings.Join([]string{pid(embedtest.SharedPostgres(t)), "/proc/self/fd/3", "1795334028", "5432", "", "", "ready   ", ""}, "\n")
	if err := os.WriteFile(filepath.Join(data, "pgdata", "postmaster.pid"), []byte(stale), 0o644); err != nil {
		t.Fatal(err)
	}
	embedtest.StartPostgres(t, data)
}

func TestLockedFolderIsNamed(t *testing.T) {
	data := t.TempDir()
	lock, err := child.Lock(t.Context(), filepath.Join(data, "lock"), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lock.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := postgres.Start(ctx, postgres.Config{Home: embedtest.Binaries(t).PostgresHome, Data: data}); err == nil {
		t.Fatal("started on a folder that is in use")
	}
}

func pid(server *postgres.Server) string { return strconv.Itoa(server.PID()) }
