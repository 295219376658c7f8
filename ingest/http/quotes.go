package http

import (
	"context"

	"github.com/valyala/fasthttp"

	"github.com/caudalpay/caudal/processors/payment"
)

func (s *Server) postQuotes(c *call) answer { return s.postPayment(c, payment.KindFXQuote) }

func (s *Server) getQuote(c *call) answer {
	return record(s, c, payment.KindFXQuote, func(ctx context.Context, id payment.ID) (*QuoteView, uint64, error) {
		v, err := s.ports.Store.Quote(ctx, c.caller.Owner, id)
		if err != nil {
			return nil, 0, err
		}
		return v, v.AccountSeq, nil
	})
}

// record answers a read of one record of a kind, which stands in the address.
func record[V any](s *Server, c *call, kind payment.Kind, load func(context.Context, payment.ID) (V, uint64, error)) answer {
	id, err := payment.ParseID(c.param)
	if err != nil || id.Kind() != kind {
		return refusal(s.problem(ErrorNotFound, ""))
	}
	q, a := s.query(c, false)
	if a != nil {
		return *a
	}
	found, a := find(s, c, id.Account(), q.minSeq, func(ctx context.Context) (numbered[V], error) {
		v, seq, err := load(ctx, id)
		return numbered[V]{view: v, seq: seq}, err
	})
	if a != nil {
		return *a
	}
	return answer{status: fasthttp.StatusOK, body: encode(found.view), accountSeq: found.seq}
}
