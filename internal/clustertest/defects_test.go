package clustertest

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// defect is a mistake that would break a promise, and the tests that must
// notice it. It is put back into a copy of one file, which the compiler takes
// in place of the real one.
type defect struct {
	name     string
	file     string // below the module's root
	old, new string // old stands there exactly once
	pkg, run string // package and pattern of the tests that must fail
}

// TestDefectsPutBackTurnTheSuiteRed shows that the tests can fail: a test
// that never has is not trusted.
func TestDefectsPutBackTurnTheSuiteRed(t *testing.T) {
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range defects {
		t.Run(strings.ReplaceAll(d.name, " ", "-"), func(t *testing.T) {
			overlay := d.putBack(t, root)
			ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-vet=off", "-failfast", "-timeout=2m",
				"-overlay="+overlay, "-run=^("+d.run+")$", d.pkg)
			cmd.Dir = root
			out, err := cmd.CombinedOutput()
			switch {
			case err == nil:
				t.Errorf("with the defect %q (%s) the tests %s of %s still pass", d.name, d.file, d.run, d.pkg)
			case strings.Contains(string(out), "[build failed]"), strings.Contains(string(out), "no tests to run"):
				t.Fatalf("the defect %q could not be tried:\n%s", d.name, out)
			}
		})
	}
}

func (d defect) putBack(t *testing.T, root string) string {
	t.Helper()
	path := filepath.Join(root, d.file)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(b), d.old); n != 1 {
		t.Fatalf("%s has the text of defect %q %d times, want once; the code has moved, move the defect too", d.file, d.name, n)
	}
	dir := t.TempDir()
	bad := filepath.Join(dir, filepath.Base(d.file))
	if err := os.WriteFile(bad, []byte(strings.Replace(string(b), d.old, d.new, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	replace, err := json.Marshal(map[string]any{"Replace": map[string]string{path: bad}})
	if err != nil {
		t.Fatal(err)
	}
	overlay := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlay, replace, 0o600); err != nil {
		t.Fatal(err)
	}
	return overlay
}

var defects = []defect{
	{
		name: "late spawn accepted", file: "lease.go",
		old: `if !ok || now.Sub(at) >= g.Policy.ProofHorizon() || now >= h.Deadline(g.Policy) {`,
		new: `if _ = at; !ok && now < 0 {`,
		pkg: ".", run: "TestGrants|TestAnAcceptedSpawnHasALiveDeadline",
	},
	{
		name: "no tombstone", file: "internal/drone/orders.go",
		old: `	t := c.tombstone(p, why)
`,
		new: `	return
	t := c.tombstone(p, why)
`,
		pkg: "./internal/drone", run: "TestTombstonesSurviveTheAgentAndEnd",
	},
	{
		name: "deadline from receipt instead of send", file: "internal/drone/keeper.go",
		old: `h, moved := k.holding.Renewed(number)`,
		new: "h, moved := k.holding.Renewed(number)\n\th.SentAt = k.now()",
		pkg: "./internal/drone", run: "TestDeadlineCountsFromTheSendOfTheAnsweredAttempt",
	},
	{
		name: "answer credited to the latest attempt", file: "lease.go",
		old: `h.Committed, h.SentAt, h.Granted = number, at, true`,
		new: `h.Committed, h.SentAt, h.Granted = number, h.sent[len(h.sent)-1].at, at >= 0`,
		pkg: ".", run: "TestDeadlineIsThatOfTheLatestAnsweredSend|TestAHoldersDeadlinePassesBeforeTheStoreMayLapse",
	},
	{
		name: "wall clock", file: "internal/drone/leaseclock/clock_linux.go",
		old: `read(unix.CLOCK_MONOTONIC_RAW) + suspended`, new: `read(unix.CLOCK_REALTIME) + suspended`,
		pkg: "./internal/drone/leaseclock", run: "TestTrap09_NoClockIsTheWallClock",
	},
	{
		name: "reply before commit", file: "internal/store/sqlite/writer.go",
		old: `	if _, err := w.c.exec("COMMIT"); err != nil {
		_, _ = w.c.exec("ROLLBACK")
		for _, j := range w.jobs {`,
		new: `	for i, j := range w.jobs {
		j.done <- w.results[i]
	}
	w.jobs = w.jobs[:0]
	if _, err := w.c.exec("COMMIT"); err != nil {
		_, _ = w.c.exec("ROLLBACK")
		for _, j := range w.jobs {`,
		pkg: "./internal/store/sqlite", run: "TestStore|TestWhatWasAcknowledgedOutlivesKill9",
	},
	{
		name: "cleared before reaped", file: "internal/drone/warden/backend.go",
		old: `	exit, mine := w.status(ctx, b)
	if !w.absent(ctx, b) {
		return
	}`,
		new: `	exit, mine := w.status(ctx, b)`,
		pkg: "./internal/runtime/process", run: "TestTrap53_WhatIsToldToHaveEndedIsGone",
	},
	{
		name: "second generation beside the first", file: "internal/drone/orders.go",
		old: `		return plane.RefusedKeyInUse, false
	}
	if id, foreign`,
		new: `		_ = used
	}
	if id, foreign`,
		pkg: "./internal/drone", run: "TestKeyInUseIsRefused",
	},
	{
		name: "lapse without a look at the renewal", file: "internal/store/sqlite/drones.go",
		old: `epoch_balanced = ?2 AND (?3 = 0 OR renewed_at + ?3 < ?4)`, new: `epoch_balanced = ?2 AND (?3 = ?3 OR ?4)`,
		pkg: "./internal/store/sqlite", run: "TestStore",
	},
	{
		name: "end acknowledged before its route is withdrawn", file: "internal/controller/recorder.go",
		old: `if x.status.State.Status != plane.Terminated || !pending {`,
		new: `if _ = withdrawn; pending || !pending {`,
		pkg: "./internal/controller", run: "TestTrap11_EndIsAcknowledgedAfterTheRouteIsWithdrawn",
	},
	{
		name: "older generation keeps its sockets", file: "internal/proxy/table.go",
		old: `route == nil || route.Generation < r.Generation {`,
		new: `route == nil {`,
		pkg: "./internal/proxy", run: "TestL3_ANewerGenerationEndsTheOlder",
	},
	{
		name: "identity of the client's own making", file: "internal/proxy/identity.go",
		old: `perHop(f.name) || reserved(f.name) ||`, new: `perHop(f.name) ||`,
		pkg: "./internal/proxy", run: "TestTrap29_IdentityOnEveryWay",
	},
}
