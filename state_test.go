package plane_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"plane"
)

var update = flag.Bool("update", false, "write what is printed into golden files and docs")

// column is an event as the transition table heads it.
type column struct {
	name  string
	event plane.Event
}

func columns() []column {
	code := 3
	var all []column
	for _, k := range plane.EventKinds {
		switch k {
		case plane.EventStop:
			all = append(all,
				column{"stop, soft", plane.Event{Kind: k, Stop: plane.Soft, Reason: plane.External}},
				column{"stop, hard", plane.Event{Kind: k, Stop: plane.Hard, Reason: plane.KeyExpired}})
		default:
			all = append(all, column{string(k), plane.Event{Kind: k, Address: "127.0.0.1:1", Exit: plane.Exit{Code: &code}}})
		}
	}
	return all
}

// reached is a plausible state of each status.
func reached(s plane.Status) plane.State {
	st := plane.State{Status: s}
	switch s {
	case plane.Waiting, plane.Ready:
		st.Address = "127.0.0.1:1"
	case plane.Terminating:
		st.LastStatus, st.Termination, st.Reason = plane.Ready, plane.Soft, plane.Swept
	case plane.HardTerminating:
		st.LastStatus, st.Termination, st.Reason = plane.Ready, plane.Hard, plane.Swept
	case plane.Terminated:
		st.LastStatus, st.Termination, st.Reason, st.Exit = plane.Ready, plane.Soft, plane.Swept, &plane.Exit{}
	}
	return st
}

func transitions() string {
	var b strings.Builder
	b.WriteString("| from \\ event |")
	for _, c := range columns() {
		fmt.Fprintf(&b, " %s |", c.name)
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(columns())) + "\n")
	for _, s := range plane.Statuses {
		fmt.Fprintf(&b, "| **%s** |", s)
		for _, c := range columns() {
			cell := "–"
			if next, moved := reached(s).Next(c.event); moved {
				cell = string(next.Status)
			}
			fmt.Fprintf(&b, " %s |", cell)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func TestTransitionTableIsTheOneInTheDocs(t *testing.T) {
	const (
		path  = "docs/PROTOCOL.md"
		begin = "<!-- transitions: printed by TestTransitionTableIsTheOneInTheDocs -->\n"
		end   = "<!-- end -->\n"
	)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(b), begin)
	was, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no lines %q … %q", path, begin, end)
	}
	want := transitions()
	if was == want {
		return
	}
	if !*update {
		t.Fatalf("the table in %s isn't what Next does; run: go test . -run Transition -update\n%s", path, want)
	}
	if err := os.WriteFile(path, []byte(before+begin+want+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// anyEvent draws events of every kind, also ones that make no sense where they come.
func anyEvent() *rapid.Generator[plane.Event] {
	return rapid.Custom(func(t *rapid.T) plane.Event {
		e := plane.Event{Kind: rapid.SampledFrom(plane.EventKinds).Draw(t, "kind")}
		switch e.Kind {
		case plane.EventStarted:
			e.Address = rapid.SampledFrom([]string{"127.0.0.1:1", "127.0.0.1:2"}).Draw(t, "address")
		case plane.EventStop:
			e.Stop = rapid.SampledFrom([]plane.StopKind{plane.Soft, plane.Hard}).Draw(t, "stop")
			e.Reason = rapid.SampledFrom([]plane.Reason{plane.Swept, plane.External, plane.KeyExpired}).Draw(t, "reason")
		case plane.EventFailed, plane.EventExited:
			if rapid.Bool().Draw(t, "known") {
				code := rapid.IntRange(0, 255).Draw(t, "code")
				e.Exit.Code = &code
			}
		}
		return e
	})
}

// TestTrap03_StatusesOnlyRise: an own stop raises its own exit, soft becomes
// hard, everything comes twice and in any order.
func TestTrap03_StatusesOnlyRise(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := plane.State{Status: plane.Scheduled}
		var firstStop *plane.Event
		for _, e := range rapid.SliceOfN(anyEvent(), 0, 40).Draw(t, "events") {
			next, moved := s.Next(e)
			switch {
			case !moved && !reflect.DeepEqual(next, s):
				t.Fatalf("%+v is another state than %+v, and Next(%+v) says it isn't", next, s, e)
			case moved && next.Status.Order() <= s.Status.Order():
				t.Fatalf("%s after %s by %+v", next.Status, s.Status, e)
			case e.Kind == plane.EventExited && next.Status != plane.Terminated:
				t.Fatalf("%s after its end was seen", next.Status)
			}
			if moved && e.Kind == plane.EventStop && firstStop == nil && !s.Status.Ending() {
				firstStop = &e
			}
			if _, again := next.Next(e); moved && again {
				t.Fatalf("%+v moved %+v a second time", e, next)
			}
			consistent(t, next)
			s = next
		}
		if firstStop != nil && s.Reason != firstStop.Reason {
			t.Fatalf("reason %q, first stopped for %q", s.Reason, firstStop.Reason)
		}
	})
}

// consistent fails for a state whose fields contradict its status.
func consistent(t *rapid.T, s plane.State) {
	if s.Address != "" && s.Status != plane.Waiting && s.Status != plane.Ready {
		t.Fatalf("%s has an address", s.Status)
	}
	if (s.LastStatus != "") != s.Status.Ending() || s.LastStatus.Ending() {
		t.Fatalf("last status of %s is %q", s.Status, s.LastStatus)
	}
	if (s.Exit != nil) != (s.Status == plane.Terminated) {
		t.Fatalf("%s has exit %v", s.Status, s.Exit)
	}
	wantKind := map[plane.Status]plane.StopKind{plane.Terminating: plane.Soft, plane.HardTerminating: plane.Hard}
	if k, ok := wantKind[s.Status]; ok && s.Termination != k || !s.Status.Ending() && s.Termination != "" {
		t.Fatalf("termination of %s is %q", s.Status, s.Termination)
	}
	if (s.Reason == "") != (s.Termination == "") {
		t.Fatalf("termination %q for reason %q", s.Termination, s.Reason)
	}
}

func TestEveryOrderOfTheWholeLifeEndsTerminated(t *testing.T) {
	life := []plane.Event{
		{Kind: plane.EventAccepted},
		{Kind: plane.EventPrepared},
		{Kind: plane.EventStarted, Address: "127.0.0.1:1"},
		{Kind: plane.EventReady},
		{Kind: plane.EventStop, Stop: plane.Soft, Reason: plane.Swept},
		{Kind: plane.EventStop, Stop: plane.Hard, Reason: plane.Swept},
		{Kind: plane.EventExited},
	}
	rapid.Check(t, func(t *rapid.T) {
		s := plane.State{Status: plane.Scheduled}
		for _, e := range rapid.Permutation(append(life, life...)).Draw(t, "order") {
			s, _ = s.Next(e)
		}
		if s.Status != plane.Terminated {
			t.Fatalf("ends as %+v", s)
		}
	})
}

func TestSoftThenHardKeepsWhatWasBefore(t *testing.T) {
	s := plane.State{Status: plane.Ready, Address: "127.0.0.1:1"}
	s, _ = s.Next(plane.Event{Kind: plane.EventStop, Stop: plane.Soft, Reason: plane.Swept})
	s, moved := s.Next(plane.Event{Kind: plane.EventStop, Stop: plane.Hard, Reason: plane.External})
	want := plane.State{Status: plane.HardTerminating, LastStatus: plane.Ready, Termination: plane.Hard, Reason: plane.Swept}
	if !moved || !reflect.DeepEqual(s, want) {
		t.Errorf("%+v, want %+v", s, want)
	}
	zero := 0
	s, _ = s.Next(plane.Event{Kind: plane.EventExited, Exit: plane.Exit{Code: &zero}})
	if s.LastStatus != plane.Ready || s.Reason != plane.Swept || s.ExitError() {
		t.Errorf("%+v", s)
	}
}

// TestTrap05_AFailureOfSupervisionIsATransition: what can't be watched any
// more is killed, and what never ran has ended.
func TestTrap05_AFailureOfSupervisionIsATransition(t *testing.T) {
	failed := plane.Event{Kind: plane.EventFailed, Exit: plane.Exit{Message: "no such program"}}
	for _, s := range plane.Statuses {
		next, moved := reached(s).Next(failed)
		var want plane.Status
		switch s {
		case plane.Scheduled, plane.Loading, plane.Starting:
			want = plane.Terminated
			if next.Exit == nil || next.Exit.Message == "" {
				t.Errorf("%s: the reason is lost", s)
			}
		case plane.Waiting, plane.Ready:
			want = plane.HardTerminating
		default:
			want = s // already being ended
		}
		if next.Status != want || moved != (want != s) {
			t.Errorf("%s fails: %s, %v; want %s", s, next.Status, moved, want)
		}
	}
}

func TestStateKeepsItsJSON(t *testing.T) {
	code := 137
	for _, s := range append(each(plane.Statuses, reached), plane.State{
		Status: plane.Terminated, LastStatus: plane.Ready,
		Exit: &plane.Exit{Code: &code, Signal: "SIGKILL", OOM: true, Message: "m", Output: "o"},
	}) {
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var got plane.State
		if err := json.Unmarshal(b, &got); err != nil || !reflect.DeepEqual(got, s) {
			t.Errorf("%s reads as %+v, %v", b, got, err)
		}
	}
}

func each[A, B any](as []A, f func(A) B) []B {
	var bs []B
	for _, a := range as {
		bs = append(bs, f(a))
	}
	return bs
}

func TestStatusesAreListedInTheirOrder(t *testing.T) {
	last := 0
	for _, s := range plane.Statuses {
		if s.Order() <= last {
			t.Errorf("%s has order %d, after %d", s, s.Order(), last)
		}
		last = s.Order()
	}
	if n := plane.Status("gone").Order(); n != 0 {
		t.Errorf("an unknown status has order %d, want 0", n)
	}
}
