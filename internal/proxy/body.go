package proxy

import (
	"bytes"
	"io"
	"strings"
)

const (
	maxChunkLine = 4 << 10  // bytes of a chunk's size line
	maxTrailers  = 16 << 10 // bytes of all trailers
)

// body reads what follows a head, by its framing.
type body struct {
	src      *source
	length   int64 // chunked, untilClose, or what is left
	chunk    int64 // left of the chunk
	began    bool  // a chunk has been read: its CRLF comes first
	ended    bool
	trailers []field
}

func (b *body) open(src *source, length int64) {
	*b = body{src: src, length: length, ended: length == 0, trailers: b.trailers[:0]}
}

// next gives further bytes, which stay good until the following call, and waits
// for them if there are none. At the end it gives io.EOF, and
// io.ErrUnexpectedEOF if the connection ended before.
func (b *body) next() ([]byte, error) {
	if b.ended {
		return nil, io.EOF
	}
	left := b.length
	if b.length == chunked {
		if b.chunk == 0 {
			if err := b.nextChunk(); err != nil {
				return nil, unexpected(err)
			}
			if b.ended {
				return nil, io.EOF
			}
		}
		left = b.chunk
	}
	s := b.src
	if s.r == s.w {
		if err := s.fill(); err != nil {
			if b.length == untilClose && err == io.EOF {
				b.ended = true
				return nil, io.EOF
			}
			return nil, unexpected(err)
		}
	}
	p := s.buf[s.r:s.w]
	if b.length != untilClose && int64(len(p)) > left {
		p = p[:left]
	}
	s.r += len(p)
	switch {
	case b.length == chunked:
		b.chunk -= int64(len(p))
	case b.length > 0:
		b.length -= int64(len(p))
		b.ended = b.length == 0
	}
	return p, nil
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// nextChunk reads a chunk's size line, and the trailers after the last chunk.
func (b *body) nextChunk() error {
	if b.began {
		line, err := b.line(2)
		if err != nil {
			return err
		}
		if line != "" {
			return errMalformed
		}
	}
	b.began = true
	line, err := b.line(maxChunkLine)
	if err != nil {
		return err
	}
	size, ok := parseChunkSize(line)
	if !ok {
		return errMalformed
	}
	if b.chunk = size; size > 0 {
		return nil
	}
	var text strings.Builder
	for {
		line, err := b.line(maxTrailers - text.Len())
		if err != nil {
			return err
		}
		text.WriteString(line + "\r\n")
		if line == "" {
			break
		}
	}
	b.trailers, err = parseFields(b.trailers, text.String(), true)
	b.ended = true
	return err
}

// line takes one line that ends with CR LF, without it, of at most limit bytes.
func (b *body) line(limit int) (string, error) {
	s := b.src
	for {
		data := s.buf[s.r:s.w]
		if i := bytes.IndexByte(data, '\n'); i >= 0 && i < limit {
			if i == 0 || data[i-1] != '\r' || bytes.IndexByte(data[:i-1], '\r') >= 0 {
				return "", errMalformed
			}
			s.r += i + 1
			return string(data[:i-1]), nil
		}
		if len(data) >= limit {
			return "", errMalformed
		}
		if err := s.fill(); err != nil {
			return "", err
		}
	}
}

// parseChunkSize reads hexadecimal digits; extensions are skipped.
func parseChunkSize(line string) (int64, bool) {
	digits, _, _ := strings.Cut(line, ";")
	digits = strings.TrimRight(digits, " \t")
	if digits == "" || len(digits) > 15 {
		return 0, false
	}
	var n int64
	for i := range len(digits) {
		c := digits[i]
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		n = n<<4 | int64(c)
	}
	return n, true
}

func (b *body) atEnd() bool { return b.ended }

func (b *body) trailing() []field { return b.trailers }
