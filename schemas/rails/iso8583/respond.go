package iso8583

// Respond is the response to a request, an advice or a repeat: its type, the code, and every field that the table has as an
// echo and the request brought; no other, so no PAN beyond what was sent. An approval wants its AuthCode still. It is false
// where request is itself a response or of no known type.
func (c *Codec) Respond(request *Message, code ResponseCode) (Message, bool) {
	mti, ok := request.MTI.Response()
	if !ok {
		return Message{}, false
	}
	response := Message{MTI: mti, ResponseCode: code}
	column := mti.column()
	for i := range c.elements {
		e := &c.elements[i]
		if use := e.use(column); use != 'E' && use != 'e' {
			continue
		}
		switch {
		case e.slot != nil:
			*e.slot(&response) = *e.slot(request)
		case e.id == 4:
			response.AmountMinor = request.AmountMinor
		case e.id == 49:
			response.Currency = request.Currency
		case e.id == 90:
			response.OriginalData = request.OriginalData
		}
	}
	return response, true
}
