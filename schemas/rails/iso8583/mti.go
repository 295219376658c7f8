package iso8583

import "slices"

// MTI is the message type indicator, four digits: version (0 is 1987), class, function, origin.
type MTI string

// The types of the feed.
const (
	AuthorizationRequest        MTI = "0100"
	AuthorizationResponse       MTI = "0110"
	AuthorizationAdvice         MTI = "0120"
	AuthorizationAdviceRepeat   MTI = "0121"
	AuthorizationAdviceResponse MTI = "0130"
	FinancialRequest            MTI = "0200"
	FinancialResponse           MTI = "0210"
	FinancialAdvice             MTI = "0220" // the second message: collects what an 0100 authorised, or gives money back
	FinancialAdviceRepeat       MTI = "0221"
	FinancialAdviceResponse     MTI = "0230"
	ReversalRequest             MTI = "0400"
	ReversalRequestRepeat       MTI = "0401"
	ReversalResponse            MTI = "0410"
	ReversalAdvice              MTI = "0420" // is accepted whatever it finds: the acquirer has reversed already
	ReversalAdviceRepeat        MTI = "0421"
	ReversalAdviceResponse      MTI = "0430"
	NetworkRequest              MTI = "0800"
	NetworkResponse             MTI = "0810"
)

// Class is the second digit: what kind of message it is.
type Class byte

// The classes.
const (
	ClassAuthorization Class = '1'
	ClassFinancial     Class = '2'
	ClassReversal      Class = '4'
	ClassNetwork       Class = '8'
)

// Class is 0 where the type is not of the feed.
func (t MTI) Class() Class {
	if t.column() < 0 {
		return 0
	}
	return Class(t[1])
}

// types are the columns of the elements' uses: each request and the response to it.
func types() [14]MTI {
	return [14]MTI{
		AuthorizationRequest, AuthorizationResponse, AuthorizationAdvice, AuthorizationAdviceResponse, FinancialRequest, FinancialResponse,
		FinancialAdvice, FinancialAdviceResponse, ReversalRequest, ReversalResponse, ReversalAdvice, ReversalAdviceResponse, NetworkRequest, NetworkResponse,
	}
}

// Repeated is the type of what a repeat repeats, and any other type itself.
func (t MTI) Repeated() MTI {
	switch t {
	case AuthorizationAdviceRepeat:
		return AuthorizationAdvice
	case FinancialAdviceRepeat:
		return FinancialAdvice
	case ReversalRequestRepeat:
		return ReversalRequest
	case ReversalAdviceRepeat:
		return ReversalAdvice
	default:
		return t
	}
}

// column is -1 where the type is not of the feed.
func (t MTI) column() int {
	all := types()
	return slices.Index(all[:], t.Repeated())
}

// Response is the type that answers a request, an advice or a repeat; false of a response and of what is not of the feed.
func (t MTI) Response() (MTI, bool) {
	at := t.column()
	if at < 0 || at%2 == 1 {
		return "", false
	}
	return types()[at+1], true
}

// IsResponse says whether the type answers another.
func (t MTI) IsResponse() bool { return t.column()%2 == 1 }

// expectedType is what a FormatError says of field 0.
const expectedType = "one of 0100 0110 0120 0121 0130 0200 0210 0220 0221 0230 0400 0401 0410 0420 0421 0430 0800 0810"
