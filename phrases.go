package plane

import "fmt"

// What these say of ends, the controller's stories, `plane dev` and the command
// line all say.

// Phrase says why a backend was made to end, as the end of a sentence.
func (r Reason) Phrase() string {
	switch r {
	case Swept:
		return "it was idle, or at its lifetime limit"
	case External:
		return "someone asked for it"
	case KeyExpired:
		return "its drone's lease ran out"
	case Lost:
		return "nothing of it was found"
	case StartupTimeout:
		return "it wasn't ready in time"
	case InternalError:
		return "watching it failed"
	case "":
		return "it ended by itself"
	}
	return string(r)
}

// How says how a program ended, as the end of a sentence.
func (x Exit) How() string {
	switch {
	case x.Message != "":
		return fmt.Sprintf("because %q", x.Message)
	case x.OOM:
		return "because it used more memory than its limit"
	case x.Signal != "":
		return "by " + x.Signal
	case x.Code == nil:
		return "with an unknown exit code"
	}
	return fmt.Sprintf("with exit code %d", *x.Code)
}
