package image

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// How long a local engine may take to say whether it has an image: an engine
// that hangs must not hold up what can start without it.
const (
	enginePatience = 5 * time.Second        // when there is nothing else
	engineGlance   = 300 * time.Millisecond // when the image is here
	engineRest     = 10 * time.Second       // after it didn't answer, for images that are here
)

// engineID asks the local engine for its id of an image. known is false when it
// couldn't be asked; "" and true: it has none.
func (s *Store) engineID(ctx context.Context, ref Ref, here bool) (id string, known bool) {
	if s.from == nil {
		return "", false
	}
	s.mu.Lock()
	resting := here && time.Now().Before(s.restUntil)
	s.mu.Unlock()
	if resting {
		return "", false
	}
	patience := enginePatience
	if here {
		patience = engineGlance
	}
	asking, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	id, err := s.from.Inspect(asking, ref)
	if errors.Is(err, ErrNotThere) {
		return "", true
	}
	if err == nil {
		return id, true
	}
	if asking.Err() != nil && ctx.Err() == nil {
		s.mu.Lock()
		s.restUntil = time.Now().Add(engineRest)
		s.mu.Unlock()
	}
	s.log.Debug("the local engine can't be asked for an image", "image", ref, "error", err)
	return "", false
}

// fromEngine takes the image from the local engine if that has one of the name
// which is news. nil, nil: it has none, hasn't changed it, or can't be asked.
//
// Whoever has just built an image means that one; but an engine's copy that was
// there already when the name was pulled or imported is no news, and may be
// older.
func (s *Store) fromEngine(ctx context.Context, ref Ref, tell func(Progress)) (*Image, error) {
	here, _ := s.named(ref)
	r, err := s.known(here.Digest)
	have := err == nil
	id, known := s.engineID(ctx, ref, have)
	switch {
	case !known || id == "":
		return nil, nil
	case have && id == here.Engine:
		return nil, nil
	case have && (id == r.ID || id == r.Digest): // the same, found in two ways
		here.Engine = id
		return nil, s.rename(ctx, ref, here)
	}
	tell(Progress{Text: "copying from the local engine"})
	img, err := s.export(ctx, ref, tell)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, fmt.Errorf("copy image %s from the local engine: %w", ref.Short(), err)
	}
	return img, s.rename(ctx, ref, naming{Digest: img.Digest, Engine: id, From: fromTheEngine, Pulled: time.Now()})
}

// export takes an image from the local engine.
func (s *Store) export(ctx context.Context, ref Ref, tell func(Progress)) (*Image, error) {
	archive, err := s.from.Save(ctx, ref)
	if err != nil {
		return nil, err
	}
	defer archive.Close()
	w, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer w.end()
	path, err := w.spool(ctx, archive)
	if err != nil {
		return nil, explainUnpack(err)
	}
	found, err := ofArchive(path)
	if err != nil {
		return nil, err
	}
	if len(found) != 1 {
		return nil, fmt.Errorf("its archive has %d images", len(found))
	}
	return w.take(ctx, found[0].image, "unpacking", tell)
}

// fromTheEngine is where a name came from that the local engine gave.
const fromTheEngine = "engine"
