package examples

import (
	"net/http"
	"strings"
	"testing"

	"plane/internal/clustertest"
)

func TestAnUnmodifiedPythonServerServesEachKeyByItself(t *testing.T) {
	t.Parallel()
	clustertest.Program(t, "python3")
	d := clustertest.StartDevFile(t, "python/plane.yaml")
	for _, key := range []string{"docs", "notes"} {
		if status, body := d.Get(key, "/"); status != http.StatusOK || !strings.Contains(body, "Files from Python") {
			t.Errorf("%s: %d %s", key, status, body)
		}
	}
	if status, _ := d.Get("docs", "/no-such-file"); status != http.StatusNotFound {
		t.Errorf("what isn't there: %d", status)
	}
	docs, _ := d.Backend("docs")
	notes, _ := d.Backend("notes")
	if docs.BackendID == "" || docs.BackendID == notes.BackendID {
		t.Errorf("not one process per key: %+v %+v", docs, notes)
	}
	d.KillBackend("docs")
	status, body := d.Get("docs", "/")
	for range 50 { // one that was sent while it died isn't sent to the next one
		if status != http.StatusServiceUnavailable {
			break
		}
		status, body = d.Get("docs", "/")
	}
	if status != http.StatusOK {
		t.Errorf("after a kill: %d %s", status, body)
	}
	if again, _ := d.Backend("docs"); again.Generation <= docs.Generation {
		t.Errorf("generation %d, then %d", docs.Generation, again.Generation)
	}
}
