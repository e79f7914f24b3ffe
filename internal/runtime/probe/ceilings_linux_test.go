package probe_test

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"

	"plane"
	"plane/internal/runtime"
)

// ceilings has backends take what they can, beyond what they may.
func (d *drone) ceilings() {
	d.t.Helper()
	counts := func(change func(*runtime.Unit), args ...string) (n int, refused bool) {
		d.t.Helper()
		u := d.unit(args...)
		change(&u)
		exit, out := d.run(u)
		if _, err := fmt.Sscan(out, &n, &refused); err != nil {
			d.t.Fatalf("%v: %v %q, %+v", args, err, out, exit)
		}
		return n, refused
	}
	limit := func(n int64) *int64 { return &n }
	n, refused := counts(func(u *runtime.Unit) { u.Executable.Limits.PidsLimit = limit(40) }, "fork")
	if n < 1 || n >= 40 || !refused {
		d.t.Errorf("%d processes, refused: %v; it may have 40 with their threads", n, refused)
	}
	n, refused = counts(func(u *runtime.Unit) { u.Executable.Limits.OpenFilesLimit = limit(50) }, "open")
	if n < 10 || n >= 50 || !refused {
		d.t.Errorf("%d files, refused: %v; it may have 50", n, refused)
	}
	u := d.unit("remember")
	u.Executable.Limits.MemoryLimitBytes = limit(32 << 20)
	if exit, out := d.run(u); !exit.OOM || exit.Code == nil || *exit.Code != 137 {
		d.t.Errorf("more than its memory: %+v %s", exit, out)
	}
	if u.Executable.Kind() == plane.KindImage {
		const most = 64 << 20
		if n, refused = counts(func(*runtime.Unit) {}, "fill", "/tmp/full"); !refused || n > most || n < most/2 {
			d.t.Errorf("%d bytes in /tmp, refused: %v; it may have %d", n, refused, most)
		}
		d.disk()
	}
	d.flood()
}

// disk has a backend fill its own layer. An engine that can't limit it must say
// so, and start nothing.
func (d *drone) disk() {
	d.t.Helper()
	const limit = 16 << 20
	u := d.unit("fill", "/full")
	most := int64(limit)
	u.Executable.Limits.DiskLimitBytes = &most
	if d.engine {
		if _, err := d.r.Start(d.Ctx(), u); err == nil || !strings.Contains(err.Error(), "storage-opt") {
			d.t.Errorf("a limit that can't be: %v", err)
		}
		return
	}
	_, out := d.run(u)
	written, refused, _ := strings.Cut(out, " ")
	if n, err := strconv.Atoi(written); err != nil || refused != "true" || n > limit || n < limit/2 {
		d.t.Errorf("a disk of %d bytes takes %s", limit, out)
	}
}

// flood has a backend write more than is kept of its output.
func (d *drone) flood() {
	d.t.Helper()
	const written = 48 // MiB
	u := d.unit("flood", strconv.Itoa(written))
	exit, out := d.run(u)
	if exit.Code == nil || *exit.Code != 0 || len(out) < 1000 {
		d.t.Errorf("its end: %+v", exit)
	}
	var kept int64
	for _, dir := range append(d.logs, d.home.OutputDir()) {
		_ = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
			if err == nil && strings.Contains(e.Name(), ".log") {
				if st, err := e.Info(); err == nil {
					kept += st.Size()
				}
			}
			return nil
		})
	}
	if kept > written<<20*2/3 || kept < 1<<20 {
		d.t.Errorf("of %d MiB of output %d bytes are kept", written, kept)
	}
	// The drone is as well as before.
	if exit, _ := d.run(d.unit("nothing")); exit.Code == nil || *exit.Code != 0 {
		d.t.Errorf("after it: %+v", exit)
	}
}
