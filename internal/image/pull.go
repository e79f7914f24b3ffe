package image

import (
	"context"
	"fmt"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"plane"
)

// Request asks for an image.
type Request struct {
	Ref         Ref
	Policy      string // plane.PullIfNotPresent (also ""), PullAlways, PullNever
	Credentials *plane.Credentials
}

// Progress is how far a pull has come.
type Progress struct {
	Text        string // "pulling", "unpacking", "importing"
	Done, Total int64  // bytes; Total 0 = not known yet
}

// Pull gives the image, fetching it if the policy says so. However many ask for
// one image at once, it is fetched once; it is given up when the last of them
// is gone. tell hears of progress, possibly after others' pulls began, one call
// at a time and none after Pull has returned. Errors are sentences.
func (s *Store) Pull(ctx context.Context, r Request, tell func(Progress)) (*Image, error) {
	key := flightKey{ref: r.Ref, policy: r.Policy}
	if r.Credentials != nil {
		key.credentials = *r.Credentials
	}
	return s.flights.Do(ctx, key, tell, func(ctx context.Context, tell func(Progress)) (*Image, error) { return s.pull(ctx, r, tell) })
}

type flightKey struct {
	ref         Ref
	policy      string
	credentials plane.Credentials
}

// pull decides where an image comes from.
func (s *Store) pull(ctx context.Context, r Request, tell func(Progress)) (*Image, error) {
	if r.Policy != plane.PullAlways {
		img, err := s.fromEngine(ctx, r.Ref, tell)
		if err != nil || img != nil {
			return img, err
		}
		if img, ok, err := s.use(ctx, r.Ref); ok || err != nil {
			return img, err
		}
		if r.Policy == plane.PullNever {
			return nil, fmt.Errorf("image %s isn't here, and pull_policy is Never; pull it with plane image pull %s, or set IfNotPresent", r.Ref.Short(), r.Ref.Short())
		}
	}
	remote, done, err := s.fetch(ctx, r)
	if err != nil {
		return nil, err
	}
	defer done()
	w, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer w.end()
	img, err := w.take(ctx, remote, "pulling", tell)
	if err != nil {
		if ctx.Err() == nil {
			err = explainFetch(r, err)
		}
		return nil, err
	}
	return img, s.nameNew(ctx, r.Ref, img)
}

// parts are an image's layers, lowest first, with their digests.
type parts struct {
	layers []v1.Layer
	diffs  []v1.Hash // of what they are uncompressed
	chains []v1.Hash // of that and all below
}

func partsOf(img v1.Image, config *v1.ConfigFile) (parts, error) {
	layers, err := img.Layers()
	if err != nil {
		return parts{}, err
	}
	p := parts{layers: layers, diffs: config.RootFS.DiffIDs}
	if len(layers) != len(p.diffs) {
		return p, fmt.Errorf("image has %d layers and names %d; its manifest is damaged, or it is no image of a container", len(layers), len(p.diffs))
	}
	var chain v1.Hash
	for _, diff := range p.diffs {
		if diff.Algorithm != "sha256" {
			return p, fmt.Errorf("a layer has a digest by %s, not sha256; build the image anew", diff.Algorithm)
		}
		chain = chained(chain, diff)
		p.chains = append(p.chains, chain)
	}
	return p, nil
}

// take unpacks what of img isn't here and records it.
func (w *work) take(ctx context.Context, img v1.Image, text string, tell func(Progress)) (*Image, error) {
	digest, err := img.Digest()
	if err != nil {
		return nil, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	if err := suits(config); err != nil {
		return nil, err
	}
	id, err := img.ConfigName()
	if err != nil {
		return nil, err
	}
	p, err := partsOf(img, config)
	if err != nil {
		return nil, err
	}
	what := wanted{Images: []string{digest.Hex}}
	for i := range p.layers {
		keys := layerKeys(p.diffs[i], p.chains[i])
		what.Layers = append(what.Layers, keys[:]...)
	}
	if err := w.want(ctx, what); err != nil {
		return nil, err
	}
	r := record{Digest: digest.String(), ID: id.String(), Config: config.Config}
	if err := w.lay(ctx, img, p, &r, &meter{text: text, tell: tell}); err != nil {
		if noSpace(err) {
			for _, l := range p.layers {
				if l, ok := l.(*registryLayer); ok {
					l.drop()
				}
			}
			w.end()
			w.s.tidy(ctx)
		}
		return nil, err
	}
	unlock, err := w.s.share(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	return w.s.image(r), w.s.write(filepath.Join("images", digest.Hex), r)
}

// lay brings the layers of img here and notes them in r.
func (w *work) lay(ctx context.Context, img v1.Image, p parts, r *record, m *meter) error {
	missing := make([]bool, len(p.layers))
	for i, l := range p.layers {
		if _, _, here := w.s.there(p.diffs[i], p.chains[i]); here {
			continue
		}
		missing[i] = true
		if n, err := l.Size(); err == nil {
			m.total += n
		}
	}
	if w.s.quota > 0 { // unpacked they take more, as a rule
		if _, err := w.s.room(ctx, m.total); err != nil {
			return err
		}
	}
	if a, ok := img.(archived); ok {
		m.total = a.size
	}
	m.show()
	coming, stop := fetchAhead(ctx, p.layers, missing, m)
	defer stop()
	var below []string // directories, the topmost first
	for i, l := range p.layers {
		if err := coming(i); noSpace(err) {
			return explainUnpack(err)
		} else if err != nil {
			return err
		}
		key, info, err := w.unpack(ctx, m.metered(ctx, l), p.diffs[i], p.chains[i], below)
		if err != nil {
			return err
		}
		if l, ok := l.(*registryLayer); ok {
			l.drop()
		}
		if info.Opaque { // overlay mounts don't look whether a layer as a whole is
			below, r.Layers, r.Size = nil, nil, 0
		}
		below = append([]string{w.s.layerDir(key)}, below...)
		r.Layers = append(r.Layers, key)
		r.Size += info.Size
	}
	return nil
}

// fetchesAtOnce is how many layers of an image come at once.
const fetchesAtOnce = 3

// fetchAhead brings the missing layers of an image from its registry while
// others are unpacked. coming waits for one of them; stop for all to end.
func fetchAhead(ctx context.Context, layers []v1.Layer, missing []bool, m *meter) (coming func(i int) error, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var g errgroup.Group
	g.SetLimit(fetchesAtOnce)
	results := make([]chan error, len(layers))
	var begin []func()
	for i, l := range layers {
		r, ok := l.(*registryLayer)
		if !ok || !missing[i] {
			continue
		}
		result := make(chan error, 1)
		results[i] = result
		begin = append(begin, func() {
			f, err := r.fetch(ctx, m.add)
			if err == nil {
				_ = f.Close()
			}
			result <- err
		})
	}
	started := make(chan struct{})
	go func() { // waits for a place for each; stop waits for it
		defer close(started)
		for _, f := range begin {
			g.Go(func() error { f(); return nil })
		}
	}()
	coming = func(i int) error {
		if results[i] == nil {
			return nil
		}
		return <-results[i]
	}
	return coming, func() {
		cancel()
		<-started
		_ = g.Wait()
	}
}
