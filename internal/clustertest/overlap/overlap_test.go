package overlap

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// A re-executed test binary is a process of a backend.
func TestMain(m *testing.M) {
	if g := os.Getenv("OVERLAP_TEST_GENERATION"); g != "" {
		generation, _ := strconv.ParseInt(g, 10, 64)
		f, err := Open(os.Getenv(Env))
		if err != nil {
			panic(err)
		}
		b, err := f.Begin(KeyHash("", "k"), generation, Parent)
		if err != nil {
			panic(err)
		}
		for {
			time.Sleep(time.Millisecond)
			b.Touch()
		}
	}
	os.Exit(m.Run())
}

func start(t *testing.T, path string, generation int) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), Env+"="+path, "OVERLAP_TEST_GENERATION="+strconv.Itoa(generation))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kill(cmd) })
	return cmd
}

func kill(cmd *exec.Cmd) {
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not in time: " + what)
		}
	}
}

func TestRealProcessesThatRunAtOnceAreFound(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lives")
	f, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	first := start(t, path, 1)
	until(t, "first generation lives", func() bool { return len(f.Lives()) == 1 })
	kill(first)
	if n := len(Running(f.Lives())); n != 0 {
		t.Fatalf("%d processes run after the kill", n)
	}
	second := start(t, path, 2)
	until(t, "second generation lives", func() bool { return len(f.Lives()) == 2 })
	if c := Clashes(f.Lives()); len(c) != 0 {
		t.Fatalf("one after the other is no clash: %v", c)
	}
	third := start(t, path, 3)
	until(t, "third generation clashes", func() bool { return len(Clashes(f.Lives())) == 1 })
	kill(second)
	if r := Running(f.Lives()); len(r) != 1 || r[0].Generation != 3 || r[0].Pid != third.Process.Pid {
		t.Fatalf("running: %v", r)
	}
}

func TestAStoppedProcessThatGoesOnWasThereAllTheTime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lives")
	f, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	first := start(t, path, 1)
	until(t, "first generation lives", func() bool { return len(f.Lives()) == 1 })
	if err := first.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	second := start(t, path, 2)
	until(t, "second generation lives", func() bool { return len(f.Lives()) == 2 })
	kill(second)
	if len(Running(f.Lives())) != 1 {
		t.Fatal("a stopped process still runs")
	}
	if err := first.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	until(t, "clash is seen", func() bool { return len(Clashes(f.Lives())) == 1 })
}

func TestClashesAgreeWithComparingAllPairs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lives := make([]Life, rapid.IntRange(0, 20).Draw(t, "lives"))
		for i := range lives {
			first := rapid.Int64Range(1, 50).Draw(t, "first")
			lives[i] = Life{
				Key: rapid.Uint64Range(0, 2).Draw(t, "key"), Generation: rapid.Int64Range(1, 3).Draw(t, "generation"),
				First: first, Last: first + rapid.Int64Range(0, 20).Draw(t, "length"),
			}
		}
		want := 0
		for i, a := range lives {
			for _, b := range lives[:i] {
				if a.Key == b.Key && a.Generation != b.Generation && a.First <= b.Last && b.First <= a.Last {
					want++
				}
			}
		}
		if got := len(Clashes(lives)); got != want {
			t.Fatalf("%d clashes, want %d in %v", got, want, lives)
		}
	})
}

func TestAFileOfAnotherKindIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "other")
	if err := os.WriteFile(path, make([]byte, fileBytes), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); err == nil {
		t.Error("a file without lives was opened")
	}
}
