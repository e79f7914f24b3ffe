package image

import (
	"compress/gzip"
	"io"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// meterEvery is how often progress is told.
const meterEvery = 100 * time.Millisecond

// meter counts the compressed bytes of layers, of those that aren't compressed all.
type meter struct {
	text string
	tell func(Progress)

	mu          sync.Mutex // guards the fields below
	done, total int64
	shown       time.Time
}

func (m *meter) add(n int) {
	m.mu.Lock()
	m.done += int64(n)
	due := time.Since(m.shown) >= meterEvery
	m.mu.Unlock()
	if due {
		m.show()
	}
}

func (m *meter) show() {
	m.mu.Lock()
	m.shown = time.Now()
	p := Progress{Text: m.text, Done: min(m.done, m.total), Total: m.total}
	m.mu.Unlock()
	m.tell(p)
}

// metered is l, whose compressed bytes are counted as they are read.
func (m *meter) metered(l v1.Layer) v1.Layer { return meteredLayer{l, m} }

type meteredLayer struct {
	v1.Layer
	m *meter
}

// Uncompressed unpacks what Compressed gives, so that it is that which counts.
func (l meteredLayer) Uncompressed() (io.ReadCloser, error) {
	media, err := l.MediaType()
	if err != nil || media == types.OCILayerZStd || media == types.DockerUncompressedLayer || media == types.OCIUncompressedLayer {
		in, err := l.Layer.Uncompressed()
		if err != nil {
			return nil, err
		}
		return counted{reads{in, l.m}, in}, nil
	}
	in, err := l.Compressed()
	if err != nil {
		return nil, err
	}
	z, err := gzip.NewReader(reads{in, l.m})
	if err != nil {
		_ = in.Close()
		return l.Layer.Uncompressed() // compressed in another way than it says
	}
	return &unzipped{z, in}, nil
}

type reads struct {
	io.Reader
	m *meter
}

func (r reads) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.m.add(n)
	return n, err
}

// counted closes what it reads from.
type counted struct {
	reads
	io.Closer
}

type unzipped struct {
	*gzip.Reader
	in io.ReadCloser
}

func (u *unzipped) Close() error {
	_ = u.Reader.Close()
	return u.in.Close()
}
