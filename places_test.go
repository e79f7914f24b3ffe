package plane_test

import (
	"bytes"
	"os"
	"regexp"
	"testing"
)

// The brackets in these keep this file from matching itself.
var (
	// elsewhere is what only one machine has, home and build directories, and
	// hosts that packages come from.
	elsewhere = regexp.MustCompile(`/(wor[k]|far[m]|hom[e]|User[s])/[a-zA-Z.]` +
		`|registry[.]npm|proxy[.]golan|deb[.]debia|(index|static)[.]crate|files[.]pythonh|repo1?[.]mave`)
	// unfinished is what says that something is still to be done.
	unfinished = regexp.MustCompile(`\b(TOD[O]|FIXM[E]|XX[X]|HAC[K])\b|not implemente[d]|panic\("unimplemente[d]`)
)

func TestNothingNamesAMachineOrAPackageHost(t *testing.T) {
	nowhere(t, elsewhere, "which is not everybody's")
}

func TestNothingIsLeftToBeDone(t *testing.T) {
	nowhere(t, unfinished, "so it isn't done")
}

// nowhere fails for each line of the repository that matches re.
func nowhere(t *testing.T, re *regexp.Regexp, why string) {
	t.Helper()
	sources(t, func(path string) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.IndexByte(b, 0) >= 0 {
			return // binary
		}
		for n, line := range bytes.Split(b, []byte("\n")) {
			if m := re.Find(line); m != nil {
				t.Errorf("%s:%d says %q, %s", path, n+1, m, why)
			}
		}
	})
}
