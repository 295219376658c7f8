// Package http is the front door: the JSON API on fasthttp. It authenticates, decodes strictly, refuses early what can
// never be granted, seals personal data, stamps the time, names the command and hands it to the log. It refuses to
// decide anything: the reducer checks owner, currency and idempotency again, and its word is the one that counts.
package http
