// Package reference turns policies, fee schedules, rate sheets, rule sets and blocklists from YAML into the messages
// that stand on the reference topics, and holds those of the sample tenant.
// It is strict: an unknown field, a second of the same, a rate that is no exact decimal, a limit below another or a
// name that is not there is an error that says where, because a typing error here moves money.
package reference

import (
	"fmt"
	"strconv"

	"google.golang.org/protobuf/proto"

	referencev1 "github.com/caudalpay/caudal/schemas/reference/v1"
	"github.com/caudalpay/caudal/schemas/topics"
)

// Message is what the five kinds of reference data have in common.
type Message interface {
	proto.Message
	GetId() string
	GetVersion() uint32
}

// Document is one version of one piece of reference data, and the topic it belongs to.
type Document struct {
	Topic   string
	Message Message
}

// Key names a version: the record key, and what a command pins.
func Key(id string, version uint32) string { return id + "@" + strconv.FormatUint(uint64(version), 10) }

// Key of the document's record.
func (d Document) Key() string { return Key(d.Message.GetId(), d.Message.GetVersion()) }

// Encode is the record's value.
func (d Document) Encode() ([]byte, error) {
	value, err := proto.MarshalOptions{Deterministic: true}.Marshal(d.Message)
	if err != nil {
		return nil, fmt.Errorf("encoding %s: %w", d.Key(), err)
	}
	return value, nil
}

// Decode reads the value of a record of a reference topic, and refuses one that does not belong under its key.
func Decode(topic, key string, value []byte) (Document, error) {
	var m Message
	switch topic {
	case topics.Policies:
		m = &referencev1.Policy{}
	case topics.FeeSchedules:
		m = &referencev1.FeeSchedule{}
	case topics.FXRates:
		m = &referencev1.RateSheet{}
	case topics.Rules:
		m = &referencev1.RuleSet{}
	case topics.Blocklists:
		m = &referencev1.Blocklist{}
	default:
		return Document{}, fmt.Errorf("decoding %s: topic %s holds no reference data", key, topic)
	}
	if err := proto.Unmarshal(value, m); err != nil {
		return Document{}, fmt.Errorf("decoding %s of %s: %w", key, topic, err)
	}
	d := Document{Topic: topic, Message: m}
	if d.Key() != key {
		return Document{}, fmt.Errorf("decoding %s of %s: the document is %s", key, topic, d.Key())
	}
	return d, nil
}

// Topics lists the topics of reference data: what a policy names before the policies.
func Topics() []string {
	return []string{topics.Blocklists, topics.Rules, topics.FXRates, topics.FeeSchedules, topics.Policies}
}
