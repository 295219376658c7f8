// Package strictyaml reads YAML that people write and money depends on: reference data and import mappings. It refuses
// unknown and repeated fields, numbers that are no plain integers where an integer belongs, and files above 1 MiB.
package strictyaml

import (
	"bytes"
	"fmt"
	"strconv"

	"github.com/goccy/go-yaml"
)

const sizeMax = 1 << 20

// Unmarshal fills into, whose fields carry yaml tags.
func Unmarshal(raw []byte, into any) error { return unmarshal(raw, into, yaml.Strict()) }

// Peek fills into with what it knows and passes over the rest.
func Peek(raw []byte, into any) error { return unmarshal(raw, into) }

// unmarshal turns a panic into an error: the library has some left for odd input (a tag on nothing, found by fuzzing).
func unmarshal(raw []byte, into any, options ...yaml.DecodeOption) (err error) {
	if len(raw) > sizeMax {
		return fmt.Errorf("decoding YAML: %d bytes, the limit is %d", len(raw), sizeMax)
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("decoding YAML: not understood: %v", p)
		}
	}()
	return yaml.UnmarshalWithOptions(raw, into, options...)
}

// Whole is an integer that stands as one. The library alone takes 1.5 for 1 without a word.
type Whole int64

// UnmarshalYAML implements yaml.BytesUnmarshaler.
func (w *Whole) UnmarshalYAML(text []byte) error {
	n, err := strconv.ParseInt(string(bytes.TrimSpace(text)), 10, 64)
	if err != nil {
		return fmt.Errorf("%q is no integer of 64 bits", text)
	}
	*w = Whole(n)
	return nil
}
