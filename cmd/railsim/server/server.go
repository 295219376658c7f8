// Package server puts the simulator together: three acquirers and a bank on one HTTP server, over one journal, with books that
// are independent of what was answered.
//
//	/cielo  /rede  /pagarme  /bank   the protocols, each in the package of its name
//	GET /books                       every order, streamed; ?order_id= one of them
//	GET /books/summary               totals, charged_twice, faults that fell, webhooks
//	POST /disputes                   lets the holder of a card contest a charge, which is told by webhook
//	GET /health                      200 once it serves
package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/caudalpay/caudal/cmd/railsim/bank"
	"github.com/caudalpay/caudal/cmd/railsim/books"
	"github.com/caudalpay/caudal/cmd/railsim/cards"
	"github.com/caudalpay/caudal/cmd/railsim/cielo"
	"github.com/caudalpay/caudal/cmd/railsim/faults"
	"github.com/caudalpay/caudal/cmd/railsim/hooks"
	"github.com/caudalpay/caudal/cmd/railsim/journal"
	"github.com/caudalpay/caudal/cmd/railsim/pagarme"
	"github.com/caudalpay/caudal/cmd/railsim/rede"
	"github.com/caudalpay/caudal/cmd/railsim/wire"
)

// Server is a simulator that has its memory back and waits to be served.
type Server struct {
	cfg     Config
	books   *books.Books
	journal *journal.Log
	hooks   *hooks.Sender
	bank    *bank.Server
	handler http.Handler

	contestants map[string]contestant // by connector
}

// Summary is what GET /books/summary answers.
type Summary struct {
	books.Summary

	Webhooks hooks.Stats `json:"webhooks"`
}

// New restores a simulator from its folder.
func New(cfg Config) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	spec, err := faults.Load(cfg.Faults)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says which flag
	}
	credentials, key, err := cfg.credentials()
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, books: books.New()}
	plan := faults.NewPlan(spec, cfg.Seed, s.fallen)
	vault := func(c cards.Config) *cards.Vault {
		c.Seed, c.Now, c.Day = cfg.Seed, cfg.Now, cfg.Day
		return cards.NewVault(c)
	}
	cieloVault := vault(cards.Config{Connector: cielo.Name, ID: cielo.ID, ByAuthorization: true})
	redeVault := vault(cards.Config{Connector: rede.Name, ID: rede.ID, Unique: true})
	pagarmeVault := vault(cards.Config{Connector: pagarme.Name, ID: pagarme.ID})
	c := cielo.New(credentials.Cielo, cieloVault, plan)
	r := rede.New(credentials.Rede, redeVault, plan)
	p := pagarme.New(credentials.Pagarme, pagarmeVault, plan)
	s.bank = bank.New(bank.Config{Credentials: credentials.Bank, Seed: cfg.Seed, Delay: cfg.BankDelay, Now: cfg.Now}, plan)
	s.hooks, err = hooks.New(hooks.Config{
		URL: cfg.Webhooks, Plan: plan, Now: cfg.Now, Backoff: cfg.HookRetry, Workers: cfg.HookWorkers, Data: cfg.Data, Log: cfg.Log,
		Sign: map[string]hooks.Signer{
			cielo.Name:   hooks.Fixed(credentials.Cielo.WebhookHeader, credentials.Cielo.WebhookValue),
			pagarme.Name: hooks.Basic(credentials.Pagarme.Webhook), rede.Name: hooks.Standard(key), bank.Name: hooks.Standard(key),
		},
		Shapes: map[string]hooks.Shape{cielo.Name: c.Webhook, rede.Name: r.Webhook, pagarme.Name: p.Webhook, bank.Name: s.bank.Webhook},
	})
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what it was doing
	}
	seen := func(e journal.Entry, replayed bool) {
		if replayed && e.Call > 0 {
			plan.Seen(faults.Site{Connector: e.Connector, Reference: e.Reference, Operation: e.Operation, Call: e.Call})
		}
	}
	s.journal, err = journal.Open(cfg.Data, cfg.Now, s.books.Count, seen, cieloVault.Restore, redeVault.Restore, pagarmeVault.Restore, s.bank.Restore, s.hooks.Offer)
	if err != nil {
		return nil, err //nolint:wrapcheck // as above
	}
	for _, v := range []*cards.Vault{cieloVault, redeVault, pagarmeVault} {
		v.Attach(s.journal)
	}
	s.bank.Attach(s.journal)
	s.hooks.Resume()
	s.contestants = map[string]contestant{cielo.Name: {cieloVault, c.Tells}, rede.Name: {redeVault, r.Tells}, pagarme.Name: {pagarmeVault, p.Tells}}
	s.handler = s.routes(map[string]http.Handler{cielo.Name: c.Handler(), rede.Name: r.Handler(), pagarme.Name: p.Handler(), bank.Name: s.bank.Handler()})
	return s, nil
}

// fallen keeps a fault. Latency and webhooks are counted only: the one is on nearly every call where it is asked for, and the
// others fall while the journal is held.
func (s *Server) fallen(at faults.Site, kind faults.Kind) {
	if kind == faults.Latency || at.Operation == "hook" {
		s.books.Fault(at.Connector, at.Reference, string(kind))
		return
	}
	err := s.journal.Append(journal.Entry{
		Kind: journal.Fault, Connector: at.Connector, Reference: at.Reference, Operation: at.Operation, Call: at.Call, Name: string(kind),
	})
	if err != nil {
		s.cfg.Log.Error("keeping a fault", "error", err)
	}
}

func (s *Server) routes(rails map[string]http.Handler) http.Handler {
	mux := http.NewServeMux()
	for name, h := range rails {
		mux.Handle("/"+name+"/", http.StripPrefix("/"+name, h))
	}
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		faults.Write(w, faults.Answer{Status: http.StatusOK, Body: []byte(`{"status":"ok"}`)})
	})
	mux.HandleFunc("GET /books", s.writeBooks)
	mux.HandleFunc("POST /disputes", s.dispute)
	mux.HandleFunc("GET /books/summary", func(w http.ResponseWriter, _ *http.Request) {
		faults.Write(w, faults.Answer{Status: http.StatusOK, Body: wire.Marshal(s.Summary())})
	})
	return mux
}

func (s *Server) writeBooks(w http.ResponseWriter, r *http.Request) {
	if id := r.URL.Query().Get("order_id"); id != "" {
		o, ok := s.books.Find(id)
		if !ok {
			faults.Write(w, faults.Answer{Status: http.StatusNotFound, Body: []byte(`{"error":"no such order"}`)})
			return
		}
		faults.Write(w, faults.Answer{Status: http.StatusOK, Body: wire.Marshal(o)})
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	if err := s.books.Write(w); err != nil {
		s.cfg.Log.Debug("streaming the books", "error", err) // the reader has left
	}
}

// Summary is the books in short.
func (s *Server) Summary() Summary {
	return Summary{Summary: s.books.Summary(), Webhooks: s.hooks.Stats()}
}

// Handler is all of it, without webhooks and the bank's later statuses, which Run brings.
func (s *Server) Handler() http.Handler { return s.handler }

// Run serves on l until ctx ends.
func (s *Server) Run(ctx context.Context, l net.Listener) error {
	server := &http.Server{Handler: s.handler, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serving: %w", err)
		}
		return nil
	})
	g.Go(func() error { return s.hooks.Run(ctx) })
	g.Go(func() error { return s.bank.Run(ctx) })
	g.Go(func() error {
		<-ctx.Done()
		// ctx has ended, so that held time-outs end too; what is being answered has a moment.
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if err := server.Shutdown(last); err != nil {
			return errors.Join(fmt.Errorf("stopping: %w", err), server.Close())
		}
		return nil
	})
	return errors.Join(g.Wait(), s.journal.Close())
}
