package http

import (
	"bytes"

	"github.com/valyala/fasthttp"
)

// framing says what is ambiguous about a request's HTTP, or nothing. fasthttp 1.73 takes Content-Length together with
// Transfer-Encoding, folded headers and HTTP/9.9; two parsers that disagree about such a request are how one caller's
// bytes become another caller's request.
func framing(h *fasthttp.RequestHeader) string {
	if p := h.Protocol(); string(p) != "HTTP/1.1" && string(p) != "HTTP/1.0" {
		return "HTTP/1.1 or HTTP/1.0 is expected"
	}
	lengths, codings, hosts := 0, 0, 0
	empty := true
	raw := h.RawHeaders()
	for len(raw) > 0 {
		end := bytes.IndexByte(raw, '\n')
		if end < 0 {
			end = len(raw) - 1
		}
		line := raw[:end+1]
		raw = raw[end+1:]
		if len(line) < 2 || line[len(line)-2] != '\r' {
			return "a line does not end in CR LF"
		}
		line = line[:len(line)-2]
		if len(line) == 0 {
			break
		}
		if line[0] == ' ' || line[0] == '\t' {
			return "a header is folded over lines"
		}
		colon := bytes.IndexByte(line, ':')
		if colon <= 0 || line[colon-1] == ' ' || line[colon-1] == '\t' {
			return "a header has no name, or white space before its colon"
		}
		switch name := line[:colon]; {
		case len(name) == len("content-length") && equalFold(name, "content-length"):
			lengths++
			empty = string(bytes.TrimSpace(line[colon+1:])) == "0"
		case len(name) == len("transfer-encoding") && equalFold(name, "transfer-encoding"):
			codings++
			if !bytes.EqualFold(bytes.TrimSpace(line[colon+1:]), []byte("chunked")) {
				return "the only transfer coding is chunked"
			}
		case len(name) == len("host") && equalFold(name, "host"):
			hosts++
		}
	}
	switch {
	case lengths > 1 || codings > 1 || lengths+codings > 1:
		return "Content-Length and Transfer-Encoding stand at most once, and not together"
	case (h.IsGet() || h.IsHead()) && (codings > 0 || !empty):
		return "a read has no body" // fasthttp leaves it on the connection, where it would be the next request
	case hosts > 1:
		return "Host stands twice"
	case string(h.Protocol()) == "HTTP/1.0" && codings > 0:
		return "HTTP/1.0 has no transfer codings"
	default:
		return ""
	}
}
