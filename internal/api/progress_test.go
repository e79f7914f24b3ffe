package api_test

import (
	"bufio"
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"plane/client"
	"plane/internal/api"
	"plane/internal/api/apitest"
)

// TestProgressIsToldWithoutAnID: an id would be what the stream resumes from.
func TestProgressIsToldWithoutAnID(t *testing.T) {
	s, d := slowSite(t)
	d.Tell("one", "pulling", 1, 0)
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	r, err := http.NewRequestWithContext(ctx, "GET", s.URL+"/pub/b/one/status-stream?progress=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	lines := bufio.NewScanner(resp.Body)
	until := func(want string) {
		t.Helper()
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), "id: ") && strings.Contains(want, "percent") {
				t.Errorf("an id before %s: %s", want, lines.Text())
			}
			if lines.Text() == want {
				return
			}
		}
		t.Fatalf("no %s: %v", want, lines.Err())
	}
	until("id: loading")
	until("event: progress")
	until(`data: {"text":"pulling","done_bytes":1,"total_bytes":null,"percent":null}`)
	d.Tell("one", "pulling", 512, 3000)
	until("event: progress")
	until(`data: {"text":"pulling","done_bytes":512,"total_bytes":3000,"percent":17}`)
	d.Finish("one")
	until("id: ready")
	if _, answer := s.Do(t, "GET", "/pub/b/one/status-stream?progress=maybe", ""); !strings.Contains(answer, "progress is") {
		t.Error(answer)
	}
}

func slowSite(t *testing.T) (*apitest.Site, *apitest.Drone) {
	t.Helper()
	s := apitest.New(t, api.Options{Insecure: true})
	d := s.StartDrone(t, nil)
	if resp, answer := s.Do(t, "POST", "/ctrl/connect", `{"key":{"name":"slow"},"spawn_config":{"id":"one",`+spawnEcho+`}}`); resp.StatusCode != http.StatusOK {
		t.Fatal(answer)
	}
	eventually(t, "it isn't loading", func() bool {
		_, answer := s.Do(t, "GET", "/pub/b/one/status", "")
		return strings.Contains(answer, `"loading"`)
	})
	return s, d
}

func TestTheClientTellsStatusesAndProgressInOrder(t *testing.T) {
	s, d := slowSite(t)
	c := clientOf(t, s)
	d.Tell("one", "pulling", 1, 4)
	seen := make(chan string, 100)
	enough := errors.New("enough")
	ended := make(chan error, 1)
	go func() {
		ended <- c.FollowProgress(t.Context(), "one", "", func(e client.StatusEntry) error {
			seen <- string(e.Status)
			if e.Status == "ready" {
				return enough
			}
			return nil
		}, func(p client.Progress) error {
			seen <- p.Text
			if p.Percent == nil || *p.Percent != 25 {
				t.Errorf("%+v", p)
			}
			return nil
		})
	}()
	for got := range seen {
		if got == "pulling" {
			break
		}
	}
	d.Finish("one")
	if err := <-ended; !errors.Is(err, enough) {
		t.Error(err)
	}
	close(seen)
	var rest []string
	for got := range seen {
		rest = append(rest, got)
	}
	if strings.Join(rest, " ") != "starting waiting ready" {
		t.Error(rest)
	}
}
