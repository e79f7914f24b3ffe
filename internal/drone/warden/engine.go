package warden

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"plane"
	"plane/internal/drone/home"
)

// engine signals containers through their engine, where they can't be signalled
// directly: they are another user's unless the drone runs as root, and another
// machine's under Docker Desktop. Whoever asks the engine to start containers
// writes down where it is; where nobody has, nothing is asked.
type engine struct {
	home home.Home
	log  *slog.Logger
	all  sync.WaitGroup

	mu    sync.Mutex // guards asked
	asked map[plane.BackendID]bool
}

// engineAnswers is how long an engine that works takes at most.
const engineAnswers = 2 * time.Second

// signal asks for a signal, "KILL" or "TERM", unless that is under way for this
// backend. It doesn't wait.
func (e *engine) signal(id plane.BackendID, sig string) {
	socket, err := os.ReadFile(e.home.Engine())
	if err != nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.asked[id] {
		return
	}
	if e.asked == nil {
		e.asked = map[plane.BackendID]bool{}
	}
	e.asked[id] = true
	e.all.Go(func() {
		if err := e.ask(strings.TrimSpace(string(socket)), id, sig); err != nil {
			e.log.Warn("a container's engine doesn't end it; it is asked again", "backend", id, "error", err)
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.asked, id)
	})
}

// ask finds what runs of the backend and is this drone's, and has it signalled.
func (e *engine) ask(socket string, id plane.BackendID, sig string) error {
	ctx, cancel := context.WithTimeout(context.Background(), engineAnswers)
	defer cancel()
	t := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	filters, err := json.Marshal(map[string][]string{"name": {"^/?" + home.Container(id) + "$"}, "label": {home.DroneLabel + "=" + e.home.Hash()}})
	if err != nil {
		return err
	}
	var found []struct{ ID string }
	body, err := request(ctx, t, http.MethodGet, "/containers/json?filters="+url.QueryEscape(string(filters)))
	if err == nil {
		err = json.Unmarshal(body, &found)
	}
	if err != nil {
		return err
	}
	for _, c := range found {
		if _, err := request(ctx, t, http.MethodPost, "/containers/"+c.ID+"/kill?signal="+sig); err != nil {
			return err
		}
	}
	return nil
}

func request(ctx context.Context, t http.RoundTripper, method, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://engine"+path, nil)
	if err != nil {
		return nil, err
	}
	res, err := t.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	switch {
	case err != nil:
		return nil, err
	case res.StatusCode == http.StatusNotFound, res.StatusCode == http.StatusConflict:
		return nil, nil // it has ended meanwhile
	case res.StatusCode >= 300:
		return nil, fmt.Errorf("it answers %s: %s", res.Status, strings.TrimSpace(string(body)))
	}
	return body, nil
}
