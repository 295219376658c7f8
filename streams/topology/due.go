package topology

import (
	"encoding/binary"
	"fmt"

	"github.com/caudalpay/caudal/processors/accounts"
	"github.com/caudalpay/caudal/processors/payment"
)

// The parts of a due entry's id, all of fixed length.
const (
	dueTimeLen    = 8
	dueAccountLen = 24
	duePaymentLen = 43
	dueLen        = dueTimeLen + dueAccountLen + duePaymentLen + 1
)

// dueID is the id of a due entry: due_at_us as 8 bytes big endian, account, payment id, purpose as 1 byte. So ids sort by
// time.
func dueID(d accounts.Due) string {
	b := make([]byte, 0, dueLen)
	b = binary.BigEndian.AppendUint64(b, uint64(d.AtUS)) //nolint:gosec // times are positive
	b = append(b, d.Account...)
	b = append(b, d.Payment...)
	return string(append(b, byte(d.Purpose)))
}

// dueAfter is the first id that is due later than atUS.
func dueAfter(atUS int64) string {
	return string(binary.BigEndian.AppendUint64(nil, uint64(atUS)+1)) //nolint:gosec // times are positive
}

func parseDueID(id string) (accounts.Due, error) {
	if len(id) != dueLen {
		return accounts.Due{}, fmt.Errorf("due entry of %d bytes", len(id))
	}
	account, err := payment.ParseAccountID(id[dueTimeLen : dueTimeLen+dueAccountLen])
	if err != nil {
		return accounts.Due{}, fmt.Errorf("parsing account of due entry %q: %w", id, err)
	}
	name, err := payment.ParseID(id[dueTimeLen+dueAccountLen : dueLen-1])
	if err != nil {
		return accounts.Due{}, fmt.Errorf("parsing payment of due entry %q: %w", id, err)
	}
	at := int64(binary.BigEndian.Uint64([]byte(id[:dueTimeLen]))) //nolint:gosec // dueID wrote a positive time
	return accounts.Due{AtUS: at, Account: account, Payment: name, Purpose: payment.ExpirePurpose(id[dueLen-1])}, nil
}
