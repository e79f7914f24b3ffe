package drone

import (
	"context"
	"errors"
	"sync"

	"plane"
	"plane/internal/drone/volume"
	"plane/internal/wire"
)

// shelf is the drone's data directories, and what people were told about them.
type shelf struct {
	*volume.Shelf
	told sync.Map // of what can't be done again and again, so that it is said once
}

// once reports whether it is the first time that anybody asks for that.
func (s *shelf) once(what string) bool {
	_, before := s.told.LoadOrStore(what, true)
	return !before
}

// dataState keeps a directory from being made when its backend has ended.
type dataState struct {
	mu   sync.Mutex // guards the field below; held while the directory is made
	left bool
}

var errNoVolume = errors.New("the controller didn't say where the data of this key is; upgrade it to the version of this drone")

// makeData gives the backend its data directory, if it has one and hasn't
// ended meanwhile.
func (r *runner) makeData() error {
	r.data.mu.Lock()
	defer r.data.mu.Unlock()
	if r.data.left {
		return nil
	}
	dir, err := r.placeData()
	switch {
	case err != nil:
		return err
	case dir == "":
		r.warnOfNoData()
	default:
		r.boundData(dir)
	}
	return nil
}

func (r *runner) placeData() (dir string, err error) {
	switch v := r.record.Volume; {
	case r.record.Spec.Data == plane.DataScratch:
		return r.shelf.Scratch(r.id)
	case r.record.Spec.Data != plane.DataKeep:
		return "", nil
	case v == nil:
		return "", errNoVolume
	default:
		return r.shelf.Attach(volume.Use{ID: v.ID, New: v.New, Key: r.record.Key, Generation: r.record.Generation})
	}
}

// dataDir is the path of the backend's data directory, "" if it has none.
func (r *runner) dataDir() string {
	switch {
	case r.record.Spec.Data == plane.DataScratch:
		return r.Home.Scratch(r.id)
	case r.record.Spec.Data == plane.DataKeep && r.record.Volume != nil:
		return r.Home.Volume(r.record.Volume.ID)
	}
	return ""
}

// holdData keeps the backend's volume here for as long as it hasn't ended.
func (r *runner) holdData() {
	if v := r.record.Volume; v != nil {
		r.shelf.Hold(v.ID)
	}
}

// leaveData gives the data directory back, once nothing of the backend is left.
func (r *runner) leaveData() {
	r.data.mu.Lock()
	r.data.left = true
	r.data.mu.Unlock()
	if v := r.record.Volume; v != nil {
		r.shelf.Release(v.ID)
	}
	if r.record.Spec.Data != plane.DataScratch {
		return
	}
	r.helpers.Go(func() {
		if err := r.shelf.Drop(r.id); err != nil {
			r.log.Warn("the scratch directory of an ended backend is left; removing it is tried again", "error", err)
		}
	})
}

// sweepScratch removes the scratch directories of backends of which nothing
// runs: their agent died before it could.
func (c *crew) sweepScratch() {
	ids := c.shelf.Scratches() // before looking who lives: none is made for one that isn't known
	if len(ids) == 0 {
		return
	}
	live := map[plane.BackendID]bool{}
	for _, e := range c.Table.Entries() {
		live[e.Backend] = true
	}
	for _, id := range ids {
		if live[id] || c.roster.lives(id) {
			continue
		}
		if err := c.shelf.Drop(id); err != nil && c.shelf.once("scratch "+string(id)) {
			c.Log.Error("the scratch directory of an ended backend can't be removed; remove it by hand", "directory", c.Home.Scratch(id), "error", err)
		}
	}
}

// discard puts a key's data aside. While a backend uses it nothing is done and
// nothing acknowledged: the order comes again.
func (l *link) discard(ctx context.Context, m wire.Discard) {
	err := l.shelf.PutAside(m.Volume)
	switch {
	case errors.Is(err, volume.ErrInUse):
		if l.shelf.once("discard " + m.Volume) {
			l.Log.Error("data that was given up is still used by a backend; it is put aside when that has ended", "volume", m.Volume)
		}
	case err != nil:
		l.Log.Error("data that was given up could not be put aside; it is tried again", "volume", m.Volume, "error", err)
	case ctx.Err() == nil:
		l.Log.Info("data was given up", "volume", m.Volume, "now", l.Home.Abandoned(m.Volume))
		_ = l.conn.Send(wire.Acted{Action: m.Action}) // what a broken connection loses is asked again
	}
}
