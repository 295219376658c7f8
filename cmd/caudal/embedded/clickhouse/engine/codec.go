package engine

import (
	"compress/gzip"
	"errors"
	"io"
	"net/http"

	"github.com/ClickHouse/ch-go/compress"
	"github.com/klauspost/compress/zstd"
)

// decodeBody undoes the compression of a request: the HTTP one, then ClickHouse's own block frames.
func decodeBody(r *http.Request) (io.Reader, error) {
	var body io.Reader = http.MaxBytesReader(nil, r.Body, insertBytesMax)
	switch encoding := r.Header.Get("Content-Encoding"); encoding {
	case "", "identity":
	case "gzip":
		z, err := gzip.NewReader(body)
		if err != nil {
			return nil, exceptionf(codeInflateFailed, "gzip: %v (ZLIB_INFLATE_FAILED)", err)
		}
		body = z
	case "zstd":
		z, err := zstd.NewReader(body, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, exceptionf(codeInflateFailed, "zstd: %v (ZSTD_DECODER_FAILED)", err)
		}
		body = z
	default:
		return nil, exceptionf(codeNotImplemented, "Content-Encoding %q is not supported by the embedded server (NOT_IMPLEMENTED)", encoding)
	}
	if r.URL.Query().Get("decompress") == "1" {
		body = frames{compress.NewReader(body)}
	}
	return body, nil
}

// frames reads ClickHouse's LZ4 or ZSTD blocks; the reader wraps the end that falls between two blocks.
type frames struct{ blocks *compress.Reader }

func (f frames) Read(b []byte) (int, error) {
	n, err := f.blocks.Read(b)
	if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return n, err
}
