package importer

import (
	"errors"
	"fmt"
	"strings"
)

// Template is text with {column} in it. Where it names columns and all of them are empty in a row, so is the result:
// "{bank}/{account}" makes nothing out of nothing.
type Template struct {
	parts []part
	named bool
}

type part struct {
	text   string
	column string // empty: text
	index  int
}

// UnmarshalYAML implements yaml.InterfaceUnmarshaler.
func (t *Template) UnmarshalYAML(decode func(any) error) error {
	var text string
	if err := decode(&text); err != nil {
		return err
	}
	parsed, err := parseTemplate(text)
	if err != nil {
		return err
	}
	*t = parsed
	return nil
}

func parseTemplate(text string) (Template, error) {
	var t Template
	for text != "" {
		before, rest, open := strings.Cut(text, "{")
		if strings.Contains(before, "}") {
			return t, fmt.Errorf("template %q has a } without {", text)
		}
		if before != "" {
			t.parts = append(t.parts, part{text: before})
		}
		if !open {
			break
		}
		column, after, closed := strings.Cut(rest, "}")
		if !closed || column == "" || strings.Contains(column, "{") {
			return t, fmt.Errorf("template %q has a { without a column and }", text)
		}
		t.parts, t.named, text = append(t.parts, part{column: column}), true, after
	}
	return t, nil
}

func (t *Template) empty() bool { return len(t.parts) == 0 }

var errColumn = errors.New("the file has no such column")

// bind finds the columns in the header.
func (t *Template) bind(path string, header map[string]int) error {
	for i, p := range t.parts {
		if p.column == "" {
			continue
		}
		index, ok := header[p.column]
		if !ok {
			return fmt.Errorf("%s: %w: %s", path, errColumn, p.column)
		}
		t.parts[i].index = index
	}
	return nil
}

// fill makes the text of a row, with runs of white space as one space.
func (t *Template) fill(row []string) string {
	var b strings.Builder
	filled := !t.named
	for _, p := range t.parts {
		if p.column == "" {
			b.WriteString(p.text)
			continue
		}
		filled = filled || strings.TrimSpace(row[p.index]) != ""
		b.WriteString(row[p.index])
	}
	if !filled {
		return ""
	}
	return strings.Join(strings.Fields(b.String()), " ")
}
