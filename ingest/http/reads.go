package http

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/valyala/fasthttp"

	"github.com/caudalpay/caudal/processors/payment"
)

const (
	parameterMinSeq = "min_seq"
	parameterCursor = "cursor"
	parameterLimit  = "limit"
	limitUsual      = 100
	limitMax        = 500
	pollFirst       = 5 * time.Millisecond
	pollMax         = 100 * time.Millisecond
	cursorVersion   = 1
)

// query is what the address of a read may carry.
type query struct {
	minSeq uint64
	after  StatementCursor
	limit  int
}

func (s *Server) query(c *call, paged bool) (query, *answer) {
	q := query{limit: limitUsual}
	return q, s.parameters(c, func(name, value string) (ok bool) {
		switch {
		case name == parameterMinSeq:
			q.minSeq, ok = decodeSeq(value)
		case paged && name == parameterCursor:
			q.after, ok = decodeCursor(value)
		case paged && name == parameterLimit:
			q.limit, ok = decodeLimit(value)
		}
		return ok
	})
}

// parameters gives each parameter of the address to take, which says whether it can be used.
func (s *Server) parameters(c *call, take func(name, value string) bool) *answer {
	var bad *Violation
	seen := map[string]bool{}
	for key, value := range c.ctx.QueryArgs().All() {
		name := string(key)
		if seen[name] || !take(name, string(value)) {
			bad = &Violation{Parameter: boundedName(name), Code: codeMalformed, Detail: "unknown, twice, malformed or out of range"}
		}
		seen[name] = true
	}
	if bad == nil {
		return nil
	}
	a := refusal(s.problem(ErrorInvalidParameter, "", *bad))
	return &a
}

// boundedName is a parameter's name where it may be sent back: a short text that holds no card number. Of any other, nothing.
func boundedName(name string) string {
	if len(name) > parameterMaxBytes || !utf8.ValidString(name) || holdsCardNumber(name) {
		return ""
	}
	return name
}

func decodeSeq(text string) (uint64, bool) {
	n, err := strconv.ParseUint(text, 10, 63)
	return n, err == nil
}

func decodeLimit(text string) (int, bool) {
	n, err := strconv.ParseUint(text, 10, 31)
	return int(n), err == nil && n >= 1 && n <= limitMax
}

// encodeCursor makes a text that callers hand back and do not read.
func encodeCursor(c StatementCursor) string {
	b := binary.AppendUvarint([]byte{cursorVersion}, c.AccountSeq)
	b = binary.AppendUvarint(b, uint64(c.Line)) //nolint:gosec // lines count from 0
	return base64.RawURLEncoding.EncodeToString(b)
}

func decodeCursor(text string) (StatementCursor, bool) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) == 0 || b[0] != cursorVersion {
		return StatementCursor{}, false
	}
	seq, n := binary.Uvarint(b[1:])
	if n <= 0 || seq > math.MaxInt64 {
		return StatementCursor{}, false
	}
	line, m := binary.Uvarint(b[1+n:])
	if m <= 0 || 1+n+m != len(b) || line > math.MaxInt32 {
		return StatementCursor{}, false
	}
	return StatementCursor{AccountSeq: seq, Line: int32(line)}, true
}

// wait returns when the store holds the account up to minSeq, or what to answer instead.
func (s *Server) wait(account payment.AccountID, minSeq uint64) *answer {
	if minSeq == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(s.requests, s.cfg.SeqWait)
	defer cancel()
	err := s.ports.Store.WaitSeq(ctx, account, minSeq)
	if err == nil {
		return nil
	}
	id := ErrorStoreBehind
	if !errors.Is(err, context.DeadlineExceeded) {
		s.ports.Log.Error("waiting for store", "account", string(account), "error", err)
		id = ErrorUnavailable
	}
	a := refusal(s.problem(id, ""))
	return &a
}

// find reads an object of an account the caller owns: after min_seq where it is asked for, and with patience, since
// the store follows the log. Whom the directory does not know as owner is told at once that there is nothing.
func find[V any](s *Server, c *call, account payment.AccountID, minSeq uint64, read func(context.Context) (V, error)) (V, *answer) {
	var none V
	if _, ok := s.owned(c.caller, account); !ok {
		a := refusal(s.problem(ErrorNotFound, ""))
		return none, &a
	}
	if a := s.wait(account, minSeq); a != nil {
		return none, a
	}
	ctx, cancel := context.WithTimeout(s.requests, s.cfg.ReadWait)
	defer cancel()
	for pause := pollFirst; ; pause = min(2*pause, pollMax) {
		v, err := read(ctx)
		if err == nil {
			return v, nil
		}
		if !errors.Is(err, ErrNotFound) {
			s.ports.Log.Error("reading store", "account", string(account), "error", err)
			a := refusal(s.problem(ErrorUnavailable, "The store does not answer."))
			return none, &a
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			a := refusal(s.problem(ErrorNotFound, ""))
			return none, &a
		}
	}
}

func (s *Server) getTransaction(c *call) answer {
	id, err := payment.ParseID(c.param)
	if err != nil {
		return refusal(s.problem(ErrorNotFound, ""))
	}
	q, a := s.query(c, false)
	if a != nil {
		return *a
	}
	view, a := find(s, c, id.Account(), q.minSeq, func(ctx context.Context) (*PaymentView, error) {
		return s.ports.Store.Payment(ctx, c.caller.Owner, id)
	})
	if a != nil {
		return *a
	}
	s.unseal(view)
	return answer{status: fasthttp.StatusOK, body: encode(view), accountSeq: view.AccountSeq}
}

// unseal puts the personal members into a view. Data whose key is gone has been erased: the payment stays readable.
func (s *Server) unseal(v *PaymentView) {
	personal, err := s.ports.Sealer.Open(v.Sealed)
	if err != nil {
		s.ports.Log.Error("opening personal data", "payment_id", v.PaymentID, "error", err)
	}
	v.Reference, v.Reason = personal.GetReference(), personal.GetReason()
	if m := personal.GetMetadataJson(); m != "" && jsontext.Value(m).IsValid() {
		v.Metadata = jsontext.Value(m)
	}
	party := CounterpartyView{
		Name: personal.GetCounterpartyName(), Country: v.CounterpartyCountry,
		Document: personal.GetCounterpartyDocument(), Account: personal.GetCounterpartyAccount(),
	}
	if party != (CounterpartyView{}) {
		v.Counterparty = &party
	}
	if v.Reasons == nil {
		v.Reasons = []string{}
	}
}

func (s *Server) getAccount(c *call) answer {
	return read(s, c, func(ctx context.Context, id payment.AccountID, _ query) (*AccountView, uint64, error) {
		v, err := s.ports.Store.Account(ctx, c.caller.Owner, id)
		if err != nil {
			return nil, 0, err
		}
		return v, v.AccountSeq, nil
	}, false)
}

func (s *Server) getBalances(c *call) answer {
	return read(s, c, func(ctx context.Context, id payment.AccountID, _ query) (*BalancesView, uint64, error) {
		v, err := s.ports.Store.Balances(ctx, c.caller.Owner, id)
		if err != nil {
			return nil, 0, err
		}
		return v, v.AccountSeq, nil
	}, false)
}

func (s *Server) getStatement(c *call) answer {
	return read(s, c, func(ctx context.Context, id payment.AccountID, q query) (*StatementPage, uint64, error) {
		v, err := s.ports.Store.Statement(ctx, c.caller.Owner, StatementQuery{Account: id, After: q.after, Limit: q.limit})
		if err != nil {
			return nil, 0, err
		}
		if n := len(v.Lines); n > 0 {
			v.Cursor = encodeCursor(StatementCursor{AccountSeq: v.Lines[n-1].AccountSeq, Line: v.Lines[n-1].Line})
		}
		return v, v.AccountSeq, nil
	}, true)
}

type numbered[V any] struct {
	view V
	seq  uint64
}

// read answers one of the reads below /accounts/{id}.
func read[V any](s *Server, c *call, load func(context.Context, payment.AccountID, query) (V, uint64, error), paged bool) answer {
	id, err := payment.ParseAccountID(c.param)
	if err != nil {
		return refusal(s.problem(ErrorNotFound, ""))
	}
	q, a := s.query(c, paged)
	if a != nil {
		return *a
	}
	found, a := find(s, c, id, q.minSeq, func(ctx context.Context) (numbered[V], error) {
		v, seq, err := load(ctx, id, q)
		return numbered[V]{view: v, seq: seq}, err
	})
	if a != nil {
		return *a
	}
	return answer{status: fasthttp.StatusOK, body: encode(found.view), accountSeq: found.seq}
}
