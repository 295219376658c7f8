package http

import (
	"strconv"
	"strings"
	"time"
)

// preference is what a caller asked for with Prefer (RFC 7240).
type preference struct {
	wait    time.Duration // 0: answer after the acknowledgement
	applied string        // for Preference-Applied; empty where nothing was asked for or understood
}

// prefer reads the Prefer headers. wait=N wins over respond-async, as RFC 7240 section 4.3 has it; N is capped by most.
// What is malformed or unknown is ignored, as the RFC demands.
func prefer(headers [][]byte, usual, most time.Duration) preference {
	p := preference{wait: usual}
	waited := false
	for _, h := range headers {
		for part := range strings.SplitSeq(string(h), ",") {
			part, _, _ = strings.Cut(part, ";")
			name, value, has := strings.Cut(strings.TrimSpace(part), "=")
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "respond-async":
				if !waited && !has {
					p = preference{wait: 0, applied: "respond-async"}
				}
			case "wait":
				seconds, err := strconv.ParseUint(strings.Trim(strings.TrimSpace(value), `"`), 10, 31)
				if err != nil || waited {
					continue
				}
				wait := min(time.Duration(seconds)*time.Second, most)
				p = preference{wait: wait, applied: "wait=" + strconv.Itoa(int(wait/time.Second))}
				waited = true
			}
		}
	}
	return p
}
