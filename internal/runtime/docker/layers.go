package docker

import (
	"github.com/moby/moby/api/types/jsonstream"

	"plane/internal/runtime"
)

// layers sums up what the engine tells of the layers of a pull, one by one.
type layers struct {
	of map[string]*layer
}

type layer struct{ done, total, unpacked int64 }

// add takes one message; news is whether it changes anything. Bytes are those
// of the packed layers: first of those downloaded; when these are all there, of
// those unpacked.
func (l *layers) add(m jsonstream.Message) (p runtime.Progress, news bool) {
	if m.ID == "" {
		return p, false
	}
	if l.of == nil {
		l.of = map[string]*layer{}
	}
	at := l.of[m.ID]
	if at == nil {
		at = &layer{}
		l.of[m.ID] = at
	}
	current := int64(0)
	if m.Progress != nil {
		current = m.Progress.Current
		at.total = max(at.total, m.Progress.Total)
	}
	switch m.Status {
	case "Downloading":
		at.done = max(at.done, current)
	case "Verifying Checksum", "Download complete":
		at.done = at.total
	case "Extracting":
		at.done, at.unpacked = at.total, max(at.unpacked, current)
	case "Pull complete":
		at.done, at.unpacked = at.total, at.total
	default:
		return p, false
	}
	p.Text = "pulling"
	var unpacked int64
	for _, x := range l.of {
		p.Done += x.done
		p.Total += x.total
		unpacked += x.unpacked
	}
	if p.Done == p.Total && unpacked > 0 {
		p.Text, p.Done = "unpacking", unpacked
	}
	return p, true
}
