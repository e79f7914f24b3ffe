package means

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What the kinds of hosts look like that this machine isn't.
func TestAPlaceIsReadOnEveryHost(t *testing.T) {
	pure, hybrid := t.TempDir(), t.TempDir()
	if err := os.Mkdir(filepath.Join(hybrid, "unified"), 0o755); err != nil {
		t.Fatal(err)
	}
	if p := parsePlace("0::/plane-x/b\n", pure); p.V2 != pure+"/plane-x/b" || len(p.V1) != 0 || p.Join() != "" {
		t.Errorf("v2: %+v", p)
	}
	p := parsePlace("12:pids:/\n8:memory:/plane-x/b\n4:cpu,cpuacct:/plane-x/b\n1:name=systemd:/user\n0::/plane-x/b\n", hybrid)
	if p.V2 != hybrid+"/unified/plane-x/b" || len(p.V1) != 3 || p.of("memory") != hybrid+"/memory/plane-x/b" ||
		p.of("cpuacct") != hybrid+"/cpu,cpuacct/plane-x/b" || p.of("pids") != "" {
		t.Errorf("hybrid: %+v", p)
	}
	own := parsePlace("1:name=systemd:/user\n0::/\n", hybrid)
	if script := p.Beyond(own).Join(); strings.Contains(script, "systemd") || !strings.Contains(script, "echo $$ > '"+hybrid+"/memory/plane-x/b/cgroup.procs' || exit 126\n") {
		t.Errorf("the script is %q", script)
	}
}
