package engine

import (
	"compress/gzip"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/ClickHouse/ch-go/compress"
	"github.com/klauspost/compress/zstd"
)

// output writes a response, compressed as the client asked, and puts errors where clients look for them.
type output struct {
	w    http.ResponseWriter
	r    *http.Request
	tag  string // announces where an exception follows a response that has begun
	sent bool   // the status line is out

	encoder io.WriteCloser   // HTTP Content-Encoding
	frames  *compress.Writer // or ClickHouse's own block frames
}

func newOutput(w http.ResponseWriter, r *http.Request) *output {
	o := &output{w: w, r: r, tag: strings.ToLower(rand.Text()[:16])}
	w.Header().Set("X-ClickHouse-Exception-Tag", o.tag)
	return o
}

func (o *output) setFormat(format string) {
	contentType := "text/plain; charset=UTF-8"
	switch {
	case strings.HasPrefix(format, "CSVWithNames"):
		contentType = "text/csv; charset=UTF-8; header=present"
	case strings.HasPrefix(format, "CSV"):
		contentType = "text/csv; charset=UTF-8; header=absent"
	case strings.HasPrefix(format, "TabSeparated"), strings.HasPrefix(format, "TSV"):
		contentType = "text/tab-separated-values; charset=UTF-8"
	case strings.HasPrefix(format, "JSON"):
		contentType = "application/json; charset=UTF-8"
	case format == "Parquet", format == "Native", format == "RowBinary", format == "Arrow":
		contentType = "application/octet-stream"
	}
	o.w.Header().Set("X-ClickHouse-Format", format)
	o.w.Header().Set("Content-Type", contentType)
}

func (o *output) summary(st stats) {
	if !o.sent {
		o.w.Header().Set("X-ClickHouse-Summary", fmt.Sprintf(`{"read_rows":"%d","written_rows":"%d"}`, st.rowsRead, st.rowsWritten))
	}
}

func (o *output) Write(b []byte) (int, error) {
	if err := o.r.Context().Err(); err != nil {
		return 0, err
	}
	if !o.sent {
		o.sent = true
		if err := o.chooseEncoding(); err != nil {
			return 0, err
		}
	}
	switch {
	case o.frames != nil:
		return len(b), o.writeFrames(b)
	case o.encoder != nil:
		return o.encoder.Write(b)
	}
	return o.w.Write(b)
}

// chooseEncoding compresses only for clients that ask for it as ClickHouse wants to be asked.
func (o *output) chooseEncoding() (err error) {
	query, accept := o.r.URL.Query(), o.r.Header.Get("Accept-Encoding")
	if query.Get("compress") == "1" {
		method := compress.LZ4
		if strings.EqualFold(query.Get("network_compression_method"), "ZSTD") {
			method = compress.ZSTD
		}
		o.frames = compress.NewWriter(compress.LevelZero, method)
		return nil
	}
	if query.Get("client_protocol_version") == "" && query.Get("enable_http_compression") != "1" {
		return nil
	}
	switch {
	case strings.Contains(accept, "zstd"):
		o.w.Header().Set("Content-Encoding", "zstd")
		o.encoder, err = zstd.NewWriter(o.w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	case strings.Contains(accept, "gzip"):
		o.w.Header().Set("Content-Encoding", "gzip")
		o.encoder, err = gzip.NewWriterLevel(o.w, gzip.BestSpeed)
	}
	return err
}

func (o *output) writeFrames(b []byte) error {
	for len(b) > 0 {
		n := min(len(b), 1<<20)
		if err := o.frames.Compress(b[:n]); err != nil {
			return fmt.Errorf("compressing a block: %w", err)
		}
		if _, err := o.w.Write(o.frames.Data); err != nil { //nolint:gosec // database blocks, typed as such
			return err
		}
		b = b[n:]
	}
	return nil
}

func (o *output) close() error {
	if o.encoder != nil {
		return o.encoder.Close()
	}
	return nil
}

// fail reports an exception: as a status while that is possible, else as the block ClickHouse appends to
// a response that has begun. Errors of writing are dropped, since the client has left.
func (o *output) fail(e *Exception) {
	if !o.sent {
		head := o.w.Header()
		head.Set("X-ClickHouse-Exception-Code", strconv.Itoa(e.Code))
		head.Set("Content-Type", "text/plain; charset=UTF-8")
		o.w.WriteHeader(e.status())
		_, _ = io.WriteString(o.w, e.Text+"\n") //nolint:gosec // plain text, never HTML
		return
	}
	block := fmt.Sprintf("\r\n__exception__\r\n%s\r\n%s\n%d %s\r\n__exception__\r\n", o.tag, e.Text, len(e.Text), o.tag)
	if o.encoder != nil { // inside an HTTP encoding, but outside ClickHouse's frames
		_, _ = io.WriteString(o.encoder, block)
		_ = o.encoder.Close()
		return
	}
	_, _ = io.WriteString(o.w, block) //nolint:gosec // plain text, never HTML
}
