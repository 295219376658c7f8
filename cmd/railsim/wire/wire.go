// Package wire reads bodies strictly and writes JSON. An unknown member, a member twice, a wrong type or case, or anything
// behind the document is refused: a simulator that forgives hides what the real side would not.
package wire

import (
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/go-json-experiment/json"
)

// bodyBytesMax is far above what any of the requests needs.
const bodyBytesMax = 64 << 10

// Header names the client's order besides the reference, which some acquirers keep short. Connectors send it to all; it is
// optional here: without it the reference is the order.
const Header = "X-Order-Id"

// A Violation is what is wrong with a body.
type Violation struct {
	Pointer string // JSON pointer, where known
	Reason  string
}

func (v *Violation) Error() string { return v.Pointer + ": " + v.Reason }

// Read reads and decodes a body. Its error is a *Violation.
func Read(w http.ResponseWriter, r *http.Request, into any) ([]byte, error) {
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyBytesMax))
	if err != nil {
		return nil, &Violation{Reason: err.Error()}
	}
	if err := json.Unmarshal(b, into, json.RejectUnknownMembers(true)); err != nil {
		v := &Violation{Reason: err.Error()}
		if s, ok := errors.AsType[*json.SemanticError](err); ok {
			v.Pointer = string(s.JSONPointer)
		}
		return nil, v
	}
	return b, nil
}

// ReadNone drains a call that has no body, and refuses one that has.
func ReadNone(w http.ResponseWriter, r *http.Request) error {
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyBytesMax))
	if err != nil {
		return &Violation{Reason: err.Error()}
	}
	if len(b) > 0 && string(b) != "{}" {
		return &Violation{Reason: "this call has no body"}
	}
	return nil
}

// Marshal encodes what we made ourselves.
func Marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("encoding %T: %v", v, err)) // Invariant: our own shapes encode
	}
	return b
}

// LooksLikePAN says whether a token is a card number, which may come nowhere near here.
func LooksLikePAN(token string) bool {
	if len(token) < 12 || len(token) > 19 {
		return false
	}
	for _, c := range token {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}
