package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/containerd/containerd/v2/pkg/archive"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func cutDigest(digest string) (algorithm, hex string, ok bool) { return strings.Cut(digest, ":") }

// layerKeys are the names that a layer's directory may have: that of what it is,
// and that of what it is on the layers below it. The second is for layers with
// files in directories that they don't describe: those take after the layers
// below, since overlay mounts show a directory as its topmost layer has it.
func layerKeys(diff, chain v1.Hash) [2]string { return [2]string{diff.Hex, "on-" + chain.Hex} }

// chained is the digest of a chain of layers with one more on top, as the OCI
// image specification has it.
func chained(chain, diff v1.Hash) v1.Hash {
	if chain == (v1.Hash{}) {
		return diff
	}
	sum := sha256.Sum256([]byte(chain.String() + " " + diff.String()))
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
}

// there reports whether a layer is here, and under which key.
func (s *Store) there(diff, chain v1.Hash) (key string, info layerInfo, ok bool) {
	for _, key := range layerKeys(diff, chain) {
		if info, ok := s.has(key); ok {
			return key, info, true
		}
	}
	return "", layerInfo{}, false
}

// unpack brings a layer here, checked against its digest. chain is the digest
// of it and those below, whose directories below has, the topmost first.
func (w *work) unpack(ctx context.Context, l v1.Layer, diff, chain v1.Hash, below []string) (key string, info layerInfo, err error) {
	s := w.s
	if key, info, ok := s.there(diff, chain); ok {
		return key, info, nil
	}
	temp, err := os.MkdirTemp(w.dir, "layer-*")
	if err != nil {
		return "", info, explainUnpack(err)
	}
	defer func() { _ = os.RemoveAll(temp) }()
	e := newEntries(s.shift, filepath.Join(temp, "fs"), &allowance{s: s, ctx: ctx})
	info, err = s.unpackInto(ctx, temp, l, diff, below, e)
	if err != nil {
		return "", info, explainUnpack(outside(err, e.root))
	}
	keys := layerKeys(diff, chain)
	key = keys[0]
	if e.implies() {
		key = keys[1]
	}
	if err = os.Rename(temp, s.path("layers", key)); err == nil {
		return key, info, nil
	}
	if info, ok := s.has(key); ok { // somebody else was quicker
		return key, info, nil
	}
	if err := errors.Join(s.setAside(key), os.Rename(temp, s.path("layers", key))); err != nil {
		return "", info, fmt.Errorf("replace a damaged layer: %w", outside(err, s.dir))
	}
	return key, info, nil
}

func (s *Store) unpackInto(ctx context.Context, temp string, l v1.Layer, diff v1.Hash, below []string, e *entries) (info layerInfo, err error) {
	if err := errors.Join(os.Mkdir(e.root, 0o755), s.own(e.root)); err != nil {
		return info, err
	}
	if err := e.whiteouts.open(e.root); err != nil {
		return info, err
	}
	defer e.whiteouts.close()
	in, err := l.Uncompressed()
	if err != nil {
		return info, err
	}
	defer in.Close()
	sum := sha256.New()
	r := &guarded{r: io.TeeReader(in, sum), ctx: ctx}
	info.Size, err = archive.Apply(ctx, e.root, r, archive.WithFilter(e.enter), archive.WithConvertWhiteout(e.whiteouts.convert), archive.WithParents(below))
	if err == nil {
		_, err = io.Copy(io.Discard, r) // what follows the archive's end is part of the digest
	}
	if err == nil {
		err = errors.Join(e.whiteouts.done(), e.ownImplied())
	}
	if err != nil {
		return info, err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != diff.Hex {
		return info, fmt.Errorf("a layer has digest sha256:%.12s…, its image says sha256:%.12s…; the registry or the archive is damaged", got, diff.Hex)
	}
	if info.Tree, err = treeOf(e.root); err != nil {
		return info, err
	}
	info.Opaque = isOpaque(e.root)
	b, err := json.Marshal(info)
	if err != nil {
		return info, err
	}
	if err := os.WriteFile(filepath.Join(temp, "info"), b, 0o600); err != nil {
		return info, err
	}
	return info, syncTree(temp)
}

// own gives the root of a layer to root inside.
func (s *Store) own(dir string) error {
	if s.shift == (Shift{}) {
		return nil
	}
	return os.Lchown(dir, s.shift.First, s.shift.First)
}

// guarded reads until ctx ends.
type guarded struct {
	r   io.Reader
	ctx context.Context //nolint:containedctx // of one reading, which Read has none for
}

func (g *guarded) Read(p []byte) (int, error) {
	if err := g.ctx.Err(); err != nil {
		return 0, err
	}
	return g.r.Read(p)
}

// explainUnpack says what to do about what people can mend.
func explainUnpack(err error) error {
	var at *os.PathError
	if errors.As(err, &at) && noSpace(err) {
		err = at.Err // where this machine keeps images is nobody's business
	}
	var link *os.LinkError
	switch {
	case errors.Is(err, errQuota):
		return err
	case errors.As(err, &link) && errors.Is(err, os.ErrNotExist): // layers are unpacked by themselves, as engines do it too
		return fmt.Errorf("%s is a hard link to what its layer doesn't have; build the image anew", filepath.Base(link.New))
	case noSpace(err):
		return fmt.Errorf("no space left for the image; free some with plane image rm, or put the data directory on a larger disk: %w", err)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("the image can't be unpacked by this user, whom the files' owners can't be given to; run as root: %w", err)
	case errors.Is(err, syscall.ENAMETOOLONG):
		return fmt.Errorf("the image has a path that is too long for this machine: %w", err)
	}
	return fmt.Errorf("unpack image: %w", err)
}

// outsideError is an error without the directory of this machine that it names.
type outsideError struct {
	error
	dir string
}

func outside(err error, dir string) error { return outsideError{err, dir} }

func (e outsideError) Error() string {
	return strings.ReplaceAll(strings.ReplaceAll(e.error.Error(), e.dir+"/", ""), e.dir, "")
}

func (e outsideError) Unwrap() error { return e.error }
