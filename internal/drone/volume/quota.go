package volume

import (
	"errors"
	"sync"
)

// ErrNoQuota: the file system can't bound directories, or not those of this
// user's programs.
var ErrNoQuota = errors.New("the file system of the data directory has no project quota that binds this user's programs")

// quotas is what the file system of a Shelf can do, found out once.
type quotas struct {
	once  sync.Once
	found ability
}

// ability of a file system to count and to bound directories.
type ability int

const (
	cannot ability = iota
	counts         // it knows the size of each, and binds others than this user
	bounds         // and what goes beyond a bound fails
)

func (s *Shelf) ability() ability {
	s.quotas.once.Do(func() { s.quotas.found = abilityOf(s.home.Dir) })
	return s.quotas.found
}

// Bound makes writes fail that would let a directory grow beyond bytes; 0 takes
// an earlier bound away. ErrNoQuota where that can't be: then its size is to be
// watched.
func (s *Shelf) Bound(dir string, bytes int64) error {
	can := s.ability()
	if can == cannot {
		return ErrNoQuota
	}
	if err := setBound(dir, bytes); err != nil {
		return err
	}
	if can != bounds {
		return ErrNoQuota
	}
	return nil
}

func (s *Shelf) counted(dir string) (int64, bool) {
	if s.ability() == cannot {
		return 0, false
	}
	return countedBytes(dir)
}
