package kafkad

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	version       = "4.3.1"
	javaLeast     = 17
	copyGoal      = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
	logConfigFile = "log4j2.xml"
	classesFile   = "classes.jsa"
)

// ErrMissing says that a program is not there; its text says what to install.
var ErrMissing = errors.New("Apache Kafka cannot run here") //nolint:staticcheck // a name

var (
	//go:embed pom.xml
	pom []byte
	//go:embed log4j2.xml
	logConfig []byte
	// jars pins every file: digest and name, as sha256sum prints them.
	//go:embed jars.sha256
	jars []byte
)

// Install returns the folder of Kafka's jars, fetching them through Maven by name if they are not in the cache. Every
// file's digest is compared each time.
func Install(ctx context.Context, progress io.Writer) (string, error) {
	if err := checkJava(ctx); err != nil {
		return "", err
	}
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	pins := sha256.Sum256(jars)
	dir := filepath.Join(cache, "kafka-"+version+"-"+hex.EncodeToString(pins[:4]))
	if verify(dir) != nil {
		if err := fetch(ctx, dir, progress); err != nil {
			return "", err
		}
	}
	if !exists(filepath.Join(dir, classesFile)) {
		if err := archiveClasses(ctx, dir); err != nil { // brokers only start more slowly
			_, _ = fmt.Fprintf(progress, "no archive of classes: %v\n", err)
		}
	}
	return dir, nil
}

// cacheDir is where the embedded parts' cache is, too.
func cacheDir() (string, error) {
	if dir := os.Getenv("CAUDAL_CACHE"); dir != "" {
		return dir, nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("choosing a cache folder (set CAUDAL_CACHE): %w", err)
	}
	return filepath.Join(dir, "caudal"), nil
}

// fetch fills dir as a whole or not at all.
func fetch(ctx context.Context, dir string, progress io.Writer) (err error) {
	if _, err := exec.LookPath("mvn"); err != nil {
		return missing("Maven (the command mvn) is not there to fetch it")
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o750); err != nil {
		return fmt.Errorf("making the cache folder: %w", err)
	}
	fresh, err := os.MkdirTemp(filepath.Dir(dir), "kafka-fetching-")
	if err != nil {
		return fmt.Errorf("making the cache folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(fresh)) }()
	if err := download(ctx, fresh, progress); err != nil {
		return err
	}
	if err := verify(fresh); err != nil {
		return fmt.Errorf("comparing what Maven fetched with the pinned digests: %w", err)
	}
	if err := os.RemoveAll(dir); err != nil { // what did not verify
		return fmt.Errorf("clearing the cache: %w", err)
	}
	if err := os.Rename(fresh, dir); err != nil && verify(dir) != nil { // another process may have been faster
		return fmt.Errorf("moving what was fetched into the cache: %w", err)
	}
	return nil
}

// archiveClasses lets one broker start and end, and Java write down the classes it read: a later start maps them, which
// takes half the time. Java passes over an archive that another version of it wrote.
func archiveClasses(ctx context.Context, lib string) (err error) {
	dir, err := os.MkdirTemp("", "kafka-classes-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	archive := filepath.Join(dir, classesFile)
	c, _, err := start(ctx, Config{
		Dir: filepath.Join(dir, "kafka"), Brokers: 1, HeapMiB: 256, Progress: io.Discard,
		jvm: append(shortLived(), "-XX:ArchiveClassesAtExit="+archive),
	}, lib)
	if err != nil {
		return err
	}
	_ = c.brokers[0].cmd.Process.Signal(syscall.SIGTERM) // it runs
	select {
	case <-c.brokers[0].ended:
	case <-time.After(stopTimeout):
		c.Kill()
		return errors.New("the broker did not end")
	}
	text, err := os.ReadFile(archive) //nolint:gosec // just written
	if err != nil {
		return err
	}
	fresh := filepath.Join(lib, fmt.Sprintf("%s.%d", classesFile, os.Getpid()))
	if err := os.WriteFile(fresh, text, 0o600); err != nil { //nolint:gosec // the cache is the user's
		return err
	}
	return os.Rename(fresh, filepath.Join(lib, classesFile))
}

func missing(what string) error {
	return fmt.Errorf("%w: %s. Apache Kafka %s needs Java %d or later, and Maven the first time: "+
		"apt-get install default-jre-headless maven (Debian, Ubuntu), brew install openjdk maven (macOS)", ErrMissing, what, version, javaLeast)
}

func checkJava(ctx context.Context) error {
	if _, err := exec.LookPath("java"); err != nil {
		return missing("Java (the command java) is not there")
	}
	out, err := exec.CommandContext(ctx, "java", "-version").CombinedOutput()
	if err != nil {
		return missing(fmt.Sprintf("`java -version` ends with %v: %s", err, bytes.TrimSpace(out)))
	}
	major := javaMajor(string(out))
	if major < javaLeast {
		return missing(fmt.Sprintf("Java is version %d", major))
	}
	return nil
}

// javaMajor reads `openjdk version "17.0.15" 2025-04-15` and, before Java 9, `java version "1.8.0_292"`; 0 if it says neither.
func javaMajor(text string) int {
	m := regexp.MustCompile(`version "(?:1\.)?(\d+)`).FindStringSubmatch(text)
	if m == nil {
		return 0
	}
	major, _ := strconv.Atoi(m[1]) // digits
	return major
}

// download fills a folder with the jars and the settings that go with them, naming each file that comes from the network.
func download(ctx context.Context, dir string, progress io.Writer) error {
	_, _ = fmt.Fprintf(progress, "fetching Apache Kafka %s from Maven Central (%d files, 44 MB)\n", version, len(pinned()))
	for name, content := range map[string][]byte{"pom.xml": pom, logConfigFile: logConfig} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return fmt.Errorf("writing %s: %w", name, err)
		}
	}
	cmd := exec.CommandContext(ctx, "mvn", "-B", "-f", filepath.Join(dir, "pom.xml"), copyGoal, "-DoutputDirectory="+dir) //nolint:gosec // arguments are ours
	var failed bytes.Buffer
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = &failed
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting Maven: %w", err)
	}
	fetched := 0
	for lines := bufio.NewScanner(out); lines.Scan(); {
		line := lines.Text()
		if strings.Contains(line, "[ERROR]") {
			failed.WriteString(line + "\n")
		}
		if rest, ok := strings.CutPrefix(line, "[INFO] Downloaded from "); ok && strings.Contains(rest, ".jar (") {
			fetched++
			_, _ = fmt.Fprintf(progress, "  %3d %s\n", fetched, rest[strings.LastIndex(rest, "/")+1:])
		}
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("fetching Apache Kafka %s through Maven: %w\n%s", version, err, failed.String())
	}
	return nil
}

func pinned() map[string]string {
	pins := map[string]string{}
	for line := range strings.Lines(string(jars)) {
		digest, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		pins[name] = digest
	}
	return pins
}

// verify returns nil if a folder holds the pinned jars and no other: the class path takes all of them.
func verify(dir string) error {
	found, err := filepath.Glob(filepath.Join(dir, "*.jar"))
	if err != nil {
		return err
	}
	pins := pinned()
	if len(found) != len(pins) {
		return fmt.Errorf("%d jars, %d are pinned", len(found), len(pins))
	}
	for _, path := range found {
		content, err := os.ReadFile(path) //nolint:gosec // in our own folder
		if err != nil {
			return err
		}
		digest := sha256.Sum256(content)
		if got, want := hex.EncodeToString(digest[:]), pins[filepath.Base(path)]; got != want {
			return fmt.Errorf("%s has digest %s, pinned is %q", filepath.Base(path), got, want)
		}
	}
	return nil
}
