package image

import (
	"archive/tar"
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

// unpack brings a layer here, checked against its digest.
func (s *Store) unpack(ctx context.Context, l v1.Layer, diff v1.Hash) (int64, error) {
	if size, ok := s.has(diff.Hex); ok {
		return size, nil
	}
	temp, err := os.MkdirTemp(s.path("tmp"), "layer-*")
	if err != nil {
		return 0, fmt.Errorf("unpack layer: %w", err)
	}
	defer func() { _ = os.RemoveAll(temp) }()
	size, err := s.unpackInto(ctx, temp, l, diff)
	if err != nil {
		return 0, explainUnpack(err)
	}
	if err := os.Rename(temp, s.path("layers", diff.Hex)); err != nil {
		if size, ok := s.has(diff.Hex); ok { // somebody else was quicker
			return size, nil
		}
		return 0, fmt.Errorf("unpack layer: %w", err)
	}
	return size, nil
}

func (s *Store) unpackInto(ctx context.Context, temp string, l v1.Layer, diff v1.Hash) (int64, error) {
	root := filepath.Join(temp, "fs")
	if err := errors.Join(os.Chmod(temp, 0o711), os.Mkdir(root, 0o755), s.own(root)); err != nil {
		return 0, err
	}
	in, err := l.Uncompressed()
	if err != nil {
		return 0, err
	}
	defer in.Close()
	sum := sha256.New()
	r := &guarded{r: io.TeeReader(in, sum), ctx: ctx}
	size, err := archive.Apply(ctx, root, r, archive.WithFilter(s.shifted), archive.WithConvertWhiteout(whiteout))
	if err == nil {
		_, err = io.Copy(io.Discard, r) // what follows the archive's end is part of the digest
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

// shifted moves the owners of files into the range of the user namespace.
func (s *Store) shifted(h *tar.Header) (bool, error) {
	// Devices are Plane's to give; an image's own are never made.
	device := h.Typeflag == tar.TypeBlock || h.Typeflag == tar.TypeChar
	if s.shift == (Shift{}) {
		return !device, nil
	}
	if h.Uid >= s.shift.Count || h.Gid >= s.shift.Count || h.Uid < 0 || h.Gid < 0 {
		return false, fmt.Errorf("%s belongs to %d:%d; owners above %d have no place in the user namespace of sandboxes", h.Name, h.Uid, h.Gid, s.shift.Count-1)
	}
	h.Uid += s.shift.First
	h.Gid += s.shift.First
	return !device, nil
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
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("no space left for the image; free some with plane image rm, or put the data directory on a larger disk: %w", err)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("the image can't be unpacked by this user, whom the files' owners can't be given to; run as root: %w", err)
	}
	return fmt.Errorf("unpack image: %w", err)
}
