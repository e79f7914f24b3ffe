package journal

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"
)

func open(t testing.TB, path string) *Journal {
	t.Helper()
	j, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

func all(t testing.TB, j *Journal) map[string]int {
	t.Helper()
	m, err := All[int](j, "n")
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestWhatWasAppliedIsReadAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j := open(t, path)
	if err := j.Apply(Change{"n", "a", 1}, Change{"n", "b", 2}, Change{"m", "a", "x"}); err != nil {
		t.Fatal(err)
	}
	if err := j.Apply(Change{"n", "a", 3}, Change{Kind: "n", Key: "b"}); err != nil {
		t.Fatal(err)
	}
	// Not closed: the process died.
	got := all(t, open(t, path))
	if len(got) != 1 || got["a"] != 3 {
		t.Fatalf("read %v", got)
	}
}

// A power cut leaves any prefix of what wasn't synced: the records before the
// cut are kept, the torn one is as if it had never been written.
func TestTornTailIsIgnored(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "journal")
	j := open(t, path)
	var ends []int64
	for i := range 5 {
		if err := j.Put("n", fmt.Sprint(i), i); err != nil {
			t.Fatal(err)
		}
		ends = append(ends, j.size)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range len(whole) {
		torn := filepath.Join(dir, "torn")
		if err := os.WriteFile(torn, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		k, err := Open(torn)
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		want := 0
		for _, e := range ends {
			if int64(cut) >= e {
				want++
			}
		}
		if got := all(t, k); len(got) != want {
			t.Fatalf("cut at %d: %d records, want %d", cut, len(got), want)
		}
		// It goes on from there.
		if err := k.Put("n", "new", 9); err != nil {
			t.Fatal(err)
		}
		_ = k.Close()
		if got := all(t, open(t, torn)); len(got) != want+1 || got["new"] != 9 {
			t.Fatalf("cut at %d, then written: %v", cut, got)
		}
	}
}

func TestDamagedLineCostsOnlyItself(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j := open(t, path)
	for i := range 3 {
		if err := j.Put("n", fmt.Sprint(i), i); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(b, []byte("\n"))
	lines[1][12] ^= 1
	if err := os.WriteFile(path, bytes.Join(lines, nil), 0o600); err != nil {
		t.Fatal(err)
	}
	got := all(t, open(t, path))
	if _, there := got["1"]; there || len(got) != 2 {
		t.Fatalf("read %v", got)
	}
}

func TestLogStaysSmall(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j := open(t, path)
	big := bytes.Repeat([]byte("x"), 1000)
	for i := range 5000 {
		if err := j.Put("n", "same", string(big)+fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > minCompact+4096 {
		t.Fatalf("log has %d bytes", info.Size())
	}
	m, err := All[string](open(t, path), "n")
	if err != nil || m["same"][1000:] != "4999" {
		t.Fatalf("%v, %v", m["same"][1000:], err)
	}
}

func TestJournalEqualsMap(t *testing.T) {
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		path := filepath.Join(dir, fmt.Sprint(n))
		model := map[string]int{}
		j, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			key := rapid.SampledFrom([]string{"a", "b", "c", "ü\n"}).Draw(t, "key")
			switch rapid.IntRange(0, 5).Draw(t, "op") {
			case 0:
				err = j.Delete("n", key)
				delete(model, key)
			case 1:
				err = j.Sync()
			case 2:
				_ = j.Close()
				j, err = Open(path)
			case 3:
				j.mu.Lock()
				err = j.compactLocked()
				j.mu.Unlock()
			default:
				v := rapid.Int().Draw(t, "v")
				err = j.Put("n", key, v)
				model[key] = v
			}
			if err != nil {
				t.Fatal(err)
			}
			got, err := All[int](j, "n")
			if err != nil || fmt.Sprint(got) != fmt.Sprint(model) {
				t.Fatalf("journal %v, want %v, %v", got, model, err)
			}
		}
		_ = j.Close()
	})
}

func FuzzParse(f *testing.F) {
	b, _ := appendLine(nil, line{"n", "a", []byte("1")})
	f.Add(b)
	f.Fuzz(func(_ *testing.T, b []byte) { parse(b) })
}
