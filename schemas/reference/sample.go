package reference

import (
	"embed"
	"fmt"
	"io/fs"
	"slices"
)

//go:embed sample/*.yaml
var sampleFiles embed.FS

// Sample is the reference data of the sample tenant, in the order of Topics.
func Sample() ([]Document, error) { return ParseFS(sampleFiles, "sample/*.yaml") }

// ParseFS reads every document that matches, in the order of Topics, and refuses two of one key.
func ParseFS(files fs.FS, pattern string) ([]Document, error) {
	names, err := fs.Glob(files, pattern)
	if err != nil {
		return nil, fmt.Errorf("listing reference documents: %w", err)
	}
	documents := make([]Document, 0, len(names))
	seen := map[string]string{}
	for _, name := range names {
		raw, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, fmt.Errorf("reading reference document: %w", err)
		}
		d, err := Parse(name, raw)
		if err != nil {
			return nil, err
		}
		if other, ok := seen[d.Topic+"/"+d.Key()]; ok {
			return nil, fmt.Errorf("%s: is %s again, after %s", name, d.Key(), other)
		}
		seen[d.Topic+"/"+d.Key()] = name
		documents = append(documents, d)
	}
	order := Topics()
	slices.SortStableFunc(documents, func(a, b Document) int {
		return slices.Index(order, a.Topic) - slices.Index(order, b.Topic)
	})
	return documents, nil
}
