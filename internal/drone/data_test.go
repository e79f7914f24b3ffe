package drone

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"plane"
	"plane/internal/wire"
)

func there(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// What a backend keeps is there for the next one of its key, also when agent
// and backend are killed in between.
func TestKeptDataIsFoundByTheNextBackendOfTheKey(t *testing.T) {
	c, d := begunReal(t)
	c.spawn("one", "doc", runs(), onVolume("vo-1", "new"))
	at := c.reach("one").Address
	call(t, "PUT", at, "/data/text", "drawn")
	dir := d.cfg.Home.Volume("vo-1")
	if env := call(t, "GET", at, "/env", ""); !strings.Contains(env+"\n", "SESSION_BACKEND_DATA_DIR="+dir+"\n") {
		t.Errorf("the backend's environment is\n%s", env)
	}
	if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("the directory is %v, %v", st, err)
	}
	d.restart()
	call(t, "PUT", at, "/data/more", "by an adopted one")
	c.terminate("one", plane.Hard)
	c.until("one", plane.Terminated)
	c.spawn("two", "doc", runs(), onVolume("vo-1", "known"))
	at = c.reach("two").Address
	if got := call(t, "GET", at, "/data/text", "") + call(t, "GET", at, "/data/more", ""); got != "drawnby an adopted one" {
		t.Errorf("found %q", got)
	}
}

// A key with kept data never gets an empty directory in its place.
func TestMissingDataFailsTheStartAndSaysWhatToDo(t *testing.T) {
	c, d := begunReal(t)
	c.spawn("one", "doc", runs(), onVolume("vo-gone", "known"), func(m *wire.Spawn) { m.Key.Namespace = "board" })
	end := c.until("one", plane.Terminated)
	dir := d.cfg.Home.Volume("vo-gone")
	for _, want := range []string{dir, "would be the loss of the data", "plane data abandon board/doc"} {
		if !strings.Contains(end.Exit.Message, want) {
			t.Errorf("it says %q, without %q", end.Exit.Message, want)
		}
	}
	if there(dir) {
		t.Error("the directory was made")
	}
	c.spawn("two", "other", runs(), spec(func(s *plane.Spec) { s.Data = plane.DataKeep }))
	if end := c.until("two", plane.Terminated); !strings.Contains(end.Exit.Message, "upgrade it") {
		t.Errorf("without a volume: %q", end.Exit.Message)
	}
}

// The fence is the drone's own: whatever a controller says, data goes to
// rising generations.
func TestDataIsNotGivenToALowerGeneration(t *testing.T) {
	c, d := begunReal(t)
	generation := func(g plane.Generation) order { return func(m *wire.Spawn) { m.Generation = g } }
	c.spawn("one", "doc", runs(), onVolume("vo-1", "new"), generation(20))
	c.reach("one")
	c.terminate("one", plane.Hard)
	c.until("one", plane.Terminated)
	d.restart()
	c.spawn("old", "doc", runs(), onVolume("vo-1", "known"), generation(19))
	if end := c.until("old", plane.Terminated); !strings.Contains(end.Exit.Message, "generation 20") || end.LastStatus != plane.Loading {
		t.Errorf("ended as %+v %+v", end, end.Exit)
	}
	c.spawn("two", "doc", runs(), onVolume("vo-1", "known"), generation(21))
	c.reach("two")
}

func TestScratchGoesWithItsBackend(t *testing.T) {
	c, d := begunReal(t)
	scratch := spec(func(s *plane.Spec) { s.Data = plane.DataScratch })
	c.spawn("one", "doc", runs(), scratch)
	at := c.reach("one").Address
	call(t, "PUT", at, "/data/text", "x")
	dir := d.cfg.Home.Scratch("one")
	d.restart()
	if got := call(t, "GET", at, "/data/text", ""); got != "x" {
		t.Errorf("an adopted one finds %q", got)
	}
	// It took the right to write from itself.
	sub := filepath.Join(dir, "sealed")
	if err := os.MkdirAll(filepath.Join(sub, "in"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(sub, 0o500); err != nil {
		t.Fatal(err)
	}
	c.terminate("one", plane.Soft)
	c.until("one", plane.Terminated)
	patiently(t, "its directory is removed", func() bool { return !there(dir) })
	// What never ran leaves nothing either.
	c.spawn("two", "doc", words(plane.Executable{Command: []string{"no-such-program"}}), scratch)
	c.until("two", plane.Terminated)
	patiently(t, "its directory is removed", func() bool { return !there(d.cfg.Home.Scratch("two")) })
}

// Nothing is left of a backend that ended while no agent was there to see it,
// and nothing is taken from one that runs.
func TestScratchOfWhatDiedWithoutAnAgentIsSwept(t *testing.T) {
	c, d := begunReal(t)
	scratch := spec(func(s *plane.Spec) { s.Data = plane.DataScratch })
	for _, id := range []plane.BackendID{"dies", "lives", "lost"} {
		c.spawn(id, string(id), runs(), scratch)
		call(t, "PUT", c.reach(id).Address, "/data/text", string(id))
	}
	d.stop()
	for _, id := range []plane.BackendID{"dies", "lost"} {
		p, err := d.cfg.Runtimes["process"].Attach(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if id == "dies" {
			_ = syscall.Kill(p.Pid(), syscall.SIGKILL)
		}
	}
	// Directories that neither journal nor kernel know of.
	if err := os.MkdirAll(filepath.Join(d.cfg.Home.Scratch("nobody"), "deep"), 0o700); err != nil {
		t.Fatal(err)
	}
	d.begin()
	c.awaitLease(d)
	patiently(t, "they are swept", func() bool {
		return !there(d.cfg.Home.Scratch("dies")) && !there(d.cfg.Home.Scratch("nobody"))
	})
	if got := call(t, "GET", c.reach("lives").Address, "/data/text", ""); got != "lives" {
		t.Errorf("what lives finds %q", got)
	}
	// The journal is lost, the backends run: they are ended, and then swept.
	d.stop()
	if err := os.Remove(d.cfg.Home.Journal()); err != nil {
		t.Fatal(err)
	}
	d.begin()
	c.awaitLease(d)
	patiently(t, "the scratch directory of an orphan is removed", func() bool {
		d.agent.crew.Load().sweepScratch()
		return !there(d.cfg.Home.Scratch("lost"))
	})
}

func TestDiscardPutsDataAsideOnceNobodyUsesIt(t *testing.T) {
	c, d := begunReal(t)
	h := d.cfg.Home
	discard := func(volume string) string {
		m := wire.Discard{Action: c.action(), Volume: volume}
		c.send(m)
		return m.Action
	}
	c.answer(discard("vo-never")) // none is there
	c.answer(discard("../journal"))
	if !there(h.Journal()) {
		t.Fatal("an id was taken for a path")
	}
	c.spawn("one", "doc", runs(), onVolume("vo-1", "new"))
	call(t, "PUT", c.reach("one").Address, "/data/text", "mine")
	action := discard("vo-1")
	patiently(t, "it is told", func() bool { return d.logged.has("still used by a backend") })
	c.locked(func() {
		if _, ok := c.acted[action]; ok {
			t.Error("acknowledged while a backend uses it")
		}
	})
	if !there(filepath.Join(h.Volume("vo-1"), "text")) {
		t.Fatal("the data was moved below a backend that runs")
	}
	d.restart()
	c.send(wire.Discard{Action: action, Volume: "vo-1"}) // as the controller does
	c.reach("one")
	c.terminate("one", plane.Hard)
	c.until("one", plane.Terminated)
	patiently(t, "it is put aside", func() bool {
		c.send(wire.Discard{Action: action, Volume: "vo-1"})
		return there(h.Abandoned("vo-1"))
	})
	c.answer(action)
	if b, err := os.ReadFile(filepath.Join(h.Abandoned("vo-1"), "text")); string(b) != "mine" || there(h.Volume("vo-1")) {
		t.Errorf("put aside is %q, %v", b, err)
	}
	c.answer(discard("vo-1")) // twice is once
	// A late order for it starts nothing.
	c.spawn("two", "doc", runs(), onVolume("vo-1", "new"))
	if end := c.until("two", plane.Terminated); !strings.Contains(end.Exit.Message, "given up") {
		t.Errorf("ended as %+v", end.Exit)
	}
}
