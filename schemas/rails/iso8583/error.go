package iso8583

import (
	"fmt"
	"io"
	"log/slog"
	"strconv"
)

// FormatError says which field is malformed and what was expected there. It never holds or shows what stood in the field, nor
// an error of a library, which might.
type FormatError struct {
	Field    int    // 0 is the MTI, 1 the bitmap
	Name     string // of the field
	Expected string

	codec   *Codec
	request Message // what could be read, behind and before the field
}

func (e *FormatError) Error() string {
	return "field " + strconv.Itoa(e.Field) + " (" + e.Name + "): expected " + e.Expected
}

// Format implements fmt.Formatter, for %#v and %+v would show the request.
func (e *FormatError) Format(w fmt.State, _ rune) { _, _ = io.WriteString(w, e.Error()) }

// LogValue implements slog.LogValuer.
func (e *FormatError) LogValue() slog.Value { return slog.StringValue(e.Error()) }

// Answer is the response that refuses the message (39 = 30). It is false where there is none to give: the type or the STAN was
// not readable, so the sender could not tell what is answered, or the message was itself a response.
func (e *FormatError) Answer() (Message, bool) {
	if e.codec == nil || e.request.STAN == "" {
		return Message{}, false
	}
	return e.codec.Respond(&e.request, ResponseFormatError)
}
