package http

import (
	"strings"

	"github.com/valyala/fasthttp"
)

// call is one request on its way through a handler.
type call struct {
	ctx    *fasthttp.RequestCtx
	caller *Caller
	param  string // what stands for {id} in the address
}

// route is one address and method. Invariant: openapi.json describes each route, and nothing else.
type route struct {
	method   string
	template string // one segment may be {id}
	scope    string // empty: open to all
	batch    bool   // takes NDJSON too, and the larger body
	hook     bool   // takes what processors notify
	handle   func(*call) answer
}

func (s *Server) routes() []route {
	const get, post, put = fasthttp.MethodGet, fasthttp.MethodPost, fasthttp.MethodPut
	return []route{
		{method: get, template: "/", handle: s.getIndex},
		{method: post, template: "/accounts", scope: ScopeAccounts, handle: s.postAccounts},
		{method: post, template: "/cards", scope: ScopeAccounts, handle: s.postCards},
		{method: get, template: "/cards/{id}", scope: ScopeRead, handle: s.getCard},
		{method: post, template: "/cards/{id}/block", scope: ScopeAccounts, handle: s.postBlockCard},
		{method: post, template: "/cards/{id}/unblock", scope: ScopeAccounts, handle: s.postUnblockCard},
		{method: post, template: "/cards/{id}/close", scope: ScopeAccounts, handle: s.postCloseCard},
		{method: post, template: "/clearings", scope: ScopeOperator, handle: s.postClearings},
		{method: post, template: "/payins", scope: ScopePayments, handle: s.postPayIns},
		{method: post, template: "/payins/{id}/capture", scope: ScopePayments, handle: s.postCaptures},
		{method: post, template: "/payins/{id}/void", scope: ScopePayments, handle: s.postVoids},
		{method: post, template: "/payins/{id}/increment", scope: ScopePayments, handle: s.postIncrements},
		{method: post, template: "/payouts", scope: ScopePayments, handle: s.postPayOuts},
		{method: post, template: "/transfers", scope: ScopePayments, handle: s.postTransfers},
		{method: post, template: "/refunds", scope: ScopePayments, handle: s.postRefunds},
		{method: post, template: "/fx/quotes", scope: ScopePayments, handle: s.postQuotes},
		{method: get, template: "/fx/quotes/{id}", scope: ScopeRead, handle: s.getQuote},
		{method: post, template: "/disputes", scope: ScopeOperator, handle: s.postDisputes},
		{method: get, template: "/disputes", scope: ScopeRead, handle: s.getDisputes},
		{method: get, template: "/disputes/{id}", scope: ScopeRead, handle: s.getDispute},
		{method: post, template: "/disputes/{id}/evidence", scope: ScopeDisputes, handle: s.postEvidence},
		{method: post, template: "/disputes/{id}/accept", scope: ScopeDisputes, handle: s.postAccept},
		{method: post, template: "/payments:batch", scope: ScopePayments, batch: true, handle: s.postBatch},
		{method: post, template: "/payments/{id}/approve", scope: ScopeReviews, handle: s.postApprove},
		{method: post, template: "/payments/{id}/decline", scope: ScopeReviews, handle: s.postDecline},
		{method: get, template: "/payments/{id}/timeline", scope: ScopeRead, handle: s.getTimeline},
		{method: put, template: "/customers/{id}/kyc-level", scope: ScopeAccounts, handle: s.putKYCLevel},
		{method: post, template: "/webhooks/{id}", hook: true, handle: s.postWebhook},
		{method: get, template: "/transactions/{id}", scope: ScopeRead, handle: s.getTransaction},
		{method: get, template: "/accounts/{id}", scope: ScopeRead, handle: s.getAccount},
		{method: get, template: "/accounts/{id}/balances", scope: ScopeRead, handle: s.getBalances},
		{method: get, template: "/accounts/{id}/statement", scope: ScopeRead, handle: s.getStatement},
		{method: get, template: "/errors/{id}", handle: s.getError},
		{method: get, template: "/healthz", handle: s.getHealth},
		{method: get, template: "/readyz", handle: s.getReady},
		{method: get, template: "/metrics", handle: s.getMetrics},
		{method: get, template: "/openapi.json", handle: s.getOpenAPI},
	}
}

const parameterSegment = "{id}"

// router finds routes: by the whole path, or by what stands before and after {id}.
type router struct {
	static  map[string][]*route
	dynamic []dynamicRoute
}

type dynamicRoute struct {
	before, after string
	routes        []*route
}

func newRouter(routes []route) *router {
	r := &router{static: map[string][]*route{}}
	for i := range routes {
		before, after, dynamic := strings.Cut(routes[i].template, parameterSegment)
		if dynamic {
			r.dynamic = append(r.dynamic, dynamicRoute{before: before, after: after, routes: []*route{&routes[i]}})
			continue
		}
		r.static[before] = append(r.static[before], &routes[i])
	}
	return r
}

// find returns the routes of a path, one per method, and what stands for {id}.
func (r *router) find(path []byte) (routes []*route, param string) {
	if routes, ok := r.static[string(path)]; ok {
		return routes, ""
	}
	for i := range r.dynamic {
		d := &r.dynamic[i]
		if len(path) <= len(d.before)+len(d.after) || string(path[:len(d.before)]) != d.before ||
			string(path[len(path)-len(d.after):]) != d.after {
			continue
		}
		param := string(path[len(d.before) : len(path)-len(d.after)])
		if !strings.Contains(param, "/") {
			return d.routes, param
		}
	}
	return nil, ""
}
