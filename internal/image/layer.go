package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
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

// layerInfo is kept beside an unpacked layer.
type layerInfo struct {
	Size int64 `json:"size"` // bytes of its files
}

func cutDigest(digest string) (algorithm, hex string, ok bool) { return strings.Cut(digest, ":") }

// has reports whether a layer is here, and its size.
func (s *Store) has(hex string) (int64, bool) {
	var info layerInfo
	err := s.read(filepath.Join("layers", hex, "info"), &info)
	return info.Size, err == nil
}

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

// there reports whether a layer is here, under which key, and its size.
func (s *Store) there(diff, chain v1.Hash) (key string, size int64, ok bool) {
	for _, key := range layerKeys(diff, chain) {
		if size, ok := s.has(key); ok {
			return key, size, true
		}
	}
	return "", 0, false
}

// unpack brings a layer here, checked against its digest. chain is the digest
// of it and those below, whose directories below has, the topmost first.
func (s *Store) unpack(ctx context.Context, l v1.Layer, diff, chain v1.Hash, below []string) (key string, size int64, err error) {
	if key, size, ok := s.there(diff, chain); ok {
		return key, size, nil
	}
	temp, err := os.MkdirTemp(s.path("tmp"), "layer-*")
	if err != nil {
		return "", 0, fmt.Errorf("unpack layer: %w", err)
	}
	defer func() { _ = os.RemoveAll(temp) }()
	e := newEntries(s.shift, filepath.Join(temp, "fs"))
	size, err = s.unpackInto(ctx, temp, l, diff, below, e)
	if err != nil {
		return "", 0, explainUnpack(err)
	}
	keys := layerKeys(diff, chain)
	key = keys[0]
	if e.implies() {
		key = keys[1]
	}
	if err := os.Rename(temp, s.path("layers", key)); err != nil {
		if size, ok := s.has(key); ok { // somebody else was quicker
			return key, size, nil
		}
		return "", 0, fmt.Errorf("unpack layer: %w", err)
	}
	return key, size, nil
}

func (s *Store) unpackInto(ctx context.Context, temp string, l v1.Layer, diff v1.Hash, below []string, e *entries) (int64, error) {
	if err := errors.Join(os.Chmod(temp, 0o711), os.Mkdir(e.root, 0o755), s.own(e.root)); err != nil {
		return 0, err
	}
	in, err := l.Uncompressed()
	if err != nil {
		return 0, err
	}
	defer in.Close()
	sum := sha256.New()
	r := &guarded{r: io.TeeReader(in, sum), ctx: ctx}
	size, err := archive.Apply(ctx, e.root, r, archive.WithFilter(e.enter), archive.WithConvertWhiteout(e.whiteouts.convert), archive.WithParents(below))
	if err == nil {
		_, err = io.Copy(io.Discard, r) // what follows the archive's end is part of the digest
	}
	if err == nil {
		err = errors.Join(e.whiteouts.done(), e.ownImplied())
	}
	if err != nil {
		return 0, err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != diff.Hex {
		return 0, fmt.Errorf("a layer has digest sha256:%.12s…, its image says sha256:%.12s…; the registry or the archive is damaged", got, diff.Hex)
	}
	info := fmt.Appendf(nil, `{"size":%d}`, size)
	if err := os.WriteFile(filepath.Join(temp, "info"), info, 0o600); err != nil {
		return 0, err
	}
	return size, syncTree(temp)
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
	if errors.As(err, &at) && errors.Is(err, syscall.ENOSPC) {
		err = at.Err // where this machine keeps images is nobody's business
	}
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("no space left for the image; free some with plane image rm, or put the data directory on a larger disk: %w", err)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("the image can't be unpacked by this user, whom the files' owners can't be given to; run as root: %w", err)
	}
	return fmt.Errorf("unpack image: %w", err)
}
