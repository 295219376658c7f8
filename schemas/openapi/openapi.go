// Package openapi holds the contract of the HTTP API as an OpenAPI 3.1 document. It is written by hand; a test of
// ingest/http holds every route and every field against it.
package openapi

import _ "embed"

//go:embed openapi.json
var document string

// Document is the OpenAPI 3.1 document.
func Document() string { return document }
