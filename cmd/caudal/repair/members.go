package repair

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/caudalpay/caudal/schemas/topics"
)

// MembersError means that the group has members: what they have in hand would count as torn, and an offset that is
// committed beside them would tear more.
type MembersError struct{ Members []string } // instance id and address of each

func (e *MembersError) Error() string {
	return fmt.Sprintf("group %s still has members: %s; stop them (each `caudal up` and `caudal worker` of this installation) and run this again; "+
		"one that has died is given up when its session ends: 6 s, or the broker's 45 s where it assigns partitions, unless set otherwise", topics.AccountsGroup, strings.Join(e.Members, ", "))
}

// coordinatorWait is for a broker that has just started, or moves the group's coordinator, or makes the topic it needs.
const coordinatorWait = 30 * time.Second

// A living member that was put out of the group, by a pause of its own or when another's session ended, comes back within
// this time.
const (
	lookAgain  = 500 * time.Millisecond
	emptyLooks = 5
)

// alone waits up to cfg.Patience for the sessions of dead members to end, and refuses to work beside any that is left. The
// group must be found empty several times in a row.
func alone(ctx context.Context, cfg Config, adm *kadm.Client) error {
	told, empty := false, 0
	began := time.Now()
	for until := began.Add(cfg.Patience); ; {
		members, err := membersOf(ctx, adm)
		if err == nil && len(members) == 0 {
			empty++
		} else {
			empty = 0
		}
		switch {
		case kerr.IsRetriable(err) && time.Since(began) < coordinatorWait:
		case err != nil:
			return err
		case empty == emptyLooks:
			return nil
		case empty > 0:
		case !time.Now().Before(until):
			return &MembersError{Members: members}
		case !told:
			told = true
			cfg.Log.Warn("waiting for the members of the group, which may be dead", "members", members, "at most", cfg.Patience)
		}
		select {
		case <-time.After(lookAgain):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// membersOf names the members of the group, whoever assigns its partitions: a group is of one kind, and the other kind's
// question does not know it.
func membersOf(ctx context.Context, adm *kadm.Client) (members []string, err error) {
	group := topics.AccountsGroup
	add := func(instance *string, id, host string) {
		name := id
		if instance != nil {
			name = *instance
		}
		members = append(members, name+" at "+strings.TrimPrefix(host, "/"))
	}
	classic, err := adm.DescribeGroups(ctx, group)
	if err == nil {
		err = classic[group].Err
	}
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return nil, fmt.Errorf("asking for the members of group %s: %w", group, err)
	}
	for _, m := range classic[group].Members {
		add(m.InstanceID, m.MemberID, m.ClientHost)
	}
	assigned, err := adm.DescribeConsumerGroups(ctx, group)
	if err == nil {
		err = assigned[group].Err
	}
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) && !errors.Is(err, kerr.UnsupportedVersion) {
		return nil, fmt.Errorf("asking for the members of group %s: %w", group, err)
	}
	for _, m := range assigned[group].Members {
		add(m.InstanceID, m.MemberID, m.ClientHost)
	}
	return members, nil
}
