package engine

import "io"

// insertBody runs an INSERT whose statement is in the query string and whose data is the body. Data goes
// through the engine's streaming insert: inside a statement, binary data breaks.
func (s *session) insertBody(out *output, req *request) error {
	var format, head string
	if m := formatClause.FindStringSubmatchIndex(req.statement); m != nil {
		format, head = req.statement[m[2]:m[3]], req.statement[:m[0]]
	} else if valuesClause.MatchString(req.statement) {
		format, head = "Values", valuesClause.ReplaceAllString(req.statement, "")
	} else { // INSERT ... SELECT, or the data is in the statement
		if err := req.join(); err != nil {
			return err
		}
		st, err := s.run(req.statement, "TabSeparated", nil, nil)
		out.summary(st)
		return err
	}
	ins, err := s.insert(head, format)
	if err != nil {
		return err
	}
	if err := copyInto(ins, req.body); err != nil {
		ins.abort()
		s.stale = true // the engine holds on to the table until the connection closes
		return err
	}
	st, err := ins.finish()
	out.summary(st)
	return err
}

// copyInto feeds the engine; a body that ends early or is damaged commits nothing of its last block.
func copyInto(ins *insertion, body io.Reader) error {
	chunk := make([]byte, 1<<20)
	for {
		n, err := fill(body, chunk)
		if _, failed := ins.Write(chunk[:n]); failed != nil {
			return failed
		}
		if err == io.EOF { //nolint:errorlint // only the bare one is the true end; a cut body wraps it or is unexpected
			return nil
		}
		if err != nil {
			return exceptionf(codeCannotReadData, "cannot read the request body: %v (CANNOT_READ_ALL_DATA)", err)
		}
	}
}

// fill is io.ReadFull, except that it does not turn the end of the body into the error that also means
// that the client left in the middle of it.
func fill(r io.Reader, b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var m int
		m, err = r.Read(b[n:])
		n += m
	}
	return n, err
}
