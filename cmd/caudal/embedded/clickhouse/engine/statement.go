package engine

import (
	"regexp"
	"strings"
)

var (
	formatClause = regexp.MustCompile(`(?is)\s+FORMAT\s+([A-Za-z0-9_]+)\s*;?\s*$`)
	valuesClause = regexp.MustCompile(`(?is)\bVALUES\s*;?\s*$`)
)

// keyword is the first word of a statement in upper case, behind comments and brackets.
func keyword(statement string) string {
	s := statement
	for {
		s = strings.TrimLeft(s, " \t\r\n(;")
		switch {
		case strings.HasPrefix(s, "--"), strings.HasPrefix(s, "#!"):
			_, s, _ = strings.Cut(s, "\n")
		case strings.HasPrefix(s, "/*"):
			_, s, _ = strings.Cut(s, "*/")
		default:
			end := strings.IndexFunc(s, func(r rune) bool { return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') })
			if end >= 0 {
				s = s[:end]
			}
			return strings.ToUpper(s)
		}
	}
}

// reads tells whether statements with this keyword change nothing.
func reads(keyword string) bool {
	switch keyword {
	case "SELECT", "WITH", "SHOW", "DESCRIBE", "DESC", "EXISTS", "EXPLAIN", "CHECK":
		return true
	}
	return false
}

// leavesTraces tells whether a statement may change the session it runs in.
func leavesTraces(keyword, statement string) bool {
	return keyword == "SET" || keyword == "USE" || strings.Contains(strings.ToUpper(statement[:min(len(statement), 200)]), "TEMPORARY")
}

// joinable formats may be streamed; others repeat a header or footer in each chunk.
func joinable(format string) bool {
	switch format {
	case "Native", "RowBinary", "TabSeparated", "TSV", "TabSeparatedRaw", "TSVRaw", "CSV",
		"JSONEachRow", "JSONLines", "NDJSON", "JSONCompactEachRow", "LineAsString":
		return true
	}
	return false
}

// isInterfaceOption: names in the query string that belong to the HTTP interface and are no settings.
func isInterfaceOption(name string) bool {
	switch name {
	case "query", "database", "default_format", "client_protocol_version", "compress", "decompress",
		"user", "password", "query_id", "quota_key", "role", "stacktrace", "buffer_size", "wait_end_of_query",
		"enable_http_compression", "http_zlib_compression_level", "network_compression_method",
		"network_zstd_compression_level", "add_http_cors_header", "send_progress_in_http_headers",
		"http_headers_progress_interval_ms", "log_comment", "session_timeout", "session_check", "close_session":
		return true
	}
	return false
}
