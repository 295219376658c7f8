package http

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/caudalpay/caudal/ingest/disputes"
	"github.com/caudalpay/caudal/ingest/door"
	"github.com/caudalpay/caudal/processors/payment"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

const (
	evidenceMax        = 20
	disputesCursorForm = 2 // the first byte; a statement's cursor has another
	parameterAccount   = "account_id"
	parameterStatus    = "status"
	connectorOperator  = "operator" // who tells where nobody else is named
	noDispute          = "No such dispute of yours."
)

// evidenceRequest is the body of POST /disputes/{id}/evidence.
type evidenceRequest struct{ files []*paymentsv1.EvidenceFile }

func (s *Server) postDisputes(c *call) answer {
	r := disputes.Told{Connector: connectorOperator}
	if a := s.read(c.ctx.Request.Body(), func(d *decoder) error { return d.dispute(&r) }); a != nil {
		return *a
	}
	key, a := s.idempotencyKey(c)
	if a != nil {
		return *a
	}
	p, problem, err := s.dispute(c.caller, &r, key)
	if problem != nil || err != nil {
		return s.refused(problem, err)
	}
	return s.submit(c, &p, p.ruled)
}

func (s *Server) postEvidence(c *call) answer {
	var r evidenceRequest
	if a := s.read(c.ctx.Request.Body(), func(d *decoder) error { return d.evidence(&r) }); a != nil {
		return *a
	}
	return s.postAbout(c, payment.KindDisputeEvidence, r.canonical, func(cmd *paymentsv1.Command) {
		cmd.Body = &paymentsv1.Command_DisputeEvidence{DisputeEvidence: &paymentsv1.DisputeEvidence{Files: r.files}}
	})
}

func (s *Server) postAccept(c *call) answer {
	if body := c.ctx.Request.Body(); len(body) > 0 {
		if a := s.read(body, (*decoder).nothing); a != nil {
			return *a
		}
	}
	return s.postAbout(c, payment.KindDisputeAccept, nil, func(cmd *paymentsv1.Command) {
		cmd.Body = &paymentsv1.Command_DisputeAccept{DisputeAccept: &paymentsv1.DisputeAccept{}}
	})
}

// postAbout takes what the merchant says of the dispute in the address to the log.
func (s *Server) postAbout(c *call, kind payment.Kind, more func(door.Canonical) door.Canonical, fill func(*paymentsv1.Command)) answer {
	id, err := payment.ParseID(c.param)
	if err != nil || id.Kind() != payment.KindDispute {
		return refusal(s.problem(ErrorDisputeUnknown, noDispute))
	}
	key, a := s.idempotencyKey(c)
	if a != nil {
		return *a
	}
	p, problem, err := s.about(c.caller, kind, id, key, more)
	if problem != nil || err != nil {
		return s.refused(problem, err)
	}
	fill(p.item.Command)
	return s.submit(c, &p, p.ruled)
}

// dispute reads the body of POST /disputes. The error is a syntaxError.
func (d *decoder) dispute(r *disputes.Told) error {
	return d.members([]string{"payment_id", "stage", "amount", "reference"}, func(name string) error {
		switch name {
		case "payment_id":
			return d.paymentID(&r.Payment)
		case "stage":
			return d.stage(&r.Stage)
		case "amount":
			return d.integer(&r.AmountMinor, 1, math.MaxInt64)
		case "reason_code":
			return d.name(&r.ReasonCode)
		case "connector":
			return d.name(&r.Connector)
		case "reference":
			return d.name(&r.Reference)
		case "deadline":
			return d.moment(&r.DeadlineUS)
		case "occurred_at":
			return d.moment(&r.OccurredAtUS)
		default:
			return d.unknown()
		}
	})
}

func (d *decoder) stage(into *paymentsv1.DisputeStage) error {
	text, ok, err := d.text()
	if err != nil || !ok {
		return err
	}
	n, known := paymentsv1.DisputeStage_value["DISPUTE_STAGE_"+strings.ToUpper(string(text))]
	if !known || n == 0 || strings.ToLower(string(text)) != string(text) {
		d.add(codeMalformed, "pre_dispute, dispute, pre_arbitration, won or lost")
		return nil
	}
	*into = paymentsv1.DisputeStage(n)
	return nil
}

// moment reads a time of RFC 3339 as microseconds since 1970-01-01 UTC.
func (d *decoder) moment(into *int64) error {
	text, ok, err := d.text()
	if err != nil || !ok {
		return err
	}
	t, perr := time.Parse(time.RFC3339, string(text))
	if perr != nil {
		d.add(codeMalformed, "a time is expected, as 2026-11-30T23:59:59Z")
		return nil
	}
	if us := t.UnixMicro(); us >= firstDay*secondsPerDay*1e6 && us < (lastDay+1)*secondsPerDay*1e6 {
		*into = us
		return nil
	}
	d.add(codeOutOfRange, "from 1970-01-02 to 2199-12-31")
	return nil
}

// evidence reads the body of POST /disputes/{id}/evidence.
func (d *decoder) evidence(r *evidenceRequest) error {
	return d.members([]string{"files"}, func(name string) error {
		if name != "files" {
			return d.unknown()
		}
		elements, err := d.array(func() error {
			f := &paymentsv1.EvidenceFile{}
			if len(r.files) < evidenceMax {
				r.files = append(r.files, f)
			}
			return d.file(f)
		})
		switch {
		case err != nil:
		case elements == 0:
			d.add(codeRequired, "at least one file")
		case elements > evidenceMax:
			d.add(codeTooMany, "at most "+strconv.Itoa(evidenceMax)+" files")
		}
		return err
	})
}

func (d *decoder) file(into *paymentsv1.EvidenceFile) error {
	return d.members([]string{"reference", "sha256", "kind"}, func(name string) error {
		switch name {
		case "reference":
			return d.locator(&into.Reference)
		case "sha256":
			return d.sha256(&into.Sha256)
		case "kind":
			return d.evidenceKind(&into.Kind)
		default:
			return d.unknown()
		}
	})
}

// locator reads where a file is kept. It is no place for what is personal: the log keeps it in clear.
func (d *decoder) locator(into *string) error {
	before := len(d.violations)
	if err := d.free(into, referenceMaxRunes); err != nil || len(d.violations) > before {
		return err
	}
	if *into == "" {
		d.add(codeRequired, "where the file is kept")
	}
	return nil
}

func (d *decoder) sha256(into *[]byte) error {
	text, ok, err := d.text()
	if err != nil || !ok {
		return err
	}
	sum, herr := hex.DecodeString(string(text))
	if herr != nil || len(sum) != 32 {
		d.add(codeMalformed, "64 hexadecimal digits are expected")
		return nil
	}
	*into = sum
	return nil
}

func (d *decoder) evidenceKind(into *string) error {
	text, ok, err := d.text()
	if err != nil || !ok {
		return err
	}
	if !slices.Contains([]string{"receipt", "delivery", "communication", "other"}, string(text)) {
		d.add(codeMalformed, "receipt, delivery, communication or other")
		return nil
	}
	*into = string(text)
	return nil
}

func (s *Server) getDispute(c *call) answer {
	return record(s, c, payment.KindDispute, func(ctx context.Context, id payment.ID) (*DisputeView, uint64, error) {
		v, err := s.ports.Store.Dispute(ctx, c.caller.Owner, id)
		if err != nil {
			return nil, 0, err
		}
		return v, v.AccountSeq, nil
	})
}

// getDisputes lists the caller's disputes. min_seq counts decisions of one account, so it takes an account to have one.
func (s *Server) getDisputes(c *call) answer {
	q := DisputesQuery{Limit: limitUsual}
	var minSeq uint64
	if a := s.parameters(c, func(name, value string) (ok bool) {
		switch name {
		case parameterMinSeq:
			minSeq, ok = decodeSeq(value)
			return ok && c.ctx.QueryArgs().Has(parameterAccount)
		case parameterAccount:
			var err error
			q.Account, err = payment.ParseAccountID(value)
			return err == nil
		case parameterStatus:
			q.Status, ok = disputeStatus(value)
		case parameterCursor:
			q.After, ok = decodeDisputesCursor(value)
		case parameterLimit:
			q.Limit, ok = decodeLimit(value)
		}
		return ok
	}); a != nil {
		return *a
	}
	if q.Account != "" {
		if _, ok := s.owned(c.caller, q.Account); !ok {
			return refusal(s.problem(ErrorNotFound, ""))
		}
		if a := s.wait(q.Account, minSeq); a != nil {
			return *a
		}
	}
	ctx, cancel := context.WithTimeout(s.requests, s.cfg.SeqWait)
	defer cancel()
	page, err := s.ports.Store.Disputes(ctx, c.caller.Owner, q)
	if err != nil {
		s.ports.Log.Error("reading store", "error", err)
		return refusal(s.problem(ErrorUnavailable, "The store does not answer."))
	}
	if n := len(page.Disputes); n > 0 {
		last := &page.Disputes[n-1]
		page.Cursor = encodeDisputesCursor(DisputesCursor{CreatedAtUS: last.CreatedAt.UnixMicro(), ID: payment.ID(last.DisputeID)})
	}
	return answer{status: fasthttp.StatusOK, body: encode(page)}
}

// disputeStatus is the status of a dispute by its word.
func disputeStatus(word string) (payment.Status, bool) {
	for _, s := range disputeStatuses() {
		if word == s.String() {
			return s, true
		}
	}
	return payment.StatusNone, false
}

func disputeStatuses() []payment.Status {
	return []payment.Status{payment.StatusPreDispute, payment.StatusDispute, payment.StatusPreArbitration, payment.StatusWon, payment.StatusLost}
}

func encodeDisputesCursor(c DisputesCursor) string {
	return base64.RawURLEncoding.EncodeToString(append(binary.AppendVarint([]byte{disputesCursorForm}, c.CreatedAtUS), c.ID...))
}

func decodeDisputesCursor(text string) (DisputesCursor, bool) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) == 0 || b[0] != disputesCursorForm {
		return DisputesCursor{}, false
	}
	at, n := binary.Varint(b[1:])
	if n <= 0 || at < 0 || at >= (lastDay+1)*secondsPerDay*1e6 {
		return DisputesCursor{}, false
	}
	id, err := payment.ParseID(string(b[1+n:]))
	return DisputesCursor{CreatedAtUS: at, ID: id}, err == nil && id.Kind() == payment.KindDispute
}
