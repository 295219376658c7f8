package engine

import (
	"errors"
	"net/http"
)

// Codes of ClickHouse that this interface itself raises.
const (
	codeCannotReadData = 33
	codeNotImplemented = 48
	codeUnknownSetting = 115
	codeReadonly       = 164
	codeTooLarge       = 307 // TOO_MANY_BYTES
	codeBadArguments   = 36
	codeInflateFailed  = 354
	codeAuthentication = 516
	codeUnknown        = 1002
)

// asException gives every error the shape clients know.
func asException(err error) *Exception {
	if e, ok := errors.AsType[*Exception](err); ok {
		return e
	}
	return exceptionf(codeUnknown, "%v (UNKNOWN_EXCEPTION)", err)
}

// status is the HTTP status ClickHouse's own server sends with an exception.
func (e *Exception) status() int {
	switch e.Code {
	case 6, 25, 26, 27, codeCannotReadData, codeBadArguments, 38, 41, 43, 53, 62, 69, 72, 117, 131, 190, codeInflateFailed, 386, 441, 457:
		return http.StatusBadRequest
	case codeAuthentication:
		return http.StatusForbidden
	case 46, 47, 50, 56, 60, 73, 81, codeUnknownSetting, 336:
		return http.StatusNotFound
	case 42, codeTooLarge:
		return http.StatusRequestEntityTooLarge
	case codeNotImplemented:
		return http.StatusNotImplemented
	case 159, 209:
		return http.StatusRequestTimeout
	}
	return http.StatusInternalServerError
}
