package engine

import (
	"encoding/binary"
	"strings"
)

// handshake is what clickhouse-go asks on every new HTTP connection.
const handshake = "SELECT displayName(), version(), revision(), timezone()"

// handshakeBlock answers in the layout of the revision the client offers, but announces revision 0: from
// then on client and engine exchange plain Native blocks, which need not be re-encoded here.
func (h *handler) handshakeBlock(revision int) []byte {
	const customSerialization = 54454                 // revision from which a column says how it is serialised
	b := []byte{1, 0, 2, 255, 255, 255, 255, 0, 4, 1} // block info; 4 columns, 1 row
	column := func(name, typ string, value []byte) {
		b = appendString(appendString(b, name), typ)
		if revision >= customSerialization {
			b = append(b, 0)
		}
		b = append(b, value...)
	}
	column("displayName()", "String", appendString(nil, "caudal"))
	column("version()", "String", appendString(nil, h.version))
	column("revision()", "UInt32", []byte{0, 0, 0, 0})
	column("timezone()", "String", appendString(nil, h.timezone))
	return b
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// writeHeader sends what a server sends for a SELECT without rows in Native format, where the engine
// sends nothing: a block of column names and types with no rows.
func (s *session) writeHeader(out *output, statement string, params []param) error {
	statement = strings.TrimRight(formatClause.ReplaceAllString(statement, ""), "; \t\r\n")
	var columns uint64
	var head []byte
	_, err := s.run("DESCRIBE ("+statement+"\n)", "RowBinary", params, func(rows []byte) error {
		for ; len(rows) > 0; columns++ {
			for field := range 7 { // name, type, default_type, default_expression, comment, codec, ttl
				n, width := binary.Uvarint(rows)
				end := width + int(n) //nolint:gosec // a length within rows
				if field < 2 {        // a RowBinary string is laid out as in a Native header
					head = append(head, rows[:end]...)
				}
				rows = rows[end:]
			}
		}
		return nil
	})
	if err != nil || columns == 0 {
		return nil // a statement that cannot be described stays with the empty body it has
	}
	_, err = out.Write(append(append(binary.AppendUvarint(nil, columns), 0), head...))
	return err
}
