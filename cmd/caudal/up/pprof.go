package up

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/http/pprof"
	"net/url"
	"path/filepath"
	"strconv"
	"time"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/child"
)

// handleProfiles adds this process's profiles to a mux of its own: never to the API's.
func handleProfiles(mux *http.ServeMux) {
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
}

// profileServer shows the profiles of this process, of the workers and of the embedded broker under one address.
type profileServer struct {
	listener net.Listener
	server   *http.Server
}

func (in *running) profiles(ctx context.Context) (*profileServer, error) {
	l, err := child.Listen(ctx, in.options.Pprof)
	if err != nil {
		return nil, fmt.Errorf("listening for profiles: %w", err)
	}
	mux := http.NewServeMux()
	handleProfiles(mux)
	for i, p := range in.workers {
		path := "/worker"
		if i > 0 {
			path += "-" + strconv.Itoa(i)
		}
		mux.Handle(path+"/", http.StripPrefix(path, &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: p.Announced()})
		}}))
	}
	socket := brokerProfiles(in.options)
	mux.Handle("/broker/", http.StripPrefix("/broker", &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: "broker"}) },
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}},
	}))
	return &profileServer{listener: l, server: &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}}, nil
}

// brokerProfiles is the socket on which the embedded broker shows its profiles.
func brokerProfiles(o Options) string { return filepath.Join(o.Data, "broker", "profiles.sock") }

// Run serves until ctx ends.
func (s *profileServer) Run(ctx context.Context) error {
	ended := context.AfterFunc(ctx, func() { _ = s.server.Close() }) // a profile under way is not waited for
	defer ended()
	if err := s.server.Serve(s.listener); ctx.Err() == nil {
		return fmt.Errorf("serving profiles: %w", err)
	}
	return nil
}
