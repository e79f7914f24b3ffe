package image

import (
	"bufio"
	"bytes"
	"errors"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

var (
	gzipMagic = []byte{0x1f, 0x8b}
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}
)

// decompress reads in, whatever it is compressed with: what manifests say of
// that is often wrong. It closes in.
func decompress(in io.ReadCloser) (decompressed, error) {
	b := bufio.NewReaderSize(in, 64<<10)
	head, err := b.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return decompressed{}, errors.Join(err, in.Close())
	}
	switch {
	case bytes.HasPrefix(head, gzipMagic):
		z, err := gzip.NewReader(b)
		if err != nil {
			return decompressed{}, errors.Join(err, in.Close())
		}
		return decompressed{z, z.Close, in}, nil
	case bytes.HasPrefix(head, zstdMagic):
		z, err := zstd.NewReader(b, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(256<<20))
		if err != nil {
			return decompressed{}, errors.Join(err, in.Close())
		}
		return decompressed{z, func() error { z.Close(); return nil }, in}, nil
	}
	return decompressed{b, nil, in}, nil
}

type decompressed struct {
	io.Reader
	end func() error // nil if it isn't compressed
	in  io.Closer
}

func (d decompressed) plain() bool { return d.end == nil }

func (d decompressed) Close() error {
	if d.plain() {
		return d.in.Close()
	}
	return errors.Join(d.end(), d.in.Close())
}
