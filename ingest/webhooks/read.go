package webhooks

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/caudalpay/caudal/schemas/codec"
	railsv1 "github.com/caudalpay/caudal/schemas/rails/v1"
)

// reader reads a body of one dialect into a notification's claims. An error, and a kind that is left unspecified, mean that
// nobody here knows what it says.
type reader func(body []byte, n *railsv1.Notification) error

func readers() map[string]reader {
	return map[string]reader{"cielo": readCielo, "pagarme": readPagarme, "rede": readRede, "transfers": readTransfers}
}

// errNotUnderstood: the body is JSON, and not of a shape that is known.
var errNotUnderstood = errors.New("not understood")

const (
	payment = railsv1.NotificationKind_NOTIFICATION_KIND_PAYMENT
	dispute = railsv1.NotificationKind_NOTIFICATION_KIND_DISPUTE
	other   = railsv1.NotificationKind_NOTIFICATION_KIND_OTHER
)

// text takes a number for a string: processors write ids both ways.
type text string

// UnmarshalJSON implements json.Unmarshaler.
func (t *text) UnmarshalJSON(b []byte) error {
	switch jsontext.Value(b).Kind() {
	case '"':
		var s string
		if err := json.Unmarshal(b, &s); err != nil {
			return err //nolint:wrapcheck // errNotUnderstood in the end
		}
		*t = text(s)
	case '0':
		*t = text(b)
	case 'n':
		*t = ""
	default:
		return errNotUnderstood
	}
	return nil
}

// minor is an amount in minor units. What is negative or no integer is not understood.
type minor int64

// UnmarshalJSON implements json.Unmarshaler.
func (m *minor) UnmarshalJSON(b []byte) error {
	if jsontext.Value(b).Kind() == 'n' {
		*m = 0
		return nil
	}
	v, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil || v < 0 {
		return errNotUnderstood
	}
	*m = minor(v)
	return nil
}

// centavos reads an amount in reais, as 100.5. False: it has more than two decimals, or is none.
func centavos(reais string) (int64, bool) {
	whole, part, _ := strings.Cut(reais, ".")
	if strings.Trim(part, "0") == "" {
		part = ""
	}
	if len(part) > 2 || !digits(whole) || part != "" && !digits(part) {
		return 0, false
	}
	v, err := strconv.ParseInt(whole+(part + "00")[:2], 10, 64)
	return v, err == nil
}

func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// endOfDay is the moment at which a day of Brasilia is over, in microseconds; 0: it is none.
func endOfDay(day string) int64 {
	t, err := time.Parse(time.DateOnly, day)
	if err != nil {
		return 0
	}
	return told(t.Add(27 * time.Hour))
}

// moment reads a time of RFC 3339 in microseconds; 0: it is none.
func moment(text string) int64 {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return 0
	}
	return told(t)
}

// told is a time in microseconds; 0: no record can hold it.
func told(t time.Time) int64 {
	if us := t.UnixMicro(); us > 0 && us <= codec.TimeMaxUS {
		return us
	}
	return 0
}

const textMax = 256

// tidy cuts what a processor wrote to what a record takes.
func tidy(n *railsv1.Notification) {
	texts := []*string{&n.EventId, &n.Type, &n.Reference, &n.OwnReference}
	if d := n.GetDispute(); d != nil {
		texts = append(texts, &d.Id, &d.StageWord, &d.Currency, &d.ReasonCode, &d.Tid)
	}
	for _, s := range texts {
		if len(*s) > textMax {
			*s = strings.ToValidUTF8((*s)[:textMax], "")
		}
	}
}
