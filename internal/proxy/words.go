package proxy

import (
	"fmt"
	"net/http"
	"strings"

	"plane"
)

// progress is how a key's backend fares, for people who look at its page. Its
// JSON is an event of /_plane/status.
type progress struct {
	Status     plane.Status     `json:"status"` // "" = nothing runs
	Generation plane.Generation `json:"generation,omitempty"`
	Backend    plane.BackendID  `json:"backend_id,omitempty"`
	Address    string           `json:"address,omitempty"` // at which it is waited for, on the machine of plane dev
	Heading    string           `json:"heading"`
	Message    string           `json:"message"`
	Advice     string           `json:"advice,omitempty"`
	Output     string           `json:"output,omitempty"`
	Early      bool             `json:"early,omitempty"`    // it ended before it was ready
	Replaced   bool             `json:"replaced,omitempty"` // its app changed
	Changed    bool             `json:"changed,omitempty"`  // it isn't live, and its app changed since: load the page again
	Failed     bool             `json:"failed,omitempty"`   // nothing more happens by itself
	RetryMS    int64            `json:"retry_ms,omitempty"` // when to try again; 0 = when somebody wants to
}

// wordsOf says in words what a status means for whoever waits.
func wordsOf(s plane.Status) string {
	switch s {
	case plane.Scheduled:
		return "A machine was chosen and is being told."
	case plane.Loading:
		return "The machine prepares: files and directories."
	case plane.Starting:
		return "The program is being started."
	case plane.Waiting:
		return "The program runs. Waiting until it answers."
	case plane.Ready:
		return "Ready. Opening."
	case plane.Terminating, plane.HardTerminating:
		return "The last run is ending. A new one starts right after it."
	case plane.Terminated:
		return "The last run has ended."
	}
	return "Looking for a machine to run it."
}

// progressOf is that of a backend that runs, or has ended.
func progressOf(b *backend) progress {
	if b == nil {
		return progress{Heading: headStarting, Message: wordsOf("")}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	g := progress{Backend: b.id, Heading: headStarting}
	if b.route != nil {
		g.Status, g.Generation = b.route.Status, b.route.Generation
		if g.Status == plane.Waiting && strings.HasPrefix(b.route.Address, "127.0.0.1:") {
			g.Address = b.route.Address
		}
	}
	if b.gone != nil {
		g.Status, g.Address = plane.Terminated, ""
	}
	g.Message = wordsOf(g.Status)
	if g.Status == plane.Loading && b.route.Pull != nil {
		g.Message = pullWords(*b.route.Pull)
	}
	if b.gone != nil && b.last != nil {
		g.Message, g.Output = orText(b.last.Message, g.Message), b.last.Output
		g.Early, g.Replaced = b.last.Early, b.last.Replaced
	}
	return g
}

// pullWords says how far a preparation has come.
func pullWords(p plane.Pull) string {
	const mega = 1e6
	what := orText(p.Text, "preparing")
	what = strings.ToUpper(what[:1]) + what[1:]
	switch {
	case p.Total > 0 && p.Done <= p.Total:
		return fmt.Sprintf("%s: %d %%, %.1f of %.1f MB.", what, int(float64(p.Done)/float64(p.Total)*100), float64(p.Done)/mega, float64(p.Total)/mega)
	case p.Done > 0:
		return fmt.Sprintf("%s: %.1f MB so far.", what, float64(p.Done)/mega)
	}
	return what + "."
}

func orText(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// The headings of what is no answer of a controller.
const (
	headStarting = "Starting"
	headFailed   = "It ended before it was ready"
	headCut      = "It ended while it answered"
)

// progressOf is what the page of an answer that refuses says.
func (a answer) progress() progress {
	if a.show != nil {
		return *a.show
	}
	g := progress{
		Status: plane.Terminated, Heading: a.heading(), Message: strings.TrimSpace(a.text), Advice: adviceOn(a.kind, a.early, a.output, a.text),
		Output: a.output, Early: a.early, Failed: true,
	}
	if g.Message == "" {
		g.Message = messageOf(a.status)
	}
	if a.cut {
		g.Advice = "What it did for this page may have ended it, so the page doesn’t load again by itself. Starting again opens this address once more."
		return g
	}
	if a.status == http.StatusServiceUnavailable && !a.early {
		g.RetryMS = int64(a.retryAfter) * 1000
	}
	return g
}

func (a answer) heading() string {
	if a.early {
		return headFailed
	}
	if a.cut {
		return headCut
	}
	switch a.kind {
	case plane.CrashLoop:
		return "It ends right after each start"
	case plane.StartFailed:
		return headFailed
	case plane.NoDroneAvailable:
		return "No machine can take it"
	case plane.DataUnavailable:
		return "Its data can’t be reached"
	case plane.LimitExceeded:
		return "A limit is reached"
	case plane.NotFound:
		return "There is no such app"
	case plane.KeyHeldUnhealthy:
		return "Its machine can’t be reached"
	}
	switch a.status {
	case 400:
		return "This address leads nowhere"
	case 401:
		return "A link is needed"
	case 403:
		return "Not from here"
	case 404:
		return "Nothing is here"
	case 410:
		return "This link has ended"
	case 502, 504:
		return "The program doesn’t answer"
	case 503:
		return "Not now"
	}
	return http.StatusText(a.status)
}

// messageOf is a sentence for an answer that has none of its own.
func messageOf(status int) string {
	switch status {
	case 400:
		return "The address is incomplete. Open the whole link that you were given."
	case 403:
		return "This address doesn’t accept requests from that host or page. Open it by itself, with the host name that its link has."
	case 404:
		return "There is nothing at this address. Check the link."
	case 410:
		return "The session that this link led to has ended. Go back to the application and open it again."
	case 502:
		return "The program behind this address runs, but no connection to it succeeds. Load the page again in a moment; its output says more."
	case 503:
		return "No answer could be had in time. The page tries again by itself."
	case 504:
		return "The program behind this address took too long to answer. Load the page again."
	}
	return "The request can’t be answered."
}

// adviceOn says what to do about a refusal.
func adviceOn(kind plane.Kind, early bool, output, text string) string {
	switch {
	case (early || kind == plane.StartFailed) && strings.Contains(text, "It never ran: "):
		return "Change what that names, then start it again."
	case (early || kind == plane.StartFailed) && output == "":
		return "A program must go on running and listen on 127.0.0.1:$PORT. What it printed is shown by: plane logs KEY. Change it, then start it again."
	case kind == plane.CrashLoop && output == "":
		return "Each try waits longer than the one before, a minute at most. What it printed is shown by: plane logs KEY. Change it; the page goes on by itself."
	case early || kind == plane.StartFailed:
		return "See its last lines, change what they name, then start it again."
	case kind == plane.CrashLoop:
		return "Each try waits longer than the one before, a minute at most. Change what its last lines name; the page goes on by itself."
	case kind == plane.NoDroneAvailable:
		return "Start a drone for this cluster, or undrain one; the page goes on by itself."
	case kind == plane.DataUnavailable:
		return "It goes on when that machine is back. Who can do without the data runs: plane data abandon KEY."
	case kind == plane.LimitExceeded:
		return "End something that is no longer needed, or raise the limit; the page goes on by itself."
	case kind == plane.KeyHeldUnhealthy:
		return "It goes on by itself, at the latest when the machine’s lease has run out."
	}
	return ""
}
