package kafkad

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestJavaMajor(t *testing.T) {
	for text, want := range map[string]int{
		`openjdk version "17.0.15" 2025-04-15`:                            17,
		`openjdk version "21" 2023-09-19`:                                 21,
		`java version "1.8.0_292"`:                                        8,
		"Picked up JAVA_TOOL_OPTIONS: -Xmx1g\nopenjdk version \"17.0.1\"": 17,
		`command not found`:                                               0,
	} {
		if got := javaMajor(text); got != want {
			t.Errorf("%q is Java %d, want %d", text, got, want)
		}
	}
}

// TestWhatIsMissingIsNamed: without Java or Maven the error says what to install.
func TestWhatIsMissingIsNamed(t *testing.T) {
	for want, programs := range map[string]map[string]string{
		"the command java":  {},
		"Java is version 8": {"java": `echo 'java version "1.8.0_292"' >&2`, "mvn": "exit 1"},
		"the command mvn":   {"java": `echo 'openjdk version "17.0.15"' >&2`},
	} {
		t.Run(want, func(t *testing.T) {
			bin := t.TempDir()
			for name, script := range programs {
				if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			t.Setenv("PATH", bin)
			t.Setenv("CAUDAL_CACHE", t.TempDir())
			_, err := Start(t.Context(), Config{Dir: t.TempDir(), Brokers: 1})
			if !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "apt-get install") {
				t.Errorf("start ended with %v", err)
			}
		})
	}
}

// TestOnlyPinnedJars: the class path takes every jar of the folder, so a changed, missing or added one is refused.
func TestOnlyPinnedJars(t *testing.T) {
	if n := len(pinned()); n != 46 {
		t.Fatalf("%d jars are pinned", n)
	}
	dir := t.TempDir()
	if err := verify(dir); err == nil {
		t.Error("an empty folder passes")
	}
	for name := range pinned() {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("not what was pinned"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := verify(dir); err == nil || !strings.Contains(err.Error(), "has digest") {
		t.Errorf("other files under the pinned names: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "added.jar"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := verify(dir); err == nil || !strings.Contains(err.Error(), "47 jars") {
		t.Errorf("one more jar: %v", err)
	}
}

func TestAFolderOfSomethingElseIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "letters.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c := &Cluster{cfg: Config{Dir: dir, Brokers: 1}}
	if _, err := c.makePlan(t.Context()); err == nil || !strings.Contains(err.Error(), "choose another folder") {
		t.Errorf("a folder of something else: %v", err)
	}
	c.cfg.Dir = filepath.Join(dir, "new")
	if fresh, err := c.makePlan(t.Context()); err != nil || !fresh {
		t.Fatal(fresh, err)
	}
	c.cfg.Brokers = 3
	if _, err := c.makePlan(t.Context()); err == nil || !strings.Contains(err.Error(), "holds 1 broker") {
		t.Errorf("three brokers in a folder of one: %v", err)
	}
}
