package rede

import (
	"strings"
	"time"

	"github.com/caudalpay/caudal/cmd/railsim/cards"
	"github.com/caudalpay/caudal/cmd/railsim/faults"
	"github.com/caudalpay/caudal/cmd/railsim/wire"
)

// evidenceDays is how long evidence is taken.
const evidenceDays = 10

// Tells says whether there is a webhook of a stage: of each, in a shape of the simulator's own.
func (s *Server) Tells(cards.Stage) bool { return true }

// contested is the notification of a dispute.
func (s *Server) contested(c cards.Charge, lie faults.Kind, wrong func(int64) int64) (body []byte, ok bool) {
	d, data := c.Dispute, noted{ID: c.ID, Reference: c.Reference, Status: status(c), Amount: c.CapturedMinor}
	switch lie {
	case faults.HookLieUnknown:
		data.ID, data.Reference = ID(cards.Digest(0, Name, c.ID, 0, "unknown")), "unknown"
	case faults.HookLieAmount:
		d.AmountMinor = wrong(d.AmountMinor)
	case faults.HookLieState:
		if d = d.Before(); d == nil {
			return nil, false // nothing was before it
		}
	default:
	}
	data.Chargeback = &chargeback{
		ID: "cb_" + d.ID, Stage: strings.ToUpper(string(d.Stage)), Amount: d.AmountMinor, ReasonCode: d.Reason, OccurredAt: d.At.Format(time.RFC3339Nano),
		EvidenceUntil: d.At.AddDate(0, 0, evidenceDays).Format(time.DateOnly),
	}
	return wire.Marshal(notification{CompanyNumber: s.credentials.PV, Events: []string{"PV.CHARGEBACK"}, Data: data}), true
}
