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
func (s *Store) fromEngine(ctx context.Context, ref Ref, here naming, tell func(Progress)) (*Image, error) {
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
		return s.image(r), s.name(ref, here)
	}
	tell(Progress{Text: "copying from the local engine"})
	wrong := func(err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("copy image %s from the local engine: %w", ref.Short(), err)
	}
	archive, err := s.from.Save(ctx, ref)
	if err != nil {
		return nil, wrong(err)
	}
	defer archive.Close()
	found, cleanup, err := s.spool(ctx, archive)
	if err != nil {
		return nil, wrong(err)
	}
	defer cleanup()
	if len(found) != 1 {
		return nil, wrong(fmt.Errorf("its archive has %d images", len(found)))
	}
	img, err := s.take(ctx, found[0].image, "unpacking", tell)
	if err != nil {
		return nil, wrong(err)
	}
	return img, s.name(ref, naming{Digest: img.Digest, Engine: id, From: fromTheEngine, Pulled: time.Now()})
}

// fromTheEngine is where a name came from that the local engine gave.
const fromTheEngine = "engine"
