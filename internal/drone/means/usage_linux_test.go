package means

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"plane"
)

func files(t *testing.T, all map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range all {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// Both versions, by the rule of Plane 0.5; the counters are read one after the
// other, so that the cache may be more than all.
func TestTrap44_PageCacheThatCanBeGivenUpIsNoMemory(t *testing.T) {
	v2 := files(t, map[string]string{
		"memory.current": "1000\n", "memory.stat": "anon 500\nfile 400\ninactive_file 300\nactive_file 100\n",
		"pids.current": "4\n", "cpu.stat": "usage_usec 2000\nuser_usec 1500\n",
	})
	v1 := files(t, map[string]string{
		"memory.usage_in_bytes": "1000\n", "memory.stat": "inactive_file 7\ntotal_inactive_file 300\n",
		"pids.current": "4\n", "cpuacct.usage": "2000000\n",
	})
	for name, c := range map[string]counters{"v2": {v2: v2}, "v1": {v1cpu: v1, v1memory: v1, v1tasks: v1}} {
		memory, cache, ok := c.memory()
		cpu, _ := c.cpu()
		pids, _ := c.pids()
		if !ok || memory != 700 || cache != 300 || pids != 4 || cpu != 2*time.Millisecond {
			t.Errorf("%s: %d, %d, %v; %d processes, %v", name, memory, cache, ok, pids, cpu)
		}
	}
	if _, _, ok := (counters{v2: t.TempDir()}).memory(); ok {
		t.Error("what counts no memory tells some")
	}
	if memory, cache := split(100, 130); memory != 0 || cache != 100 {
		t.Errorf("more cache than usage: %d, %d", memory, cache)
	}
}

// Where a limit has it counted, the page cache shows.
func TestUsageOfABackendGrows(t *testing.T) {
	both(t, func(t *testing.T, m *Means) {
		limit := int64(256 << 20)
		x := plane.Executable{
			Command: []string{"sh", "-c", "head -c 16000000 /dev/zero > " + filepath.Join(t.TempDir(), "file") + "; sleep 60 & sleep 60 & echo up; wait"},
			Limits:  plane.ResourceLimits{MemoryLimitBytes: &limit},
		}
		s, r := start(t, m, x)
		line(t, r)
		u, err := m.Usage(s.Identity)
		if err != nil || u.Pids != 3 || u.Memory <= 0 || u.Memory > 10<<20 || u.CPU <= 0 {
			t.Errorf("%+v, %v", u, err)
		}
		if len(s.Warnings) == 0 && u.Cache < 8<<20 {
			t.Errorf("%d bytes of page cache, of 16 MB that were written", u.Cache)
		}
	})
}
