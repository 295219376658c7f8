package engine

import (
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// The users of the interface. The owner needs the password. The analyst needs none, may only read, and is
// believed only from this machine. ClickHouse's customary "default", which clients send on their own, is
// the owner with the password and an analyst without, like a caller that names nobody: so a plain curl works.
const (
	OwnerUser   = "caudal"
	AnalystUser = "analyst"
)

func authenticate(r *http.Request, password string) (role, error) {
	user, key, ok := r.BasicAuth()
	if !ok {
		user, key = r.Header.Get("X-ClickHouse-User"), r.Header.Get("X-ClickHouse-Key")
	}
	if user == "" {
		q := r.URL.Query()
		user, key = q.Get("user"), q.Get("password")
	}
	switch {
	case (user == OwnerUser || user == "default") && password != "" && subtle.ConstantTimeCompare([]byte(key), []byte(password)) == 1:
		return owner, nil
	case (user == AnalystUser || user == "" || user == "default") && key == "" && local(r):
		return analyst, nil
	}
	if user == "" {
		user = "default"
	}
	return analyst, exceptionf(codeAuthentication, "%s: Authentication failed: password is incorrect, or there is no user with such name. (AUTHENTICATION_FAILED)", user)
}

// local tells whether a request without a password comes from a person on this machine: from its address,
// to one of its names (a foreign name that resolves to loopback is a web page's trick), and not from
// a page of another site.
func local(r *http.Request) bool {
	if r.Header.Get("Sec-Fetch-Site") == "cross-site" {
		return false
	}
	if r.RemoteAddr == "" || r.RemoteAddr == "@" { // unix socket: the file's mode has decided
		return true
	}
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && from.Addr().IsLoopback() && loopbackName(r.Host)
}

func loopbackName(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && addr.IsLoopback()
}
