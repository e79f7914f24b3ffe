package oci

import (
	"slices"
	"strings"
	"testing"

	"plane"
)

// What the kinds of hosts look like that this machine isn't.
func TestCgroupsOfEveryHost(t *testing.T) {
	const (
		v1 = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n"
		v2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n"
		un = "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
	)
	for _, c := range []struct{ mounts, kind, hide string }{
		{v1, "v1", ""},
		{v2, "v2", ""},
		{v1 + un, "hybrid", "/sys/fs/cgroup/unified"},
		{"22 1 0:20 / /proc rw - proc proc rw\n", "none", ""},
	} {
		if kind, hide := cgroupKind(c.mounts); kind != c.kind || strings.Join(hide, " ") != c.hide {
			t.Errorf("%q: %s, hide %v", c.mounts, kind, hide)
		}
	}
}

func TestOldKernelsCountAllSandboxesTogether(t *testing.T) {
	for release, want := range map[string]bool{"6.1.0-18-amd64": true, "5.14.0": true, "5.10.0-28-arm64": false, "4.19": false, "strange": false} {
		if got := countsApart(release); got != want {
			t.Errorf("%s: %v", release, got)
		}
	}
	r := newRuntime(nil, Options{NoUserNS: true})
	if l := r.limits(&host{ownCounts: true}, plane.ResourceLimits{}); l.PidsLimit == nil {
		t.Error("a sandbox of the machine's own users may fork without end")
	}
}

func TestUsersAreResolvedAsByEngines(t *testing.T) {
	passwd := []byte("root:x:0:0::/root:/bin/sh\n# no line\nbroken\napp:x:1000:1001::/srv/app:/bin/sh\nbig:x:70000:70000::/:\n")
	group := []byte("root:x:0:\nwheel:x:10:root,app\napp:x:1001:app\nvideo:x:44:app,other\n")
	for word, want := range map[string]user{
		"":           {0, 0, []uint32(nil), "/root"},
		"app":        {1000, 1001, []uint32{10, 44}, "/srv/app"},
		"1000":       {1000, 1001, []uint32{10, 44}, "/srv/app"},
		"app:video":  {1000, 44, nil, "/srv/app"},
		"1234":       {1234, 0, nil, "/"},
		"1234:55":    {1234, 55, nil, "/"},
		"root:wheel": {0, 10, nil, "/root"},
	} {
		got, err := resolve(word, passwd, group)
		if word == "" {
			got.groups = slices.DeleteFunc(got.groups, func(g uint32) bool { return g == 10 })
			want.groups = got.groups
		}
		if err != nil || got.uid != want.uid || got.gid != want.gid || !slices.Equal(got.groups, want.groups) || got.home != want.home {
			t.Errorf("%q: %+v, %v", word, got, err)
		}
	}
	for _, word := range []string{"nobody", "app:none", "big", "65536", "1:65536"} {
		if u, err := resolve(word, passwd, group); err == nil {
			t.Errorf("%q is %+v", word, u)
		}
	}
	if u, err := resolve("", nil, nil); err != nil || u.uid != 0 || u.home != "/" {
		t.Errorf("an image without files: %+v, %v", u, err)
	}
}

func TestAnEntryPointIsReplacedWhole(t *testing.T) {
	p := &picture{name: "x", config: config{Entrypoint: []string{"a", "b"}, Cmd: []string{"c"}, WorkingDir: "rel"}}
	for _, c := range []struct {
		x    plane.Executable
		want string
		dir  string
	}{
		{plane.Executable{}, "a b c", "/rel"},
		{plane.Executable{Command: []string{"d"}, Dir: "/w"}, "d", "/w"},
	} {
		argv, err := p.argv(c.x)
		if err != nil || strings.Join(argv, " ") != c.want || p.dir(c.x) != c.dir {
			t.Errorf("%v in %s, %v", argv, p.dir(c.x), err)
		}
	}
	if _, err := (&picture{name: "x"}).argv(plane.Executable{}); err == nil {
		t.Error("nothing is a command")
	}
	env := p.environment([]string{"A=1", "PATH=/x", "A=2"}, user{home: "/h"}, "host")
	if value(env, "A") != "2" || value(env, "PATH") != "/x" || value(env, "HOME") != "/h" || value(env, "HOSTNAME") != "host" {
		t.Errorf("%v", env)
	}
}
