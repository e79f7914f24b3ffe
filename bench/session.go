package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"plane/internal/clustertest"
)

// session is what one section needs: a place, clean-ups, and a client. It
// stands in for a testing.TB.
type session struct {
	cleanups []func()
	client   *http.Client
}

type fatal struct{ error }

func inSession(f func(*session) (string, error)) (text string, err error) {
	s := &session{client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256, DialContext: (&net.Dialer{}).DialContext}}}
	defer func() {
		for i := len(s.cleanups) - 1; i >= 0; i-- {
			at := time.Now()
			s.cleanups[i]()
			if d := time.Since(at); d > time.Second {
				progress("clearing up: step %d took %v", i, d)
			}
		}
		if r := recover(); r != nil {
			f, ok := r.(fatal)
			if !ok {
				panic(r)
			}
			err = f.error
		}
	}()
	return f(s)
}

func (s *session) Helper()           {}
func (s *session) Fatal(args ...any) { panic(fatal{errors.New(fmt.Sprint(args...))}) }

func (s *session) Errorf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...)
}
func (s *session) Logf(format string, args ...any)   {}
func (s *session) Skip(args ...any)                  { s.Fatal(args...) }
func (s *session) Failed() bool                      { return false }
func (s *session) Fatalf(format string, args ...any) { panic(fatal{fmt.Errorf(format, args...)}) }
func (s *session) Cleanup(f func())                  { s.cleanups = append(s.cleanups, f) }

func (s *session) TempDir() string {
	d, err := os.MkdirTemp("", "plane-bench-")
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = os.RemoveAll(d) })
	return d
}

// dev starts `plane dev` with the echo server.
func (s *session) dev() *clustertest.Dev {
	b := clustertest.Build(s)
	return clustertest.StartDev(s, nil, b.Echo)
}

type connected struct {
	BackendID string `json:"backend_id"`
	URL       string `json:"url"`
	Kind      string `json:"kind"`
	Message   string `json:"message"`
}

// connect asks for the backend of key, to be started with the command.
func (s *session) connect(api, key string, command ...string) (connected, error) {
	body := map[string]any{"key": map[string]string{"name": key}}
	if len(command) > 0 {
		body["spawn_config"] = map[string]any{"executable": map[string]any{"command": command}}
	}
	b, err := json.Marshal(body)
	if err != nil {
		return connected{}, err
	}
	return s.connectBody(api, b)
}

func (s *session) connectBody(api string, body []byte) (connected, error) {
	var c connected
	resp, err := s.client.Post(api+"/ctrl/connect", "application/json", bytes.NewReader(body))
	if err != nil {
		return c, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&c); err != nil {
		return c, err
	}
	if resp.StatusCode != http.StatusOK {
		return c, fmt.Errorf("connect: %s: %s %s", resp.Status, c.Kind, c.Message)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	return c, nil
}

// get reads url, whose host may be any name of this machine, from addr.
func (s *session) get(addr, url string) error {
	_, rest, _ := strings.Cut(url, "://")
	host, path, _ := strings.Cut(rest, "/")
	req, err := http.NewRequest(http.MethodGet, "http://"+addr+"/"+path, nil)
	if err != nil {
		return err
	}
	req.Host = host
	resp, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET: %s", resp.Status)
	}
	return nil
}

func (s *session) terminate(api, id string) error {
	resp, err := s.client.Post(api+"/ctrl/b/"+id+"/hard-terminate", "application/json", strings.NewReader("null"))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// drained waits until at most left backends live.
func (s *session) drained(d *clustertest.Dev, left int) error {
	for range 600 {
		if len(d.Backends()) <= left {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return errors.New("backends did not end within 30 s")
}

// drain sends req and reads its answer to the end.
func drain(client *http.Client, req *http.Request) error {
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s", req.Method, req.URL.Path, resp.Status)
	}
	return nil
}

// text reads url from addr.
func (s *session) text(addr, url string) (string, error) {
	_, rest, _ := strings.Cut(url, "://")
	host, path, _ := strings.Cut(rest, "/")
	req, err := http.NewRequest(http.MethodGet, "http://"+addr+"/"+path, nil)
	if err != nil {
		return "", err
	}
	req.Host = host
	resp, err := s.client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}
