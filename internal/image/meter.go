package image

import (
	"context"
	"io"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// meterEvery is how often progress is told, or each hundredth.
const meterEvery = 100 * time.Millisecond

// meter counts the compressed bytes of layers, of those that aren't compressed all.
type meter struct {
	text string
	tell func(Progress)

	mu          sync.Mutex // guards the fields below
	done, total int64
	shown       time.Time
	said        int64 // done when it was shown
}

func (m *meter) add(n int) {
	m.mu.Lock()
	m.done += int64(n)
	due := time.Since(m.shown) >= meterEvery || m.done-m.said >= max(m.total/100, 1)
	m.mu.Unlock()
	if due {
		m.show()
	}
}

func (m *meter) show() {
	m.mu.Lock()
	m.shown, m.said = time.Now(), m.done
	p := Progress{Text: m.text, Done: min(m.done, m.total), Total: m.total}
	m.mu.Unlock()
	m.tell(p)
}

// metered is l, whose compressed bytes are counted as they are read; those of a
// registry's layer were when they came.
func (m *meter) metered(ctx context.Context, l v1.Layer) v1.Layer {
	if r, ok := l.(*registryLayer); ok {
		return arrivedLayer{r, ctx}
	}
	return meteredLayer{l, m}
}

// arrivedLayer is one of a registry that is here, or comes again if it was removed
// meanwhile.
type arrivedLayer struct {
	*registryLayer
	ctx context.Context //nolint:containedctx // of one reading, which Uncompressed has none for
}

func (l arrivedLayer) Uncompressed() (io.ReadCloser, error) {
	f, err := l.fetch(l.ctx, func(int) {})
	if err != nil {
		return nil, err
	}
	return decompress(f)
}

type meteredLayer struct {
	v1.Layer
	m *meter
}

// Uncompressed unpacks what Compressed gives, so that it is that which counts.
func (l meteredLayer) Uncompressed() (io.ReadCloser, error) {
	open := l.Compressed
	if _, ok := l.Layer.(archivedLayer); ok {
		open = l.Layer.Uncompressed
	}
	in, err := open()
	if err != nil {
		return nil, err
	}
	return decompress(counted{reads{in, l.m}, in})
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
