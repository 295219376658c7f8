package model

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	referencev1 "github.com/caudalpay/caudal/schemas/reference/v1"
	"github.com/caudalpay/caudal/schemas/topics"
)

// References are the documents that commands pin, by id@version.
type References struct {
	policies   map[string]*referencev1.Policy
	fees       map[string]*referencev1.FeeSchedule
	sheets     map[string]*referencev1.RateSheet
	rules      map[string]*referencev1.RuleSet
	blocklists map[string]*referencev1.Blocklist
}

// NewReferences holds nothing yet.
func NewReferences() *References {
	return &References{
		policies: map[string]*referencev1.Policy{}, fees: map[string]*referencev1.FeeSchedule{},
		sheets: map[string]*referencev1.RateSheet{}, rules: map[string]*referencev1.RuleSet{},
		blocklists: map[string]*referencev1.Blocklist{},
	}
}

// ErrDocumentChanged marks a key that was written twice with different documents: versions never change.
var ErrDocumentChanged = errors.New("a published version was changed")

// Add takes one record of a reference topic.
func (r *References) Add(topic, key string, value []byte) error {
	switch topic {
	case topics.Policies:
		return add(r.policies, key, value, &referencev1.Policy{})
	case topics.FeeSchedules:
		return add(r.fees, key, value, &referencev1.FeeSchedule{})
	case topics.FXRates:
		return add(r.sheets, key, value, &referencev1.RateSheet{})
	case topics.Rules:
		return add(r.rules, key, value, &referencev1.RuleSet{})
	case topics.Blocklists:
		return add(r.blocklists, key, value, &referencev1.Blocklist{})
	default:
		return fmt.Errorf("topic %s holds no reference data", topic)
	}
}

// document is what all reference messages have.
type document interface {
	proto.Message
	GetId() string
	GetVersion() uint32
}

func add[D document](into map[string]D, key string, value []byte, doc D) error {
	if err := proto.Unmarshal(value, doc); err != nil {
		return fmt.Errorf("decoding %s: %w", key, err)
	}
	if name := fmt.Sprintf("%s@%d", doc.GetId(), doc.GetVersion()); name != key {
		return fmt.Errorf("key %s holds the document %s", key, name)
	}
	if old, ok := into[key]; ok && !proto.Equal(old, doc) {
		return fmt.Errorf("document %s: %w", key, ErrDocumentChanged)
	}
	into[key] = doc
	return nil
}

// find returns the zero document for an empty reference: that stage is off.
func find[D any](from map[string]D, ref string) (D, error) {
	doc, ok := from[ref]
	if !ok && ref != "" {
		return doc, fmt.Errorf("document %s is on no reference topic", ref)
	}
	return doc, nil
}

// idOf is the id of id@version.
func idOf(ref string) string {
	id, _, _ := strings.Cut(ref, "@")
	return id
}

// rules are the documents of one command, resolved.
type documents struct {
	policy    *referencev1.Policy
	fees      *referencev1.FeeSchedule
	sheet     *referencev1.RateSheet
	rules     *referencev1.RuleSet
	blocklist *referencev1.Blocklist
}

// offset is the tenant's UTC offset valid at a time.
func (d documents) offset(us int64) int32 {
	var s int32
	for _, o := range d.policy.GetUtcOffsets() {
		if o.GetFromUs() <= us {
			s = o.GetOffsetS()
		}
	}
	return s
}

// quote is the direct rate of a pair.
func (d documents) quote(source, target string) *referencev1.Rate {
	for _, r := range d.sheet.GetRates() {
		if r.GetSource() == source && r.GetTarget() == target {
			return r
		}
	}
	return nil
}
