package payment

import (
	"slices"
	"strconv"
	"strings"
)

// OrderKind says what a rail is asked to do. The numbers are those of the wire format and never reused.
type OrderKind uint8

// The kinds of orders.
const (
	OrderUnknown   OrderKind = 0
	OrderCollect   OrderKind = 1 // authorise and capture at once
	OrderSend      OrderKind = 2
	OrderReturn    OrderKind = 3
	OrderAuthorize OrderKind = 4
	OrderCapture   OrderKind = 5
	OrderVoid      OrderKind = 6
	OrderIncrement OrderKind = 7
)

// String is the word used in tables and in files.
func (k OrderKind) String() string {
	switch k {
	case OrderCollect:
		return "collect"
	case OrderSend:
		return "send"
	case OrderReturn:
		return "return"
	case OrderAuthorize:
		return "authorize"
	case OrderCapture:
		return "capture"
	case OrderVoid:
		return "void"
	case OrderIncrement:
		return "increment"
	default:
		return "unknown"
	}
}

// The sagas: what takes more than one decision, a row a step, in order. The reducer takes from here what it asks a rail for.
//
//	step     a word of the saga's own; of a step that orders, the word in the order's id: changing it loses answers
//	record   the kind of the record that waits
//	asks     the order in capitals, else the command that takes it on; - what comes from outside, or by itself
//	waits    the statuses of the record while it waits; - it is over in the decision that takes it
//	stuck    how long after the record has come into the status somebody should look; deadline+: after the record's own
//	undone   the event that takes back what the step holds or has done
const sagaTable = `
saga                 step         record     asks              waits                                stuck         undone
card_payin           review       payin      approve           in_review                            deadline+15m  review_expired
card_payin           collect      payin      COLLECT           processing,unknown                   2h            refunded_all
card_payin           refund       payin      refund            partially_refunded                   never         -
card_authorization   review       payin      approve           in_review                            deadline+15m  review_expired
card_authorization   authorize    payin      AUTHORIZE         processing,unknown                   2h            voided
card_authorization   increment    increment  INCREMENT         processing,unknown                   2h            refused
card_authorization   take         payin      capture           requires_capture,partially_captured  deadline+2h   authorization_expired
card_authorization   capture      capture    CAPTURE           processing,unknown                   2h            refused
card_authorization   void         void       VOID              processing,unknown                   2h            refused
card_authorization   expire       payin      VOID              -                                    never         -
card_authorization   refund       payin      refund            partially_refunded                   never         -
card_refund          hold         refund     refund            -                                    never         refused
card_refund          return       refund     RETURN            processing,unknown                   2h            refused
bank_payout          hold         payout     payout            -                                    never         refused
bank_payout          review       payout     approve           in_review                            deadline+15m  review_expired
bank_payout          send         payout     SEND              created,pending                      1d            refused
bank_payout          confirm      payout     -                 sent                                 3d            returned
cross_border_payout  quote        fx_quote   fx_quote          -                                    never         -
cross_border_payout  hold         payout     payout            -                                    never         refused
cross_border_payout  review       payout     approve           in_review                            deadline+15m  review_expired
cross_border_payout  send         payout     SEND              created,pending                      1d            refused
cross_border_payout  convert      payout     -                 -                                    never         returned
cross_border_payout  confirm      payout     -                 sent                                 3d            returned
transfer             review       transfer   approve           in_review                            deadline+15m  review_expired
transfer             debit        transfer   transfer          -                                    never         refused
transfer             counter_leg  transfer   counter_leg       processing                           5m            refused
review               verdict      payin      approve           in_review                            deadline+15m  review_expired
review               verdict      payout     approve           in_review                            deadline+15m  review_expired
review               refund       payin      refund            partially_refunded                   never         -
fx_quote             quote        fx_quote   fx_quote          created                              never         -
issued_card          authorize    authorization  authorization  -                                   never         reversed
issued_card          clear        authorization  clearing       requires_capture,partially_captured  deadline+15m  authorization_expired
dispute              hold         dispute    dispute           pre_dispute                          60d           won
dispute              contest      dispute    dispute_evidence  dispute                              120d          won
dispute              arbitrate    dispute    dispute_evidence  pre_arbitration                      120d          won
`

// SagaStep is one step of a saga.
type SagaStep struct {
	Saga, Name   string
	Record       Kind
	Order        OrderKind // what a rail is asked for; unknown: none is
	Asks         string    // the order or the command, as the table has it; empty: neither
	Waits        []Status
	StuckAfterUS int64 // 0: never
	FromDeadline bool  // StuckAfterUS counts from the record's deadline, where it has one
	Undone       Event
	Undoable     bool // Undone is an event
}

//nolint:gochecknoglobals // never changed: the table above, ready to be looked up
var sagas, sagaNames = parseSagas(sagaTable)

// Sagas are all steps, in the order of the table.
func Sagas() []SagaStep {
	var all []SagaStep
	for _, name := range sagaNames {
		all = append(all, sagas[name]...)
	}
	return all
}

// SagaName is the saga of a payment by what it is; empty where nothing about its kind takes more than one decision.
// Converted: into another currency.
func SagaName(kind Kind, method string, capture CaptureMethod, converted bool) string {
	switch kind {
	case KindPayIn:
		switch {
		case method != "card":
			return "review"
		case capture == CaptureManual:
			return "card_authorization"
		default:
			return "card_payin"
		}
	case KindPayOut:
		switch {
		case method != "bank":
			return "review"
		case converted:
			return "cross_border_payout"
		default:
			return "bank_payout"
		}
	case KindTransfer:
		return "transfer"
	case KindCapture, KindVoid, KindIncrement:
		return "card_authorization"
	case KindRefund:
		return "card_refund"
	case KindFXQuote:
		return "fx_quote"
	case KindDispute:
		return "dispute"
	case KindAuthorization:
		return "issued_card"
	default:
		return ""
	}
}

// StepWaiting is the step at which a record of a kind waits in a status; false where it does not.
func StepWaiting(saga string, kind Kind, s Status) (SagaStep, bool) {
	for _, step := range sagas[saga] {
		if step.Record == kind && slices.Contains(step.Waits, s) {
			return step, true
		}
	}
	return SagaStep{}, false
}

// StepOrdering is the step at which a record asks its rail for what it then waits for; false where it asks for nothing.
func (r *Record) StepOrdering() (SagaStep, bool) {
	for _, step := range sagas[r.saga()] {
		if step.Record == r.Kind && step.Order != OrderUnknown && len(step.Waits) > 0 {
			return step, true
		}
	}
	return SagaStep{}, false
}

func (r *Record) saga() string {
	capture := CaptureUnspecified
	if r.Rail != nil {
		capture = r.Rail.Capture
	}
	return SagaName(r.Kind, r.Method, capture, r.FX != nil)
}

// StuckAtUS is when somebody should look at a record that has been at the step since a time; false: never. deadlineUS is the
// record's own, 0 where it has none.
func (s *SagaStep) StuckAtUS(sinceUS, deadlineUS int64) (int64, bool) {
	switch {
	case s.StuckAfterUS == 0, s.FromDeadline && deadlineUS == 0:
		return 0, false
	case s.FromDeadline:
		return deadlineUS + s.StuckAfterUS, true
	default:
		return sinceUS + s.StuckAfterUS, true
	}
}

// Waiting is a record that waits at a step of its saga.
type Waiting struct {
	Step       SagaStep
	SinceUS    int64 // when the record was made: it does not remember when it came to the step, the stores do
	DeadlineUS int64 // 0: none
	StuckAtUS  int64 // 0: never
}

// SagaOf is where a record waits; false where it does not.
func SagaOf(r *Record) (Waiting, bool) {
	step, ok := StepWaiting(r.saga(), r.Kind, r.Status)
	if !ok {
		return Waiting{}, false
	}
	w := Waiting{Step: step, SinceUS: r.CreatedAtUS, DeadlineUS: r.DeadlineUS}
	if r.Rail != nil && (r.Status == StatusRequiresCapture || r.Status == StatusPartiallyCaptured) {
		w.DeadlineUS = r.Rail.ExpiresAtUS
	}
	w.StuckAtUS, _ = step.StuckAtUS(w.SinceUS, w.DeadlineUS)
	return w, true
}

// parseSagas reads the table as it is written above. A word it does not know is a mistake of this file, found by any test.
func parseSagas(text string) (map[string][]SagaStep, []string) {
	all, names := map[string][]SagaStep{}, []string(nil)
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) == 0 || words[0] == "saga" {
			continue
		}
		if len(words) != 7 {
			panic("a row of another length: " + line)
		}
		step := SagaStep{Saga: words[0], Name: words[1], Record: kindNamed(words[2])}
		step.asks(words[3])
		if words[4] != "-" {
			for w := range strings.SplitSeq(words[4], ",") {
				step.Waits = append(step.Waits, statusNamed(w))
			}
		}
		step.stuck(words[5])
		if words[6] != "-" {
			step.Undone, step.Undoable = eventNamed(words[6]), true
		}
		if all[step.Saga] == nil {
			names = append(names, step.Saga)
		}
		all[step.Saga] = append(all[step.Saga], step)
	}
	return all, names
}

func (s *SagaStep) asks(w string) {
	switch {
	case w == "-":
	case w == strings.ToUpper(w):
		s.Asks, s.Order = w, orderNamed(strings.ToLower(w))
	default:
		s.Asks = kindNamed(w).String()
	}
}

func (s *SagaStep) stuck(w string) {
	if w == "never" {
		return
	}
	w, s.FromDeadline = strings.CutPrefix(w, "deadline+")
	n, err := strconv.ParseInt(w[:len(w)-1], 10, 64)
	unit := map[byte]int64{'m': 60_000_000, 'h': 3600_000_000, 'd': 86_400_000_000}[w[len(w)-1]]
	if err != nil || unit == 0 {
		panic("no such time: " + w)
	}
	s.StuckAfterUS = n * unit
}

func kindNamed(w string) Kind {
	for k := Kind(1); k != 0; k++ { // until it wraps
		if k.String() == w {
			return k
		}
	}
	panic("no such kind: " + w)
}

func orderNamed(w string) OrderKind {
	for k := OrderCollect; k <= OrderIncrement; k++ {
		if k.String() == w {
			return k
		}
	}
	panic("no such order: " + w)
}
