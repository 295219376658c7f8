package reference

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"regexp"
	"time"

	"github.com/caudalpay/caudal/processors/money"
	referencev1 "github.com/caudalpay/caudal/schemas/reference/v1"
	"github.com/caudalpay/caudal/schemas/strictyaml"
)

// digestSize is that of a keyed party digest.
const digestSize = 32

var (
	idPattern      = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)
	countryPattern = regexp.MustCompile(`^[A-Z]{2}$`)
)

// check collects everything that is wrong with a document, so that one reading mends it.
type check struct{ problems []error }

func (c *check) err() error { return errors.Join(c.problems...) }

func (c *check) must(ok bool, path, complaint string) {
	if !ok {
		c.problems = append(c.problems, fmt.Errorf("%s: %s", path, complaint))
	}
}

func (c *check) head(h Head) {
	c.id("id", h.ID)
	c.must(h.Version > 0, "version", "is not positive")
}

func (c *check) id(path, id string) string {
	c.must(idPattern.MatchString(id), path, "is not 1 to 64 of a-z 0-9 . _ -")
	return id
}

func (c *check) optionalID(path, id string) string {
	if id != "" {
		c.id(path, id)
	}
	return id
}

func (c *check) u32(path string, n strictyaml.Whole) uint32 {
	c.must(n >= 0 && n <= math.MaxUint32, path, "is not within 32 bits")
	return uint32(n) //nolint:gosec // checked
}

func (c *check) i32(path string, n strictyaml.Whole) int32 {
	c.must(n >= math.MinInt32 && n <= math.MaxInt32, path, "is not within 32 bits")
	return int32(n) //nolint:gosec // checked
}

func (c *check) currency(path, currency string) string {
	_, ok := money.Exponent(currency)
	c.must(ok, path, "is no ISO 4217 currency")
	return currency
}

func (c *check) time(path, text string) int64 {
	t, err := time.Parse(time.RFC3339, text)
	c.must(err == nil, path, "is no RFC 3339 time")
	return t.UnixMicro()
}

func (c *check) duration(path, text string) time.Duration {
	d, err := time.ParseDuration(text)
	c.must(err == nil && d%time.Second == 0, path, "is no duration of whole seconds, such as -3h or 24h")
	return d
}

func (c *check) minute(path, text string) int32 {
	t, err := time.Parse("15:04", text)
	c.must(err == nil, path, "is no time of day such as 22:00")
	return int32(t.Hour()*60 + t.Minute()) //nolint:gosec // below 1440
}

func (c *check) blocklist(y blocklistYAML) *referencev1.Blocklist {
	b := &referencev1.Blocklist{Id: y.ID, Version: c.u32("version", y.Version), Countries: y.Countries}
	for i, country := range y.Countries {
		c.must(countryPattern.MatchString(country), fmt.Sprintf("countries[%d]", i), "is no ISO 3166-1 alpha-2 code")
	}
	for i, text := range y.PartyDigests {
		digest, err := hex.DecodeString(text)
		c.must(err == nil && len(digest) == digestSize, fmt.Sprintf("party_digests[%d]", i), "is not 32 bytes in hex")
		b.PartyDigests = append(b.PartyDigests, digest)
	}
	return b
}
