package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/child"
	"github.com/caudalpay/caudal/cmd/caudal/embedded/fetch"
	"github.com/caudalpay/caudal/streams/engine/enginebench"
)

// entrant is a contestant as the report names it, and how to start its process.
type entrant struct {
	name    string
	label   string
	command func(ctx context.Context) (*exec.Cmd, error)
	table   string     // what follows the group in the name of its changelog; empty: it has none
	extra   url.Values // what its work says besides
	stays   bool       // its process serves all its runs: a virtual machine gets warm
}

func native(name, label string) entrant {
	e := entrant{name: name, label: label, table: "-table", command: func(ctx context.Context) (*exec.Cmd, error) {
		binary, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("finding the binary: %w", err)
		}
		return exec.CommandContext(ctx, binary, "bench", "engine", "--contestant", name), nil //nolint:gosec // this program itself
	}}
	if name == enginebench.Pass {
		e.table = ""
	}
	return e
}

// rival is a contestant's process.
type rival struct {
	cmd   *exec.Cmd
	log   string
	stdin io.WriteCloser
	words chan word
}

type word struct {
	what  string
	notes url.Values
}

const (
	readyLimit = time.Minute
	stopLimit  = 90 * time.Second // stock Goka waits up to a minute for its promises
)

func (c *contest) startRival(ctx context.Context, e entrant) (_ *rival, err error) {
	if r := c.staying[e.name]; r != nil {
		return r, nil
	}
	r := &rival{words: make(chan word, 16)}
	if r.cmd, err = e.command(ctx); err != nil {
		return nil, err
	}
	c.serial++
	r.log = filepath.Join(c.options.Work, fmt.Sprintf("%s-%d.log", e.name, c.serial))
	log, err := os.Create(r.log)
	if err != nil {
		return nil, fmt.Errorf("keeping the log of %s: %w", e.name, err)
	}
	defer func() { _ = log.Close() }() // the process has its own
	r.cmd.Stderr = log
	out, err := r.cmd.StdoutPipe()
	if err == nil {
		r.stdin, err = r.cmd.StdinPipe()
	}
	if err == nil {
		err = child.Start(r.cmd, syscall.SIGKILL)
	}
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", e.name, err)
	}
	go func() { // ends with the process's output
		defer close(r.words)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			what, rest, _ := strings.Cut(lines.Text(), " ")
			notes, err := url.ParseQuery(rest)
			if err != nil || notes.Get("error") == "" && what == "failed" {
				notes = url.Values{"error": {rest}}
			}
			r.words <- word{what, notes}
		}
	}()
	if e.stays {
		c.staying[e.name] = r
	}
	return r, nil
}

func (r *rival) order(what string) error {
	if _, err := fmt.Fprintln(r.stdin, what); err != nil {
		return fmt.Errorf("telling a contestant to %.20s: %w\n%s", what, err, tail(r.log))
	}
	return nil
}

// await is the notes of the next word of that name. Other words are dropped, a failure is an error.
func (r *rival) await(ctx context.Context, what string, limit time.Duration) (url.Values, error) {
	for timer := time.After(limit); ; {
		select {
		case w, ok := <-r.words:
			switch {
			case !ok:
				return nil, fmt.Errorf("a contestant ended while it was waited for (%s):\n%s", what, tail(r.log))
			case w.what == "failed":
				return nil, fmt.Errorf("a contestant failed: %s\n%s", w.notes.Get("error"), tail(r.log))
			case w.what == what:
				return w.notes, nil
			}
		case <-timer:
			return nil, fmt.Errorf("a contestant does not say %s within %v:\n%s", what, limit, tail(r.log))
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// ask orders and awaits a word.
func (r *rival) ask(ctx context.Context, order, what string, limit time.Duration) (url.Values, error) {
	if err := r.order(order); err != nil {
		return nil, err
	}
	return r.await(ctx, what, limit)
}

// close lets the process end; one that does not is killed.
func (r *rival) close() {
	_ = r.stdin.Close() // it may have ended
	hung := time.AfterFunc(stopLimit, func() { _ = r.cmd.Process.Kill() })
	for range r.words { //nolint:revive // until its output ends
	}
	_ = r.cmd.Wait() // however it ended
	hung.Stop()
}

// kill is kill -9.
func (r *rival) kill() {
	_ = r.cmd.Process.Kill() // it may have ended
	r.close()
}

func tail(path string) string {
	text, err := os.ReadFile(path) //nolint:gosec // our own folder
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-2000):])
}

// streamsApp is the Kafka Streams application: its source, and the folder of the jars it needs.
type streamsApp struct{ source, lib string }

const (
	streamsVersion = "4.3.1" // as the pom has it
	copyGoal       = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
)

// installStreams fetches Kafka Streams through Maven, by name, where it is not in the cache.
func (c *contest) installStreams(ctx context.Context) (*streamsApp, error) {
	app := &streamsApp{source: filepath.Join(c.options.Streams, "Counter.java")}
	if _, err := os.Stat(app.source); err != nil {
		return nil, fmt.Errorf("P16 needs %s: run it in the repository or say --kafka-streams DIR: %w", app.source, err)
	}
	for _, program := range []string{"java", "javac"} {
		if _, err := exec.LookPath(program); err != nil {
			return nil, fmt.Errorf("P16 needs a Java 17 development kit, and %s is not there: apt-get install default-jdk-headless maven "+
				"(Debian, Ubuntu), brew install openjdk maven (macOS)", program)
		}
	}
	cache, err := fetch.DefaultCacheDir()
	if err != nil {
		return nil, fmt.Errorf("choosing a cache folder: %w", err)
	}
	app.lib = filepath.Join(cache, "kafka-streams-"+streamsVersion)
	if _, err := os.Stat(app.lib); err == nil {
		return app, nil
	}
	return app, c.fetchStreams(ctx, app.lib)
}

// fetchStreams fills the folder as a whole or not at all.
func (c *contest) fetchStreams(ctx context.Context, lib string) (err error) {
	if _, err := exec.LookPath("mvn"); err != nil {
		return errors.New("P16 needs Maven (the command mvn) to fetch Kafka Streams: apt-get install maven (Debian, Ubuntu), brew install maven (macOS)")
	}
	c.say("fetching Kafka Streams %s from Maven Central (11 files)", streamsVersion)
	if err := os.MkdirAll(filepath.Dir(lib), 0o750); err != nil {
		return fmt.Errorf("making the cache folder: %w", err)
	}
	fresh, err := os.MkdirTemp(filepath.Dir(lib), "kafka-streams-fetching-")
	if err != nil {
		return fmt.Errorf("making the cache folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(fresh)) }()
	cmd := exec.CommandContext(ctx, "mvn", "-B", "-q", "-f", filepath.Join(c.options.Streams, "pom.xml"), copyGoal, "-DoutputDirectory="+fresh) //nolint:gosec // arguments are ours
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("fetching Kafka Streams through Maven: %w\n%s", err, out)
	}
	if err := os.Rename(fresh, lib); err != nil {
		return fmt.Errorf("moving what was fetched into the cache: %w", err)
	}
	return nil
}

// setting is one way to run Kafka Streams.
type setting struct {
	collector        string // flag of the virtual machine
	store            string // memory or rocksdb
	cacheMiB, thread int
	compression      string
}

func (s setting) String() string {
	cache := "no store cache"
	if s.cacheMiB > 0 {
		cache = fmt.Sprintf("store cache %d MiB", s.cacheMiB)
	}
	return fmt.Sprintf("Kafka Streams, %s, %s, %s, threads %d, compression %s", s.collector, s.store, cache, s.thread, s.compression)
}

// entrant runs the application from its source: the virtual machine compiles it at the start. Machines stay between runs,
// one for each collector.
func (a *streamsApp) entrant(s setting) entrant {
	return entrant{
		name: "streams-" + s.collector, label: s.String(), table: "-table-changelog", stays: true,
		command: func(ctx context.Context) (*exec.Cmd, error) {
			return exec.CommandContext(ctx, "java", "-Xms1g", "-Xmx1g", "-XX:+Use"+s.collector, //nolint:gosec // arguments are ours
				"-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", filepath.Join(a.lib, "*"), a.source), nil
		},
		extra: url.Values{
			"threads": {fmt.Sprint(s.thread)}, "cache": {fmt.Sprint(s.cacheMiB << 20)},
			"store": {s.store}, "compression": {s.compression},
		},
	}
}
