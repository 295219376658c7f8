package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Invariant: every test that docs/exactly-once.md names exists, every setting it recommends stands in the file it points to,
// and every file it points to is there.
func TestExactlyOncePageNamesWhatExists(t *testing.T) {
	page, err := os.ReadFile("../../docs/exactly-once.md")
	if err != nil {
		t.Fatal(err)
	}
	var tests []string
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err = filepath.WalkDir("../..", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		body, err := os.ReadFile(path)
		for _, m := range declared.FindAllSubmatch(body, -1) {
			tests = append(tests, string(m[1]))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`\bTest[A-Z]\w+`).FindAllString(string(page), -1)
	if len(named) < 20 {
		t.Errorf("only %d tests are named: %v", len(named), named)
	}
	for _, name := range named {
		if !slices.Contains(tests, name) {
			t.Errorf("%s does not exist", name)
		}
	}
	for _, m := range regexp.MustCompile(`\]\(([^)]+)\)`).FindAllStringSubmatch(string(page), -1) {
		if _, err := os.Stat(filepath.Join("../../docs", m[1])); err != nil {
			t.Error(err)
		}
	}
	settings, err := os.ReadFile("../../deploy/kafka/broker.properties")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("`([a-z]+(?:\\.[a-z]+){2,})`").FindAllStringSubmatch(string(page), -1) {
		if !strings.Contains(string(settings), "\n"+m[1]+"=") && !strings.Contains(string(settings), "\n#"+m[1]+"=") {
			t.Errorf("%s is not in broker.properties", m[1])
		}
	}
}
