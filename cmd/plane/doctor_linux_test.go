package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"plane/internal/drone/offer"
)

func TestDoctorTellsWrongFromRemedy(t *testing.T) {
	f := ofImages(offer.Examined{Name: "oci", Missing: []string{
		"Neither crun nor runc is installed, one of which is needed; install crun (apt-get install crun).", "The kernel is odd.",
	}})
	if f.Status != levelWarn || f.Text != "Neither crun nor runc is installed, one of which is needed. The kernel is odd." || f.Remedy != "Install crun (apt-get install crun)." {
		t.Errorf("%+v", f)
	}
	f = ofImages(offer.Examined{Name: "oci", About: "It can be used: crun.", Lacks: []string{"Disks need mkfs.ext4; install e2fsprogs."}})
	if f.Status != levelWarn || f.Text != "It can be used: crun. Disks need mkfs.ext4." || f.Remedy != "Install e2fsprogs." {
		t.Errorf("%+v", f)
	}
	if f = ofImages(offer.Examined{Name: "oci", About: "It can be used: crun."}); f.Status != levelOK || f.Remedy != "" {
		t.Errorf("%+v", f)
	}
	if f = ofImages(offer.Examined{Name: "oci", Missing: []string{"Odd."}}); f.Remedy == "" {
		t.Errorf("no remedy: %+v", f)
	}
}

func TestDoctorKnowsTheLayoutsOfCgroups(t *testing.T) {
	v1 := t.TempDir()
	for _, c := range []string{"memory", "cpu", "pids"} {
		if err := os.Mkdir(filepath.Join(v1, c), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(v1, c, "tasks"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for root, says := range map[string][2]string{
		v1:                                 {"version 1 only", "mount -t cgroup2"},
		t.TempDir():                        {"There are none here", "resource_limits"},
		filepath.Join(t.TempDir(), "none"): {"There are none here", "resource_limits"},
	} {
		f := lookAtCgroups(root, "test").finding()
		if f.Status != levelWarn || !strings.Contains(f.Text, says[0]) || !strings.Contains(f.Remedy, says[1]) {
			t.Errorf("%s: %+v", root, f)
		}
	}
}

// doctorIn runs the doctor where a script has changed what the machine has, in a
// mount namespace of its own.
func doctorIn(t *testing.T, script string) map[string]finding {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-ec", script+"\nexec \"$@\"", "sh",
		os.Args[0], "-test.run=^TestDoctorElsewhere$")
	cmd.Env = append(os.Environ(), doctorDir+"="+filepath.Join(dir, "none"), "DOCKER_HOST=unix://"+filepath.Join(dir, "docker.sock"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var said struct{ Checks []finding }
	if err := json.NewDecoder(bytes.NewReader(out[max(0, bytes.IndexByte(out, '{')):])).Decode(&said); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	all := map[string]finding{}
	for _, f := range said.Checks {
		all[f.Check] = f
	}
	return all
}

const doctorDir = "PLANE_TEST_DOCTOR"

func TestDoctorElsewhere(t *testing.T) {
	dir := os.Getenv(doctorDir)
	if dir == "" {
		t.Skip("it is a part of others")
	}
	f := doctorFlags{stateFlags: stateFlags{dataDir: dir, json: true}, api: "127.0.0.1:0", proxy: "127.0.0.1:0"}
	if err := runDoctor(t.Context(), f, os.Stdout); err != nil {
		t.Fatal(err)
	}
}

// The real doctor on this machine, of which something is taken away.
func TestDoctorSaysExactlyWhatImagesMiss(t *testing.T) {
	for _, what := range []struct {
		missing bool
		name    string
	}{{os.Geteuid() != 0, "root"}, {absent("unshare"), "unshare"}, {absent("crun") && absent("runc"), "crun"}} {
		if !what.missing {
			continue
		}
		if os.Getenv("CI") != "" {
			t.Fatal("this test needs " + what.name)
		}
		t.Skip("this test needs " + what.name)
	}
	const hide = `for d in /usr/sbin /sbin /usr/local/sbin /usr/bin /bin; do if [ -e $d/$p ]; then mount --bind /dev/null $d/$p; fi; done`
	const ofVersion1 = `umount -R /sys/fs/cgroup; mount -t tmpfs none /sys/fs/cgroup; mkdir /sys/fs/cgroup/systemd; mount -t cgroup -o none,name=systemd none /sys/fs/cgroup/systemd`
	for _, c := range []struct {
		name, script, check  string
		status               level
		text, remedy, absent string
	}{
		{"as it is", "", "oci", "", "It can be used: ", "", ""},
		{"no engine", "", "docker", levelWarn, "docker.sock doesn't answer (no such file or directory).", "Start it, or set DOCKER_HOST.", ""},
		{"no crun or runc", "for p in crun runc; do " + hide + "; done", "oci", levelWarn, "Neither crun nor runc is installed", "apt-get install crun", ""},
		{"no mkfs.ext4", "p=mkfs.ext4; " + hide, "oci", levelWarn, "disk_limit_bytes needs mkfs.ext4", "Install e2fsprogs.", "loop"},
		{"cgroups of version 1", ofVersion1, "oci", levelWarn, "cgroups v1. resource_limits need cgroups of version 2", "Mount them: mount -t cgroup2", ""},
		{"cgroups of version 2", "umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup", "oci", "", "cgroups v2", "", ""},
		{"no cgroups", "umount -R /sys/fs/cgroup", "oci", levelWarn, "No cgroups are mounted", "Mount cgroup2 at /sys/fs/cgroup.", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := doctorIn(t, c.script)[c.check]
			if c.status != "" && f.Status != c.status || !strings.Contains(f.Text, c.text) || !strings.Contains(f.Remedy, c.remedy) || c.absent != "" && strings.Contains(f.Text, c.absent) {
				t.Errorf("%+v", f)
			}
		})
	}
}

func absent(program string) bool {
	_, err := exec.LookPath(program)
	return err != nil
}
