package iso8583

// check says which field is missing or may not stand in a message of its type.
func (c *Codec) check(m *Message, present *bits) *FormatError {
	column := m.MTI.column()
	for i := range c.elements {
		e := &c.elements[i]
		has := present.has(e.id)
		expected := ""
		switch e.use(column) {
		case '-':
			if has {
				expected = "no such field in " + string(m.MTI)
			}
		case 'M', 'E':
			if !has && (!m.refusesFormat() || e.id == 11 || e.id == 39) { // what could not be read is not echoed
				expected = "the field to stand in " + string(m.MTI) + ": " + e.expected()
			}
		case 'C':
			expected = m.condition(e, present)
		}
		if expected != "" {
			return &FormatError{Field: e.id, Name: e.name, Expected: expected}
		}
	}
	return nil
}

// condition is what was expected of a field that depends on others, and empty where it is met.
func (m *Message) condition(e *element, present *bits) string {
	has, second := present.has(e.id), present[1]&^(1<<63) != 0 // 128 itself does not count
	switch {
	case e.id == 2 && !has && !present.has(35):
		return "the field to stand in " + string(m.MTI) + ", or track 2 in field 35"
	case e.id == 35 && has && present.has(2) && m.Track2.card() != m.PAN: // one would be judged and the other one paid for
		return "the card number of field 2 before the separator"
	case e.id == 38 && !has && m.ResponseCode.Approves():
		return "the field to stand in " + string(m.MTI) + " that approves: " + e.expected()
	case e.id == 64 && has && second:
		return "no MAC here: with a field above 64 it stands in 128"
	case e.id == 128 && has && !second:
		return "no MAC here: without another field above 64 it stands in 64"
	default:
		return ""
	}
}
