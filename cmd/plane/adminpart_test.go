package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

func openAdminAt(t *testing.T, addr string) (adminPart, error) {
	t.Helper()
	flags := pflag.NewFlagSet("x", pflag.ContinueOnError)
	bindAdmin(flags, "")
	if err := flags.Set("admin", addr); err != nil {
		t.Fatal(err)
	}
	a, err := openAdmin(flags, slog.New(slog.DiscardHandler), new(slog.LevelVar))
	t.Cleanup(a.close)
	return a, err
}

func TestTheAdminListenerIsForThisMachineOnly(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", ":0", "10.0.0.1:0", "example.org:0", "[::]:0", "9"} {
		_, err := openAdminAt(t, addr)
		if err == nil || !strings.Contains(err.Error(), "--admin") || !strings.Contains(err.Error(), "127.0.0.1:PORT") {
			t.Errorf("%s: %v", addr, err)
		}
	}
	for _, addr := range []string{"127.0.0.1:0", "localhost:0"} {
		a, err := openAdminAt(t, addr)
		if err != nil || len(a.parts()) != 1 || a.Registry() == nil {
			t.Errorf("%s: %v", addr, err)
		}
	}
	a, err := openAdminAt(t, "")
	if err != nil || a.parts() != nil || a.Registry() != nil {
		t.Error("a listener that nobody asked for:", err)
	}
	first, _ := openAdminAt(t, "127.0.0.1:0")
	if _, err := openAdminAt(t, first.l.Addr().String()); err == nil || !strings.Contains(err.Error(), "--admin") || !strings.Contains(err.Error(), "is taken") {
		t.Error("a port that is taken:", err)
	}
}

func TestEveryProcessTakesAdminAndItsTwin(t *testing.T) {
	t.Setenv("PLANE_ADMIN", "0.0.0.0:1")
	for _, line := range []string{
		"controller --port 0 --insecure", "proxy --insecure --controller-url http://127.0.0.1:1 --cluster x.example --http-port 0",
		"drone --insecure --runtimes process --controller-url http://127.0.0.1:1 --cluster x.example", "dev --api 127.0.0.1:0 --proxy 127.0.0.1:0 -- true",
	} {
		t.Setenv("XDG_STATE_HOME", t.TempDir())
		var stderr bytes.Buffer
		code := execute(t.Context(), strings.Fields(line), &bytes.Buffer{}, &stderr)
		if code != exitMisuse || !strings.Contains(stderr.String(), "--admin 0.0.0.0:1 isn't a loopback address") {
			t.Errorf("%s: exit %d: %s", line, code, stderr.String())
		}
	}
}

func TestAWrongLogLevelIsMisuse(t *testing.T) {
	var stderr bytes.Buffer
	code := execute(t.Context(), []string{"proxy", "--log-level", "loud"}, &bytes.Buffer{}, &stderr)
	if code != exitMisuse || !strings.Contains(stderr.String(), "use debug, info, warn or error") {
		t.Errorf("exit %d: %s", code, stderr.String())
	}
}

func TestVersionNamesTheBuild(t *testing.T) {
	set := func(v *string, to string) {
		before := *v
		*v = to
		t.Cleanup(func() { *v = before })
	}
	set(&version, "1.2.3")
	set(&commit, "0123456789abcdef0123456789abcdef01234567")
	set(&date, "2026-01-02T03:04:05Z")
	var out bytes.Buffer
	if code := execute(t.Context(), []string{"version"}, &out, &out); code != 0 || !strings.HasPrefix(out.String(), "plane 1.2.3 (01234567 of 2026-01-02) go") {
		t.Error(out.String())
	}
	out.Reset()
	execute(t.Context(), []string{"version", "--json"}, &out, &out)
	var b build
	if err := json.Unmarshal(out.Bytes(), &b); err != nil || b.Commit != commit || b.Hash != "01234567" || b.Date != date || b.Go == "" || b.System == "" {
		t.Errorf("%v %+v", err, b)
	}
}
