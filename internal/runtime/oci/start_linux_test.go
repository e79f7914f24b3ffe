package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"plane"
	"plane/internal/drone/means"
	planeruntime "plane/internal/runtime"
)

func ptr[T any](v T) *T { return &v }

// says fails unless output has each of those lines.
func says(t *testing.T, output string, lines ...string) {
	t.Helper()
	for _, l := range lines {
		if !strings.Contains("\n"+output, "\n"+l+"\n") {
			t.Errorf("no line %q in\n%s", l, output)
		}
	}
}

func TestItRunsAsWhomImageOrExecutableSay(t *testing.T) {
	g := newRig(t)
	g.image.config.User = "app"
	g.image.config.WorkingDir = "/made/for it"
	u := g.unit("/server", "show", "id", "env", "owner:/made", "owner:/server")
	u.Env = []string{"OWN=1", "FROM=unit"}
	says(t, g.run(u), "id 1000 1001 [44] /made/for it "+string(u.Backend), "OWN=1", "FROM=unit", "HOME=/srv/app", "PATH="+defaultPath,
		"owner:/made 0 0 drwxr-xr-x", "owner:/server 0 0 -rwxr-xr-x")
	u = g.unit("/server", "show", "id")
	u.Executable.User, u.Executable.Dir = "7:video", "/"
	says(t, g.run(u), "id 7 44 [] / "+string(u.Backend))
}

func TestEntrypointAndCommand(t *testing.T) {
	g := newRig(t)
	g.image.config.Entrypoint, g.image.config.Cmd = []string{"/server", "show"}, []string{"id"}
	g.image.config.WorkingDir = "/"
	says(t, g.run(g.unit()), "id 0 0 [] / b1")
}

func TestTheSandboxIsClosed(t *testing.T) {
	g := newRig(t)
	out := g.run(g.unit("/server", "show", "/proc/self/status", "/proc/self/uid_map", "/proc/interrupts", "/proc/self/mountinfo",
		"write:/proc/sys/kernel/hostname", "write:/sys/kernel/x", "/etc/hosts", "/etc/resolv.conf", "size:/tmp", "size:/dev/shm", "/proc/net/dev"))
	for _, want := range []string{
		`CapBnd:\s+0{16}\n`, `CapEff:\s+0{16}\n`, `CapPrm:\s+0{16}\n`, `CapAmb:\s+0{16}\n`, `NoNewPrivs:\s+1\n`, `Seccomp:\s+2\n`,
		`\s0\s+100000\s+65536\n`, `write:/proc/sys/kernel/hostname .*(read-only|denied)`, `write:/sys/kernel/x .*(read-only|denied)`,
		`127.0.0.1\tlocalhost b1\n`, `size:/tmp 67108864\n`, `size:/dev/shm 67108864\n`, `/proc/interrupts: <nil>`,
	} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("no %s in\n%s", want, out)
		}
	}
	for _, never := range []string{"cgroup", "eth0", g.home.Dir + "/bundles"} {
		if i := strings.Index(out, never); i >= 0 && never != g.home.Dir+"/bundles" {
			t.Errorf("shows %s: %q", never, out[max(0, i-100):min(len(out), i+100)])
		}
	}
}

func TestLimitsAreThereInside(t *testing.T) {
	g := newRig(t)
	u := g.unit("/server", "show", "limits")
	u.Executable.Limits = plane.ResourceLimits{CPUTimeLimit: ptr(int64(7)), OpenFilesLimit: ptr(int64(99)), MemoryLimitBytes: ptr(int64(64 << 20)), PidsLimit: ptr(int64(50))}
	says(t, g.run(u), "limits 7 7 99")
}

func TestReadOnlyRootAndSmallTmp(t *testing.T) {
	g := newRig(t, func(o *Options) { o.TmpfsSize = 1 << 20 })
	u := g.unit("/server", "show", "write:/x", "write:/tmp/x", "size:/tmp")
	u.Executable.ReadOnly = true
	says(t, g.run(u), "write:/x open /x: read-only file system", "write:/tmp/x <nil>", "size:/tmp 1048576")
}

func TestADiskHasItsLimit(t *testing.T) {
	g := newRig(t)
	const limit = 8 << 20
	u := g.unit("/server", "fill", "/big")
	u.Executable.Limits.DiskLimitBytes = ptr(int64(limit))
	out := g.run(u)
	var n int
	if _, err := fmt.Sscan(out, &n); err != nil || !strings.Contains(out, "no space left on device") || n > limit || n < limit/2 {
		t.Errorf("%q, %v", out, err)
	}
	u = g.unit("/server", "exit", "0")
	u.Executable.Limits.DiskLimitBytes = ptr(int64(4096))
	if _, err := g.r.Start(g.Ctx(), u); err == nil || !strings.Contains(err.Error(), "disk_limit_bytes is 4096") {
		t.Errorf("a disk that can't be: %v", err)
	}
}

func TestAMachineWithoutWhatDisksNeedSaysSo(t *testing.T) {
	needs(t)
	t.Setenv("PATH", "/nowhere") // mkfs is found where such programs are
	mkfs, err := find("mkfs.ext4")
	if err != nil {
		t.Fatal(err)
	}
	h, err := look(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer h.close()
	for want, hide := range map[string]func() error{
		"":                                    func() error { return nil },
		"needs mkfs.ext4, which this machine": func() error { return unix.Mount("/dev/null", mkfs, "", unix.MS_BIND, "") },
		"gives no loop devices (/dev/loop-cont": func() error {
			return errors.Join(unix.Mount("tmpfs", "/dev", "tmpfs", 0, ""), unix.Mknod("/dev/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
		},
	} {
		at, b := t.TempDir(), bundle{t.TempDir()}
		err := means.Aside(func() error { // all that is mounted is seen by this thread alone
			if err := enterCopy(h); err != nil {
				return err
			}
			if err := hide(); err != nil {
				return fmt.Errorf("hide: %w", err)
			}
			return b.disk(at, 4<<20, shift)
		})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("want %q: %v", want, err)
		}
	}
}

func TestDataBelongsToTheImagesUser(t *testing.T) {
	g := newRig(t)
	dir := filepath.Join(g.home.Dir, "volume")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		u := g.unit("/server", "show", "write:/plane-data/mine", "owner:/plane-data", "owner:/plane-data/mine")
		u.Executable.User, u.Data, u.DataNew = "app", dir, i == 0
		says(t, g.run(u), "write:/plane-data/mine <nil>", "owner:/plane-data 1000 1001 drwx------", "owner:/plane-data/mine 1000 1001 -rw-r--r--")
	}
	st, err := os.Stat(filepath.Join(dir, "mine"))
	if err != nil {
		t.Fatal(err)
	}
	if uid := st.Sys().(*syscall.Stat_t).Uid; uid != 1000 {
		t.Errorf("on the disk it belongs to %d: another runtime would find it strange", uid)
	}
}

func TestTrap42_MountsStayBelowTheBase(t *testing.T) {
	base := t.TempDir()
	g := newRig(t, func(o *Options) { o.MountBase = base })
	mount := func(m any) planeruntime.Unit {
		u := g.unit("/server", "show", "write:/plane-data/x")
		u.Executable.Mount, _ = json.Marshal(m)
		return u
	}
	u := mount(true)
	u.Key.Name = "../../etc"
	says(t, g.run(u), "write:/plane-data/x <nil>")
	if _, err := os.Stat(filepath.Join(base, u.Key.Hash(), "x")); err != nil {
		t.Error(err)
	}
	says(t, g.run(mount("some/where")), "write:/plane-data/x <nil>")
	if _, err := os.Stat(filepath.Join(base, "some/where/x")); err != nil {
		t.Error(err)
	}
	outside := t.TempDir()
	if err := os.Symlink(outside, filepath.Join(base, "link")); err != nil {
		t.Fatal(err)
	}
	for _, m := range []string{"../up", "link", "link/below"} {
		if _, err := g.r.Start(g.Ctx(), mount(m)); err == nil {
			t.Errorf("mount %s was made", m)
		}
	}
	if left, _ := os.ReadDir(outside); len(left) > 0 {
		t.Errorf("made outside: %v", left)
	}
	g.r.opts.MountBase = ""
	if out := g.run(mount(true)); !strings.Contains(out, "no such file") {
		t.Errorf("without a base: %q", out)
	}
}

func TestTheSocketIsReachedByEveryUser(t *testing.T) {
	g := newRig(t)
	u := g.unit("/server", "show", "dial:/run/plane/socket")
	u.Executable.User = "app"
	u.Doors = g.home.DoorDir(u.Backend)
	if err := os.MkdirAll(u.Doors, 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(u.Doors, "socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	says(t, g.run(u), "dial:/run/plane/socket <nil>")
}

func TestWhatCantRunSaysWhy(t *testing.T) {
	g := newRig(t)
	g.unpack(map[string]string{"plain": "text", "odd": "\x7fELF that is none", "script": "#!/no/such\n"})
	if err := os.Chmod(filepath.Join(g.layer, "plain"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ word, user, want string }{
		{"/none", "", `image test has no command "/none"`},
		{"none", "", `image test has no command "none" in PATH`},
		{"/etc", "", `"/etc" is a directory`},
		{"/plain", "", `"/plain" of image test may not be executed`},
		{"/server", "nobody", `user "nobody" is not in the image's /etc/passwd`},
		{"/server", "0:none", `group "none" is not in the image's /etc/group`},
		{"/server", "70000", `has the number 70000`},
	} {
		u := g.unit(c.word)
		u.Executable.User = c.user
		_, err := g.r.Start(g.Ctx(), u)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s as %q: %v", c.word, c.user, err)
		}
	}
	for _, word := range []string{"/odd", "/script"} {
		p, err := g.r.Start(g.Ctx(), g.unit(word))
		if err != nil {
			if !strings.Contains(err.Error(), word) && !strings.Contains(err.Error(), "format") {
				t.Errorf("%s: %v", word, err)
			}
			continue
		}
		if exit := g.wait(p); exit.Code != nil && *exit.Code == 0 || exit.Output == "" {
			t.Errorf("%s ended as %+v", word, exit)
		}
	}
	g.image.config.Entrypoint = nil
	if _, err := g.r.Start(g.Ctx(), g.unit()); err == nil || !strings.Contains(err.Error(), "names no command") {
		t.Errorf("without a command: %v", err)
	}
	if _, err := g.r.Start(g.Ctx(), planeruntime.Unit{Backend: "c"}); !errors.Is(err, errNoImage) {
		t.Errorf("without an image: %v", err)
	}
}

func TestItIsAskedToEndByTheSignalOfItsImage(t *testing.T) {
	for word, want := range map[string]string{"": "terminated", "SIGUSR1": "user defined signal 1", "10": "user defined signal 1", "SIGNONE": "terminated"} {
		t.Run("signal "+word, func(t *testing.T) {
			g := newRig(t)
			g.image.config.StopSignal = word
			u := g.unit("/server", "own-signal")
			g.start(u)
			g.Eventually("it is ready", func() bool { return g.output(u) == "ready\n" })
			g.r.Close()
			g.r = g.runtime() // it outlives the agent
			p, err := g.r.Attach(g.Ctx(), u.Backend)
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Stop(g.Ctx(), plane.Soft); err != nil {
				t.Fatal(err)
			}
			g.wait(p)
			says(t, g.output(u), "asked by "+want)
		})
	}
}
