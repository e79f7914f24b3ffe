package process_test

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"plane/internal/runtime"
)

// rss is the memory of a process's own, in bytes.
func rss(t *testing.T, pid int) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		t.Skip("memory can't be read here")
	}
	var sum int64
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); f[0] == "Private_Dirty:" || f[0] == "Private_Clean:" {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			sum += n << 10
		}
	}
	return sum
}

func descriptors(t *testing.T, pid int) int {
	d, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Skip("descriptors can't be counted here")
	}
	return len(d)
}

func cpu(pid int) int {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	u, _ := strconv.Atoi(string(f[11]))
	s, _ := strconv.Atoi(string(f[12]))
	return (u + s) * 10 // ms
}

func TestTrap55_IdleBackendsAreCheap(t *testing.T) {
	both(t, func(t *testing.T, g *rig) {
		const n = 200
		g.start(g.unit("echo up; sleep 60", time.Minute))
		g.Settled()
		pids := map[string]int{"warden": g.Pid("warden"), "reaper": g.Pid("reaper"), "agent": os.Getpid()}
		memory, fds, used := map[string]int64{}, map[string]int{}, map[string]int{}
		for part, pid := range pids {
			memory[part], fds[part] = rss(t, pid), descriptors(t, pid)
		}
		for range n {
			p := g.start(g.unit("echo up; exec sleep 60", time.Minute))
			go func() { _, _ = p.Wait(g.Ctx()) }()
		}
		g.Outputs(g.r, "b200", "up")
		for part, pid := range pids {
			used[part] = cpu(pid)
		}
		time.Sleep(time.Second) // the time over which idleness is measured
		var sum int64
		for part, pid := range pids {
			m := (rss(t, pid) - memory[part]) / n
			f := float64(descriptors(t, pid)-fds[part]) / n
			t.Logf("%s: %.1f KB and %.2f descriptors per backend, %d ms of CPU a second for all", part, float64(m)/1024, f, cpu(pid)-used[part])
			sum += m
			if f > 3.05 {
				t.Errorf("%s holds %.2f descriptors per backend", part, f)
			}
		}
		if sum > 200<<10 && !raced {
			t.Errorf("%d KB per backend", sum>>10)
		}
	})
}

// BenchmarkStart shows what a start through the warden costs beside fork and
// exec of the same program from here.
func BenchmarkStart(b *testing.B) {
	for _, kind := range []string{"best", "portable"} {
		b.Run(kind, func(b *testing.B) {
			b.Setenv("PLANE_MEANS", kind)
			g := newRig(b)
			var through, raw []time.Duration
			g.start(g.unit("exit 0", time.Minute))
			for i := range b.N {
				u := g.unit("", time.Minute)
				u.Executable.Command = []string{"/bin/true"}
				began := time.Now()
				p, err := g.r.Start(g.Ctx(), u)
				if err != nil {
					b.Fatal(err)
				}
				d := time.Since(began)
				drop(b, g, p)
				began = time.Now()
				pid, err := syscall.ForkExec("/bin/true", []string{"true"}, &syscall.ProcAttr{Sys: &syscall.SysProcAttr{Setsid: true}})
				if err != nil {
					b.Fatal(err)
				}
				e := time.Since(began)
				_, _ = syscall.Wait4(pid, nil, 0, nil)
				if i > 10 {
					through, raw = append(through, d), append(raw, e)
				}
			}
			if len(raw) > 0 {
				slices.Sort(through)
				slices.Sort(raw)
				at := func(all []time.Duration, q float64) float64 {
					return float64(all[int(float64(len(all)-1)*q)].Microseconds())
				}
				b.ReportMetric(at(through, 0.5), "warden-p50-µs")
				b.ReportMetric(at(through, 0.99), "warden-p99-µs")
				b.ReportMetric(at(raw, 0.5), "fork-p50-µs")
				b.ReportMetric(at(raw, 0.99), "fork-p99-µs")
				b.ReportMetric(0, "ns/op")
			}
		})
	}
}

func drop(b *testing.B, g *rig, p runtime.Process) {
	if _, err := p.Wait(g.Ctx()); err != nil {
		b.Fatal(err)
	}
	if err := p.Forget(g.Ctx()); err != nil {
		b.Fatal(err)
	}
}
