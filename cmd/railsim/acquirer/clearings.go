package acquirer

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/caudalpay/caudal/schemas/rails/iso8583"
)

// The lines of a clearing file, as docs/card-feed.md has them.
type (
	fileHeader struct {
		Format  string `json:"format"`
		Version int    `json:"version"`
		File    string `json:"file"`
	}
	fileItem struct {
		Number         string             `json:"number"`
		ProcessingCode string             `json:"processing_code"`
		Amount         int64              `json:"amount"`
		Currency       string             `json:"currency"`
		TransmittedAt  time.Time          `json:"transmitted_at"`
		STAN           iso8583.STAN       `json:"stan"`
		Acquirer       string             `json:"acquirer"`
		Terminal       string             `json:"terminal"`
		Merchant       string             `json:"merchant"`
		MCC            string             `json:"mcc"`
		RRN            iso8583.RRN        `json:"rrn"`
		Partial        bool               `json:"partial,omitempty"`
		Authorization  *fileAuthorization `json:"authorization,omitempty"`
	}
	fileAuthorization struct {
		MTI           iso8583.MTI  `json:"mti"`
		TransmittedAt time.Time    `json:"transmitted_at"`
		STAN          iso8583.STAN `json:"stan"`
		Acquirer      string       `json:"acquirer"`
	}
	fileSum struct {
		Debit  int64 `json:"debit"`
		Credit int64 `json:"credit"`
	}
	fileTrailer struct {
		Count int                `json:"count"`
		Sums  map[string]fileSum `json:"sums"`
	}
)

// filed keeps a clearing for the file, where there is one.
func (a *Acquirer) filed(clearing *exchange) bool {
	if a.cfg.ClearingFile == "" {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.items = append(a.items, clearing)
	return true
}

// Filed is how many clearings are kept for the file.
func (a *Acquirer) Filed() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.items)
}

// WriteClearings writes the clearings that were not sent into their file, readable by its owner alone, where one was asked for.
func (a *Acquirer) WriteClearings() error {
	if a.cfg.ClearingFile == "" {
		return nil
	}
	f, err := os.OpenFile(a.cfg.ClearingFile, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("writing clearings: %w", err)
	}
	w := bufio.NewWriter(f)
	err = a.writeClearings(w)
	if err == nil {
		err = w.Flush()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return fmt.Errorf("writing clearings: %w", err)
	}
	return nil
}

func (a *Acquirer) writeClearings(w io.Writer) error {
	lines := json.NewEncoder(w)
	err := lines.Encode(map[string]fileHeader{"header": {Format: "caudal.clearings", Version: 1, File: a.cfg.Run}})
	trailer := fileTrailer{Sums: map[string]fileSum{}}
	for _, ex := range a.items {
		if err != nil {
			return err //nolint:wrapcheck // the caller says what it was doing
		}
		var item fileItem
		if item, err = itemOf(&ex.message, time.Now()); err == nil {
			err = lines.Encode(item)
		}
		trailer.Count++
		sum := trailer.Sums[item.Currency]
		sum.Debit += item.Amount // credits are sent: accounts go on with them
		trailer.Sums[item.Currency] = sum
	}
	if err == nil {
		err = lines.Encode(map[string]fileTrailer{"trailer": trailer})
	}
	return err //nolint:wrapcheck // the caller says what it was doing
}

// itemOf is a second message as an item of a file.
func itemOf(m *iso8583.Message, now time.Time) (fileItem, error) {
	at, err := m.TransmissionTime.At(now)
	if err != nil {
		return fileItem{}, err //nolint:wrapcheck // the caller says what it was doing
	}
	item := fileItem{
		Number: string(m.PAN), ProcessingCode: m.ProcessingCode, Amount: m.AmountMinor, Currency: string(m.Currency), TransmittedAt: at,
		STAN: m.STAN, Acquirer: m.AcquirerID, Terminal: m.Terminal, Merchant: m.Merchant, MCC: m.MCC, RRN: m.RRN,
		Partial: m.ResponseCode == iso8583.ResponsePartiallyApproved,
	}
	if key, ok := m.OriginalKey(); ok {
		asked, err := key.TransmissionTime.At(at)
		if err != nil {
			return fileItem{}, err //nolint:wrapcheck // as above
		}
		item.Authorization = &fileAuthorization{MTI: m.OriginalData.MTI, TransmittedAt: asked, STAN: key.STAN, Acquirer: key.AcquirerID}
	}
	return item, nil
}

// Cleared takes into the model that the file was loaded, for Agree to know.
func (a *Acquirer) Cleared() {
	a.mu.Lock()
	items := a.items
	a.items = nil
	a.mu.Unlock()
	for _, ex := range items {
		ex.grant(ex, nil)
	}
}
