package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"plane"
	"plane/internal/controller"
	"plane/internal/drone"
)

func consoleTo(out *bytes.Buffer, asJSON bool) *console {
	return &console{json: asJSON, out: out, begun: map[plane.BackendID]bool{}, warned: map[string]bool{}}
}

var doc17 = plane.Key{Name: "doc-17"}

func moment(kind drone.MomentKind, m drone.Moment) drone.Moment {
	m.Kind, m.Backend, m.Key = kind, "b1", doc17
	return m
}

func endedWith(code int, output string) plane.State {
	return plane.State{Status: plane.Terminated, Exit: &plane.Exit{Code: &code, Output: output}}
}

func TestTheTerminalShowsALifeInLines(t *testing.T) {
	var out bytes.Buffer
	c := consoleTo(&out, false)
	c.listening(listening{API: "http://127.0.0.1:8080", Proxy: "http://localhost:9090"}, []shownApp{
		{Name: "board", URL: "http://KEY.localhost:9090/", Default: true, Runs: "./board"},
		{Name: "draw", URL: "http://KEY--draw.localhost:9090/", Runs: "./draw"},
	})
	c.Observe(moment(drone.MomentStarted, drone.Moment{}))
	c.Observe(moment(drone.MomentOutput, drone.Moment{Line: "hello"}))
	c.Observe(moment(drone.MomentReady, drone.Moment{Took: 12 * time.Millisecond}))
	for range 3 {
		c.Observe(moment(drone.MomentWarning, drone.Moment{Line: "listens everywhere"}))
	}
	c.Observe(moment(drone.MomentEnded, drone.Moment{State: endedWith(3, "bye\n")}))
	c.gaveUp(doc17, "b1", controller.CrashView{Count: 5, RetryIn: 1}, time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local))
	c.closed()
	want := `ready  http://KEY.localhost:9090/  ./board
       http://KEY--draw.localhost:9090/  ./draw
       each KEY has its own backend · all of them: http://localhost:9090/
       API http://127.0.0.1:8080 · Ctrl-C ends everything
[doc-17] starting
[doc-17] hello
[doc-17] ready after 12 ms
[doc-17] warning: listens everywhere
[doc-17] ended by itself with exit code 3
[doc-17] gave up until 03:04:05: it ended 5 times soon after its start; mend the program, then open the page again (plane why doc-17)
all backends have ended; what keys keep is there the next time
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

func TestWithoutOutputTheLastLinesOfAFailedStartAreTold(t *testing.T) {
	var out bytes.Buffer
	c := consoleTo(&out, false)
	c.quiet = true
	asked := 0
	c.ended = func(plane.Key, plane.BackendID) { asked++ }
	c.Observe(moment(drone.MomentStarted, drone.Moment{}))
	c.Observe(moment(drone.MomentOutput, drone.Moment{Line: "no config"}))
	c.Observe(moment(drone.MomentEnded, drone.Moment{State: endedWith(1, "no config\n")}))
	c.Observe(moment(drone.MomentReady, drone.Moment{}))
	stopped := endedWith(0, "served well\n")
	stopped.Reason = plane.External
	c.Observe(moment(drone.MomentEnded, drone.Moment{State: stopped}))
	want := "[doc-17] starting\n[doc-17] ended by itself with exit code 1\n  no config\n[doc-17] ready after 0 ms\n[doc-17] ended with exit code 0, because someone asked for it\n"
	if out.String() != want || asked != 1 {
		t.Errorf("asked %d times, got\n%s", asked, out.String())
	}
}

func TestJSONLinesAreEventsWithTimes(t *testing.T) {
	var out bytes.Buffer
	c := consoleTo(&out, true)
	c.early = []string{}
	c.warn("x") // as while apps are applied
	c.listening(listening{API: "http://127.0.0.1:8080", Proxy: "http://localhost:9090"}, []shownApp{{URL: "http://KEY.localhost:9090/", Default: true, Runs: "x"}})
	c.Observe(moment(drone.MomentStarted, drone.Moment{App: "board"}))
	c.Observe(moment(drone.MomentIdle, drone.Moment{}))
	c.Observe(moment(drone.MomentEnded, drone.Moment{State: endedWith(1, "no config\n")}))
	c.changed(change{App: "board", Path: "page.html", Replaced: 2, Text: "x"})
	c.closed()
	var kinds []string
	for line := range strings.Lines(out.String()) {
		var e map[string]any
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		if _, err := time.Parse(time.RFC3339, e["time"].(string)); err != nil {
			t.Error(err)
		}
		kinds = append(kinds, e["event"].(string))
		if e["event"] == "ended" && (e["output"] != "no config" || e["exit_code"] != 1.0) {
			t.Errorf("%v", e)
		}
	}
	if got := strings.Join(kinds, " "); got != "listening warning started idle ended changed closed" {
		t.Error(got)
	}
}
