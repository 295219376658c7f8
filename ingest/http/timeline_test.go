package http_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/embedtest"
	"github.com/caudalpay/caudal/ingest/http"
	"github.com/caudalpay/caudal/processors/payment"
)

// Timeline gives numbered commands, so that pages can be told apart.
func (s store) Timeline(_ context.Context, _ http.Owner, q http.TimelineQuery) (*http.TimelinePage, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.payments[q.Payment]; !ok {
		return nil, http.ErrNotFound
	}
	page := &http.TimelinePage{PaymentID: string(q.Payment), Events: []http.TimelineEvent{}, AccountSeq: s.stored}
	for n := q.After + 1; n <= 5; n++ {
		if len(page.Events) == q.Limit {
			page.HasMore = true
			break
		}
		page.Events, page.Last = append(page.Events, http.TimelineEvent{Stage: "command", Partition: int32(n)}), n
	}
	return page, nil
}

func TestTimelinePages(t *testing.T) {
	d := openDoor(t)
	id := d.payInID("k")
	d.payments[id], d.stored = &http.PaymentView{}, 9
	path := "/payments/" + string(id) + "/timeline"
	var seen []int32
	for query := "?limit=2&min_seq=9"; ; {
		r := d.send("GET", path+query, "")
		var p http.TimelinePage
		r.decode(t, &p)
		for _, e := range p.Events {
			seen = append(seen, e.Partition)
		}
		if r.header["Caudal-Account-Seq"] != "9" || len(seen) > 5 {
			t.Fatalf("%d %v %s", r.status, r.header, r.body)
		}
		if !p.HasMore {
			break
		}
		query = "?limit=2&cursor=" + p.Cursor
	}
	if !slices.Equal(seen, []int32{1, 2, 3, 4, 5}) {
		t.Errorf("%v", seen)
	}
	others := payment.IDFrom(payment.KindPayIn, d.rival, "rival", "k")
	d.payments[others] = &http.PaymentView{}
	for query, status := range map[string]int{
		path + "?limit=501": 400, path + "?cursor=x": 400, path + "?offset=1": 400, path + "?min_seq=10": 503,
		"/payments/pi_x/timeline":                            404, // no id
		"/payments/" + string(others) + "/timeline":          404, // another merchant's
		"/payments/" + string(d.payInID("no")) + "/timeline": 404,
	} {
		if r := d.send("GET", query, ""); r.status != status {
			t.Errorf("%s: %d %s, want %d", query, r.status, r.body, status)
		}
	}
	if r := d.send("POST", path, "{}"); r.status != 405 {
		t.Errorf("%d %s", r.status, r.body)
	}
}

// told is a row of payments.events: what a test says of it, the rest is what most have.
type told map[string]any

// history writes rows as the sink does, a second between them, and reads timelines.
type history struct {
	t       *testing.T
	conn    *pgx.Conn
	store   *http.PostgresStore
	account payment.AccountID
	seq     int
}

var mine = http.Owner{Tenant: "sample", Merchant: "shop"}

const firstAt = "2026-11-22 08:00:00+00"

func openHistory(t *testing.T) *history {
	t.Helper()
	dsn := embedtest.Migrated(t)
	conn := embedtest.Connect(t, dsn)
	store, err := http.OpenPostgresStore(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	return &history{t: t, conn: conn, store: store, account: payment.AccountIDFrom("sample", "shop", "a1")}
}

func (h *history) insert(table string, row told) {
	h.t.Helper()
	var names, places []string
	args := []any{}
	for name, value := range row {
		args = append(args, value)
		names, places = append(names, name), append(places, fmt.Sprint("$", len(args)))
	}
	if _, err := h.conn.Exec(h.t.Context(), "INSERT INTO "+table+" ("+strings.Join(names, ", ")+") VALUES ("+strings.Join(places, ", ")+")", args...); err != nil {
		h.t.Fatal(err)
	}
}

func (h *history) at() time.Time {
	first, err := time.Parse("2006-01-02 15:04:05-07", firstAt)
	if err != nil {
		h.t.Fatal(err)
	}
	return first.Add(time.Duration(h.seq) * time.Second)
}

// payment writes a payment's row, which the next decision of the account makes.
func (h *history) payment(kind payment.Kind, key, method string, outcome payment.Outcome, status payment.Status, of payment.ID, more told) payment.ID {
	h.t.Helper()
	id := payment.IDFrom(kind, h.account, "shop", key)
	row := told{
		"payment_id": string(id), "created_month": "2026-11-01", "effective_date": "2026-11-22", "created_at": h.at().Add(time.Second), "decided_at": h.at(),
		"created_seq": h.seq + 1, "account_seq": h.seq + 1, "log_offset": 100 + h.seq + 1, "amount_minor": 1000, "target_amount_minor": 1000, "fee_minor": 10,
		"limit_amount_minor": 1000, "refunded_minor": 0, "log_partition": 5, "kind": int16(kind), "outcome": int16(outcome), "status": int16(status),
		"fraud_score": 0, "currency": "BRL", "target_currency": "BRL", "limit_currency": "BRL", "method": method, "tenant": "sample", "merchant": "shop",
		"customer": "c1", "account": string(h.account), "to_account": "", "related_payment_id": string(of), "instrument": "", "counterparty_country": "",
		"sealed_key_id": "", "sealed": []byte{}, "reasons": []int16{}, "created_offset": 100 + h.seq + 1,
		"created_written_at": h.at().Add(time.Second + 3*time.Millisecond), "command_offset": 200 + h.seq + 1, "command_partition": 5,
	}
	maps.Copy(row, more)
	h.insert("payments.payments", row)
	return id
}

// decide writes what the next decision of the account says of a payment.
func (h *history) decide(of payment.ID, kind payment.Kind, outcome payment.Outcome, status payment.Status, more told) {
	h.t.Helper()
	h.seq++
	row := told{
		"payment_id": string(of), "decided_month": "2026-11-01", "accepted_at": h.at(), "written_at": h.at().Add(3 * time.Millisecond), "account_seq": h.seq,
		"log_offset": 100 + h.seq, "command_offset": 200 + h.seq, "amount_minor": 1000, "rail_amount_minor": 0, "log_partition": 5, "command_partition": 5,
		"kind": int16(kind), "outcome": int16(outcome), "status": int16(status), "payment_status": int16(status), "rail_result": 0, "currency": "BRL",
		"operation_id": "", "other_account": "", "order_id": "", "given_order_id": "", "connector": "", "rail_reference": "", "rail_code": "", "reasons": []int16{},
	}
	maps.Copy(row, more)
	h.insert("payments.events", row)
}

// answer writes what a rail says of a payment, or of an operation on it.
func (h *history) answer(of, waits payment.ID, step string, status, stands payment.Status, code string, more told) {
	h.t.Helper()
	row := told{"order_id": string(waits) + "." + step, "payment_status": int16(stands), "rail_code": code, "rail_result": 1, "connector": "cielo"}
	if waits != of {
		row["operation_id"] = string(waits)
	}
	maps.Copy(row, more)
	h.decide(of, payment.KindRailAnswer, payment.OutcomeApplied, status, row)
}

// lines reads a whole timeline by pages of so many decisions, an event a line.
func (h *history) lines(id payment.ID, limit int) []string {
	h.t.Helper()
	var lines []string
	for q := (http.TimelineQuery{Payment: id, Limit: limit}); ; {
		page, err := h.store.Timeline(h.t.Context(), mine, q)
		if err != nil {
			h.t.Fatal(err)
		}
		for _, e := range page.Events {
			offset := "-"
			if e.Offset != nil {
				offset = fmt.Sprint(*e.Offset)
			}
			line := []string{e.Stage, fmt.Sprintf("%d/%s", e.Partition, offset), fmt.Sprintf("+%d", e.MS), e.Kind}
			for _, word := range []string{
				e.Decision, e.Status, e.PaymentStatus, strings.Join(e.Reasons, ","), strings.Join(e.Journals, ","), e.RailResult, e.RailCode,
				strings.NewReplacer(string(id)+".", "ID.", string(e.OperationID)+".", "OP.").Replace(e.OrderID), e.AccountID,
			} {
				if word != "" {
					line = append(line, word)
				}
			}
			lines = append(lines, strings.Join(line, " "))
		}
		if !page.HasMore {
			return lines
		}
		q.After = page.Last
	}
}

func (h *history) want(id payment.ID, want ...string) {
	h.t.Helper()
	for _, limit := range []int{100, 2, 1} {
		if got := h.lines(id, limit); !slices.Equal(got, want) {
			h.t.Errorf("pages of %d:\n%s\nwant\n%s", limit, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

// TestTimelineOfACardPayment: nobody knows, then it is authorised; captured; the rail repeats itself; refunded.
func TestTimelineOfACardPayment(t *testing.T) {
	h := openHistory(t)
	pi := h.payment(payment.KindPayIn, "k", "card", payment.OutcomeApproved, payment.StatusPartiallyCaptured, "", nil)
	h.decide(pi, payment.KindPayIn, payment.OutcomeApproved, payment.StatusProcessing, told{"given_order_id": string(pi) + ".authorize"})
	for line, kind := range []int{1, 1} { // the hold
		h.insert("ledger.postings", told{
			"log_offset": 101, "amount_minor": 1, "log_partition": 5, "booking_month": "2026-11-01", "topic": 1, "line": line, "journal_kind": kind, "layer": 2,
			"account": "x", "currency": "BRL",
		})
	}
	h.answer(pi, pi, "authorize", payment.StatusUnknown, payment.StatusUnknown, "timeout", told{"rail_result": int16(payment.RailUnknown)})
	h.answer(pi, pi, "authorize", payment.StatusUnknown, payment.StatusUnknown, "12", told{
		"rail_amount_minor": 900, "reasons": []int16{int16(payment.ReasonRailAmount)},
	})
	rail := func(id payment.ID, code string, amount int64) {
		t.Helper()
		v, err := h.store.Payment(t.Context(), mine, id)
		if err != nil || v.RailCode != code || v.RailAmount != amount {
			t.Errorf("%s: code %q, amount %d, %v; want %q, %d", id, v.RailCode, v.RailAmount, err, code, amount)
		}
	}
	rail(pi, "12", 900)
	h.answer(pi, pi, "authorize", payment.StatusRequiresCapture, payment.StatusRequiresCapture, "00", told{"rail_amount_minor": 1000})
	rail(pi, "00", 0)
	ca := h.payment(payment.KindCapture, "c", "card", payment.OutcomeApproved, payment.StatusFailed, pi, nil)
	about := func(status, stands payment.Status) told {
		return told{"operation_id": string(ca), "payment_status": int16(stands), "given_order_id": string(ca) + ".capture", "status": int16(status)}
	}
	h.decide(pi, payment.KindCapture, payment.OutcomeApproved, payment.StatusProcessing, about(payment.StatusProcessing, payment.StatusRequiresCapture))
	h.answer(pi, ca, "capture", payment.StatusFailed, payment.StatusRequiresCapture, "unsupported", told{
		"rail_result": int16(payment.RailRefused), "reasons": []int16{int16(payment.ReasonRailRefused)},
	})
	rail(ca, "unsupported", 0)
	// What repeats, contradicts, comes too late, or is about the void that nobody asked for: none of it is why the payment stands so.
	h.answer(pi, pi, "authorize", payment.StatusRequiresCapture, payment.StatusRequiresCapture, "00 again", nil)
	h.decide(pi, payment.KindPayIn, payment.OutcomeRepeated, payment.StatusProcessing, nil) // tells the first answer
	h.answer(pi, pi, "authorize", payment.StatusRequiresCapture, payment.StatusRequiresCapture, "99", told{"reasons": []int16{int16(payment.ReasonRailContradiction)}})
	h.answer(pi, ca, "capture", payment.StatusFailed, payment.StatusRequiresCapture, "late", told{"reasons": []int16{int16(payment.ReasonRailLate)}})
	h.decide(pi, payment.KindExpire, payment.OutcomeApplied, payment.StatusExpired, told{
		"reasons": []int16{int16(payment.ReasonAuthorizationExpired)}, "given_order_id": string(pi) + ".expire",
	})
	h.answer(pi, pi, "expire", payment.StatusExpired, payment.StatusExpired, "void", nil)
	rail(pi, "00", 0)
	rail(ca, "unsupported", 0)
	h.want(
		pi,
		"command 5/201 +0 payin", "decision 5/101 +3 payin approved processing hold", "order 5/- +0 payin ID.authorize",
		"command 5/202 +997 rail_answer unknown timeout ID.authorize", "decision 5/102 +3 rail_answer applied unknown",
		"command 5/203 +997 rail_answer confirmed 12 ID.authorize", "decision 5/103 +3 rail_answer applied unknown rail_amount",
		"command 5/204 +997 rail_answer confirmed 00 ID.authorize", "decision 5/104 +3 rail_answer applied requires_capture",
		"command 5/205 +997 capture", "decision 5/105 +3 capture approved processing requires_capture", "order 5/- +0 capture OP.capture",
		"command 5/206 +997 rail_answer refused unsupported OP.capture", "decision 5/106 +3 rail_answer applied failed requires_capture rail_refused",
		"command 5/207 +997 rail_answer confirmed 00 again ID.authorize", "decision 5/107 +3 rail_answer applied requires_capture",
		"command 5/208 +997 payin", "decision 5/108 +3 payin repeated processing",
		"command 5/209 +997 rail_answer confirmed 99 ID.authorize", "decision 5/109 +3 rail_answer applied requires_capture rail_contradiction",
		"command 5/210 +997 rail_answer confirmed late OP.capture", "decision 5/110 +3 rail_answer applied failed requires_capture rail_late",
		"command 5/211 +997 expire", "decision 5/111 +3 expire applied expired authorization_expired", "order 5/- +0 expire ID.expire",
		"command 5/212 +997 rail_answer confirmed void ID.expire", "decision 5/112 +3 rail_answer applied expired",
	)
	h.want(
		ca,
		"command 5/205 +0 capture", "decision 5/105 +3 capture approved processing requires_capture", "order 5/- +0 capture ID.capture",
		"command 5/206 +997 rail_answer refused unsupported ID.capture", "decision 5/106 +3 rail_answer applied failed requires_capture rail_refused",
		"command 5/210 +3997 rail_answer confirmed late ID.capture", "decision 5/110 +3 rail_answer applied failed requires_capture rail_late",
	)
	if _, err := h.store.Timeline(t.Context(), http.Owner{Tenant: "sample", Merchant: "rival"}, http.TimelineQuery{Payment: pi, Limit: 1}); !errors.Is(err, http.ErrNotFound) {
		t.Errorf("another merchant: %v", err)
	}
}

// TestTimelineWithoutEvents: a payment that ended when it was made costs no event, and has a timeline all the same.
func TestTimelineWithoutEvents(t *testing.T) {
	h := openHistory(t)
	paid := h.payment(payment.KindPayIn, "paid", "book", payment.OutcomeApproved, payment.StatusPartiallyRefunded, "", nil)
	h.seq++
	h.decide(paid, payment.KindRefund, payment.OutcomeApproved, payment.StatusSucceeded, told{
		"operation_id": string(payment.IDFrom(payment.KindRefund, h.account, "shop", "r")), "payment_status": int16(payment.StatusPartiallyRefunded),
	})
	h.want(
		paid,
		"command 5/201 +0 payin", "decision 5/101 +3 payin approved succeeded",
		"command 5/202 +997 refund", "decision 5/102 +3 refund approved succeeded partially_refunded",
	)
	declined := h.payment(payment.KindPayOut, "declined", "cash", payment.OutcomeDeclined, payment.StatusFailed, "", told{"reasons": []int16{int16(payment.ReasonLimitDay)}})
	h.want(declined, "command 5/203 +0 payout", "decision 5/103 +3 payout declined failed limit_day")
	old := h.payment(payment.KindPayIn, "old", "book", payment.OutcomeApproved, payment.StatusSucceeded, "", told{"created_offset": nil, "created_written_at": nil})
	h.want(old) // of before there were events
}

// TestTimelineOfAQuote: what it tells of stays told once a payment has used it, and is not that payment's.
func TestTimelineOfAQuote(t *testing.T) {
	h := openHistory(t)
	by := payment.IDFrom(payment.KindPayOut, h.account, "shop", "used")
	used := h.payment(payment.KindFXQuote, "1", "", payment.OutcomeApproved, payment.StatusSucceeded, by, nil)
	h.decide(used, payment.KindFXQuote, payment.OutcomeApproved, payment.StatusCreated, nil)
	free := h.payment(payment.KindFXQuote, "2", "", payment.OutcomeApproved, payment.StatusCreated, "", nil)
	h.decide(free, payment.KindFXQuote, payment.OutcomeApproved, payment.StatusCreated, nil)
	h.want(used, "command 5/201 +0 fx_quote", "decision 5/101 +3 fx_quote approved created")
	h.want(free, "command 5/202 +0 fx_quote", "decision 5/102 +3 fx_quote approved created")
}

// TestTimelineOfATransfer: the payee's side stands before the result that it led to, and says nothing of the payee's account
// but that. An id that was used before has nothing of that time.
func TestTimelineOfATransfer(t *testing.T) {
	h := openHistory(t)
	payee := string(payment.AccountIDFrom("sample", "rival", "a2"))
	h.seq = 10
	tr := h.payment(payment.KindTransfer, "k", "book", payment.OutcomeApproved, payment.StatusFailed, "", nil)
	h.seq = 3
	h.decide(tr, payment.KindTransfer, payment.OutcomeApproved, payment.StatusProcessing, told{"decided_month": "2026-01-01"})
	h.decide(tr, payment.KindTransfer, payment.OutcomeApproved, payment.StatusProcessing, nil) // the same month, another life
	h.seq = 10
	h.decide(tr, payment.KindTransfer, payment.OutcomeApproved, payment.StatusProcessing, nil)
	h.decide(tr, payment.KindLegResult, payment.OutcomeApplied, payment.StatusFailed, told{"reasons": []int16{int16(payment.ReasonAccountClosed)}})
	h.decide(tr, payment.KindCounterLeg, payment.OutcomeDeclined, payment.StatusNone, told{
		"account_seq": 1, "log_partition": 9, "command_partition": 9, "other_account": payee, "accepted_at": "2026-11-22 08:00:12.001+00",
		"reasons": []int16{int16(payment.ReasonAccountClosed)},
	})
	h.decide(tr, payment.KindExpire, payment.OutcomeApplied, payment.StatusFailed, nil)
	h.want(
		tr,
		"command 5/211 +0 transfer", "decision 5/111 +3 transfer approved processing",
		"command 9/213 +998 counter_leg "+payee, "decision 9/113 +1002 counter_leg declined account_closed "+payee,
		"command 5/212 +0 leg_result", "decision 5/112 +3 leg_result applied failed account_closed",
		"command 5/214 +1997 expire", "decision 5/114 +3 expire applied failed",
	)
	page, err := h.store.Timeline(t.Context(), mine, http.TimelineQuery{Payment: tr, Limit: 9})
	if err != nil || page.Status != "failed" || page.Events[3].AccountSeq != 0 || page.Events[1].AccountSeq != 11 {
		t.Errorf("%+v, %v", page, err)
	}
}
