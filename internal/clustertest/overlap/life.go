package overlap

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"
	"time"
)

// Role of a process in a backend.
type Role int

// The roles.
const (
	Parent Role = iota
	Grandchild
)

// Life is one process of one generation of one key, from its first to its
// latest sign of life on the boot-time clock. The pid is what the process takes
// for its own, in a container one of the container's.
type Life struct {
	Key         uint64
	Generation  int64
	Pid         int
	Role        Role
	First, Last int64 // nanoseconds since boot
	born        uint64
	space       uint64 // pid namespace
}

// String is for failures.
func (l Life) String() string {
	return fmt.Sprintf("key %016x generation %d pid %d role %d from %s to %s",
		l.Key, l.Generation, l.Pid, l.Role, time.Duration(l.First), time.Duration(l.Last))
}

// KeyHash is how a key is written into the file.
func KeyHash(namespace, name string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(namespace + "\x00" + name))
	return h.Sum64()
}

// Clash is two processes of one key and of different generations that ran at once.
type Clash struct{ A, B Life }

// String is for failures.
func (c Clash) String() string {
	return fmt.Sprintf("%s together:\n  %s\n  %s", time.Duration(min(c.A.Last, c.B.Last)-max(c.A.First, c.B.First)), c.A, c.B)
}

// Clashes finds every pair of lives of one key and different generations that
// share an instant.
func Clashes(lives []Life) []Clash {
	lives = slices.Clone(lives)
	slices.SortFunc(lives, func(a, b Life) int {
		return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.First, b.First))
	})
	var clashes []Clash
	var open []Life // of the key at hand, those that may reach further
	for i, l := range lives {
		if i > 0 && lives[i-1].Key != l.Key {
			open = open[:0]
		}
		open = slices.DeleteFunc(open, func(o Life) bool { return o.Last < l.First })
		for _, o := range open {
			if o.Generation != l.Generation {
				clashes = append(clashes, Clash{o, l})
			}
		}
		open = append(open, l)
	}
	return clashes
}

// Running are the lives whose very process still exists, with the pid that it
// has here.
func Running(lives []Life) []Life {
	var all []Life
	own := space("self")
	var elsewhere map[inside]int
	for _, l := range lives {
		if l.space == own {
			if exists(l.Pid, l.born) {
				all = append(all, l)
			}
			continue
		}
		if elsewhere == nil {
			elsewhere = contained(own)
		}
		if pid := elsewhere[inside{l.space, l.Pid, l.born}]; pid != 0 {
			l.Pid = pid
			all = append(all, l)
		}
	}
	return all
}

// inside names one process of a pid namespace.
type inside struct {
	space uint64
	pid   int
	born  uint64
}
