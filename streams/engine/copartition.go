package engine

import (
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// copartitioned gives a member the same partitions of all inputs: those of the first are shared out as cooperative-sticky
// does, and the others go with them. Where the broker assigns, its range assignor does that.
type copartitioned struct {
	kgo.GroupBalancer
	inputs []string
}

func balancer(inputs []string) kgo.GroupBalancer {
	if len(inputs) == 1 {
		return kgo.CooperativeStickyBalancer()
	}
	return copartitioned{GroupBalancer: kgo.CooperativeStickyBalancer(), inputs: inputs}
}

// ProtocolName differs from that of members which would take what each topic's partitions are given alone.
func (c copartitioned) ProtocolName() string { return "copartitioned-sticky" }

// JoinGroupMetadata tells all topics, and what the member has of the first.
func (c copartitioned) JoinGroupMetadata(interests []string, current map[string][]int32, generation int32) []byte {
	first := map[string][]int32{}
	if has, ok := current[c.inputs[0]]; ok {
		first[c.inputs[0]] = has
	}
	return c.GroupBalancer.JoinGroupMetadata(interests, first, generation)
}

func (c copartitioned) MemberBalancer(members []kmsg.JoinGroupResponseMember) (kgo.GroupMemberBalancer, map[string]struct{}, error) {
	shares, topics, err := c.GroupBalancer.MemberBalancer(members)
	if err != nil {
		return nil, nil, fmt.Errorf("reading what the members have: %w", err)
	}
	return alike{shares.(*kgo.ConsumerBalancer), c.inputs}, topics, nil
}

// alike shares out the partitions of the first input, and gives those of the others along.
type alike struct {
	*kgo.ConsumerBalancer
	inputs []string
}

func (a alike) BalanceOrError(topics map[string]int32) (kgo.IntoSyncAssignment, error) {
	first := a.inputs[0]
	into, err := a.ConsumerBalancer.BalanceOrError(map[string]int32{first: topics[first]})
	if err != nil {
		return nil, fmt.Errorf("sharing out %s: %w", first, err)
	}
	plan, ok := into.(*kgo.BalancePlan)
	if !ok {
		return nil, fmt.Errorf("sharing out %s: the client made a plan of type %T", first, into)
	}
	for _, of := range plan.AsMemberIDMap() {
		for _, other := range a.inputs[1:] {
			of[other] = slices.Clone(of[first])
		}
	}
	return plan, nil
}
