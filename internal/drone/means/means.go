// Package means holds the means by which a backend's processes are started,
// found, limited, measured and killed on this system. Where Linux has better
// ones (cgroups, pidfds, sub-reapers) they are used; what every Unix has stands
// behind them: session, process group and a marker in the environment.
package means

import (
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"plane"
)

// Portable, as the value of the environment variable PLANE_MEANS, switches off
// everything that only Linux has.
const Portable = "portable"

// markerName is the environment variable by which descendants of a backend are
// found that left its session. A backend that itself runs Plane hands its own
// marker on beside those of its backends.
const markerName = "PLANE_MARKER"

// Identity says which processes are those of a backend.
type Identity struct {
	Backend plane.BackendID
	Pid     int    // of the first process; 0 = not known
	Start   uint64 // when it began
	Group   Group  // the cgroup that it runs in
	Engine  bool   // Pid is the init of an engine's container: what runs in it ends with it
}

// Group says which cgroup a backend runs in: NoGroup, OwnGroup, or else the
// number of a prepared sandbox, whose cgroup keeps its name when a backend takes
// it over (cgroups can't be renamed, and moving a process takes 10 ms).
type Group uint64

// The groups that are no number of a sandbox.
const (
	NoGroup  Group = 0
	OwnGroup Group = 1 // named after the backend
)

const sandboxPrefix = "sb-"

// String is the name of a sandbox's cgroup, and its id.
func (g Group) String() string { return fmt.Sprintf(sandboxPrefix+"%016x", uint64(g)) }

// SandboxGroup reads the id of a sandbox.
func SandboxGroup(id string) (Group, error) {
	rest, ok := strings.CutPrefix(id, sandboxPrefix)
	n, err := strconv.ParseUint(rest, 16, 64)
	if !ok || err != nil || len(rest) != 16 || Group(n) <= OwnGroup {
		return 0, fmt.Errorf("%q is no id of a sandbox", id)
	}
	return Group(n), nil
}

// directory is the name of id's cgroup.
func (id Identity) directory() plane.BackendID {
	if id.Group > OwnGroup {
		return plane.BackendID(id.Group.String())
	}
	return id.Backend
}

func (id Identity) grouped() bool { return id.Group != NoGroup }

// Means is what this process may use. Safe for concurrent use.
type Means struct {
	hash     string
	portable bool
	groups   *groups // nil = no cgroups
	log      *slog.Logger

	mu     sync.Mutex // guards warned
	warned map[string]bool
}

// New finds out what the system offers and makes the cgroup below which those
// of backends stand. hash names the data directory.
func New(hash string, log *slog.Logger) *Means {
	m := &Means{hash: hash, portable: os.Getenv("PLANE_MEANS") == Portable, log: log, warned: map[string]bool{}}
	if !m.portable {
		m.groups = newGroups(hash, log)
	}
	return m
}

// At makes Means for looking only: base is the Base of those that started the
// backends.
func At(hash, base string, log *slog.Logger) *Means {
	return &Means{
		hash: hash, portable: os.Getenv("PLANE_MEANS") == Portable, log: log,
		groups: groupsAt(base, hash), warned: map[string]bool{},
	}
}

// Base is the directory of the cgroup of all backends, "" without cgroups.
func (m *Means) Base() string { return m.groups.dir() }

// Cgroups reports whether backends get cgroups of their own.
func (m *Means) Cgroups() bool { return m.groups != nil }

// Procs lists the processes of a backend that are not zombies, by looking.
func (m *Means) Procs(id Identity) ([]int, error) {
	if id.Engine {
		return m.contained(id), nil
	}
	if id.grouped() && m.groups != nil {
		return m.groups.procs(id.directory())
	}
	return m.search(newCensus(), id), nil
}

func (m *Means) search(all *census, id Identity) []int {
	return all.of(m.mark(id.Backend), id.Pid, id.Start)
}

// of finds the processes with a mark, and those of the session of a first
// process. The latter count only while that is there, dead or alive, because
// otherwise another session may have got the number.
func (all *census) of(mark string, pid int, start uint64) []int {
	session := 0
	for _, p := range all.procs {
		if pid != 0 && p.Pid == pid && p.Start == start {
			session = p.Pid
		}
	}
	var found []int
	for _, p := range all.procs {
		if p.Zombie || p.Pid == os.Getpid() {
			continue
		}
		mine := session != 0 && (p.Session == session || p.Group == session || p.Pid == session)
		if mine || all.marked(p.Pid, mark) {
			found = append(found, p.Pid)
		}
	}
	return found
}

// Kill sends SIGKILL to every process of the backends. It may have to be called
// again: look with Procs.
func (m *Means) Kill(ids ...Identity) {
	var rest []Identity
	for _, id := range ids {
		if id.Engine {
			if !m.killContained(id) {
				rest = append(rest, id)
			}
			continue
		}
		if id.grouped() && m.groups != nil {
			if err := m.groups.kill(id.directory()); err != nil {
				m.log.Error("a cgroup can't be killed", "backend", id.Backend, "error", err)
			}
			continue
		}
		m.signalGroup(id, sigKill) // the likely ones at once; looking takes longer
		rest = append(rest, id)
	}
	if len(rest) == 0 {
		return
	}
	all := newCensus()
	for _, id := range rest {
		for _, pid := range m.search(all, id) {
			if id.Engine {
				thaw(pid)
			}
			_ = kill(pid, sigKill)
		}
	}
}

// Terminate sends SIGTERM to the process group of the backend, and wakes what
// is stopped of it. An engine's container that somebody has paused goes on.
func (m *Means) Terminate(id Identity) {
	m.signalGroup(id, sigTerm)
	m.signalGroup(id, sigCont)
	if id.Engine && m.Alive(id) {
		thaw(id.Pid)
	}
}

// signalGroup signals first process and group if the first process is still
// there: otherwise the number may be another one's.
func (m *Means) signalGroup(id Identity, sig signum) {
	if p, ok := readProc(id.Pid); !ok || id.Pid <= 1 || p.Start != id.Start {
		return
	}
	if kill(-id.Pid, sig) != nil {
		_ = kill(id.Pid, sig)
	}
}

// Strays lists the backends of this data directory of which anything runs.
func (m *Means) Strays() []Identity {
	seen := map[Identity]bool{}
	var all []Identity
	add := func(id Identity) {
		if !seen[id] {
			seen[id] = true
			all = append(all, id)
		}
	}
	for _, id := range m.groups.populated() {
		add(groupIdentity(id))
	}
	for _, p := range listProcs() {
		if p.Zombie || p.Pid == os.Getpid() {
			continue
		}
		if id, ok := m.marked(environ(p.Pid)); ok {
			add(Identity{Backend: id})
		}
	}
	return all
}

// groupIdentity is what a cgroup of that name says.
func groupIdentity(name plane.BackendID) Identity {
	if g, err := SandboxGroup(string(name)); err == nil {
		return Identity{Group: g}
	}
	return Identity{Backend: name, Group: OwnGroup}
}

// Sandboxes are the ids of the sandboxes that have a cgroup, live or not.
func (m *Means) Sandboxes() []string {
	var all []string
	for _, name := range m.groups.children() {
		if _, err := SandboxGroup(string(name)); err == nil {
			all = append(all, string(name))
		}
	}
	return all
}

// Clean removes what is kept of a backend that is gone.
func (m *Means) Clean(id Identity) { m.groups.clean(id.directory()) }

// Tidy removes the cgroups above those of backends, unless there are any.
func (m *Means) Tidy() { m.groups.tidy() }

// Alive reports whether the first process of a backend runs; a zombie doesn't.
func (m *Means) Alive(id Identity) bool {
	p, ok := readProc(id.Pid)
	return ok && p.Start == id.Start && !p.Zombie
}

// There reports whether the first process of a backend runs or is a zombie.
func (m *Means) There(id Identity) bool {
	p, ok := readProc(id.Pid)
	return ok && p.Start == id.Start
}

// StartOf is when the process began, in a unit of the system that doesn't
// change with the clock; ok is false if there is none.
func StartOf(pid int) (start uint64, ok bool) {
	p, ok := readProc(pid)
	return p.Start, ok
}

// Proc is what is known of a process.
type Proc struct {
	Pid, Parent, Group, Session int
	Start                       uint64
	Zombie                      bool
}

func (m *Means) mark(id plane.BackendID) string { return m.hash + ":" + string(id) }

// MarkEnv is the entry for the environment of a backend.
func (m *Means) MarkEnv(id plane.BackendID) string {
	return markerName + "=" + strings.TrimSpace(os.Getenv(markerName)+" "+m.mark(id))
}

// census is all processes, each of which is asked for its markers at most once.
type census struct {
	procs []Proc
	marks map[int][]string
}

func newCensus() *census { return &census{procs: listProcs(), marks: map[int][]string{}} }

func (c *census) marked(pid int, mark string) bool {
	all, known := c.marks[pid]
	if !known {
		all = marks(environ(pid))
		c.marks[pid] = all
	}
	return slices.Contains(all, mark)
}

func marks(env []byte) []string {
	for entry := range strings.SplitSeq(string(env), "\x00") {
		if v, ok := strings.CutPrefix(entry, markerName+"="); ok {
			return strings.Fields(v)
		}
	}
	return nil
}

// marked finds the backend of this data directory in an environment.
func (m *Means) marked(env []byte) (plane.BackendID, bool) {
	for _, mark := range marks(env) {
		if id, ok := strings.CutPrefix(mark, m.hash+":"); ok {
			return plane.BackendID(id), true
		}
	}
	return "", false
}

// warn says once per kind what the system can't do, and returns the sentence
// the first time.
func (m *Means) warn(kind, sentence string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.warned[kind] {
		return nil
	}
	m.warned[kind] = true
	return []string{sentence}
}
