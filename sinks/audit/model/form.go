package model

import (
	"fmt"
	"strings"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

// latestUS is the last microsecond since 1970 that a command may tell.
const latestUS = int64(1) << 53

// formed refuses a command that tells a time which no command can: it could not have been decoded.
func formed(cmd *paymentsv1.Command) error {
	for _, t := range []struct {
		name                string
		value, first, final int64
	}{
		{"accepted_at_us", cmd.GetAcceptedAtUs(), 1, latestUS},
		{"minute", cmd.GetTick().GetMinute(), 0, latestUS / minuteUS},
		{"due_at_us", cmd.GetExpire().GetDueAtUs(), 0, latestUS},
		{"reported_at_us", cmd.GetRailAnswer().GetReportedAtUs(), 0, latestUS},
		{"transmitted_at_us", cmd.GetCardTransaction().GetTransmittedAtUs(), 0, latestUS},
		{"asked_at_us", cmd.GetCardTransaction().GetAskedAtUs(), 0, latestUS},
		{"asked_at_us", cmd.GetReversal().GetAskedAtUs(), 0, latestUS},
		{"deadline_us", cmd.GetDispute().GetDeadlineUs(), 0, latestUS},
		{"occurred_at_us", cmd.GetDispute().GetOccurredAtUs(), 0, latestUS},
	} {
		if t.value < t.first || t.value > t.final {
			return fmt.Errorf("%s is %d, and must be from %d to %d", t.name, t.value, t.first, t.final)
		}
	}
	return nil
}

// isCommandID tells a cmd_ id by its form.
func isCommandID(id string) bool {
	digits, ok := strings.CutPrefix(id, "cmd_")
	return ok && len(digits) == 40 && strings.Trim(digits, "abcdefghijklmnopqrstuvwxyz234567") == ""
}
