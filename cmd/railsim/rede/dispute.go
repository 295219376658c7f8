package rede

import (
	"strings"
	"time"

	"github.com/caudalpay/caudal/cmd/railsim/cards"
	"github.com/caudalpay/caudal/cmd/railsim/faults"
	"github.com/caudalpay/caudal/cmd/railsim/wire"
)

// Tells says whether there is a webhook of a stage: of each, in a shape of the simulator's own.
func (s *Server) Tells(cards.Stage) bool { return true }

// contested is the notification of a dispute.
func (s *Server) contested(c cards.Charge, lie faults.Kind, wrong func(int64) int64) (body []byte, ok bool) {
	d, data := c.Dispute.Told(lie, wrong), noted{ID: c.ID, Reference: c.Reference, Status: status(c), Amount: c.CapturedMinor}
	if d == nil {
		return nil, false
	}
	if lie == faults.HookLieUnknown {
		data.ID, data.Reference = ID(cards.Digest(0, Name, c.ID, 0, "unknown")), "unknown"
	}
	data.Chargeback = &chargeback{
		ID: "cb_" + d.ID, Stage: strings.ToUpper(string(d.Stage)), Amount: d.AmountMinor, ReasonCode: d.Reason, OccurredAt: d.At.Format(time.RFC3339Nano),
		EvidenceUntil: d.EvidenceUntil(),
	}
	return wire.Marshal(notification{CompanyNumber: s.credentials.PV, Events: []string{"PV.CHARGEBACK"}, Data: data}), true
}
