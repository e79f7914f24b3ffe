package warden

import (
	"context"
	"fmt"
	"os"
	"time"

	"plane"
	"plane/internal/drone/home"
	"plane/internal/drone/means"
)

// Bequest is what a reaper holds of one backend beside the warden.
type Bequest struct {
	Identity means.Identity
	pipe     int           // the reading end of its output, -1 = none; never read here
	Handle   *means.Handle // nil = none
}

// Close gives the descriptors back.
func (b *Bequest) Close() {
	closeAll([]int{b.pipe})
	b.pipe = -1
	if b.Handle != nil {
		b.Handle.Close()
	}
}

// Testament is a reaper's connection to the warden.
type Testament struct{ conn *conn }

// Word is what a warden says to its reaper.
type Word struct {
	Hold  *Bequest        // hold this too; it completes an earlier one of the backend
	Drop  plane.BackendID // let go of this
	Begin string          // the instance: everything that is to be held follows
	All   bool            // that was everything
	Leave bool            // the warden leaves, and so should the reaper
}

// Bequeath connects a reaper and shows the warden what it holds. A warden that
// is new takes over from that; instance is that of the former warden, "" for
// none.
func Bequeath(ctx context.Context, h home.Home, instance string, all []*Bequest) (*Testament, error) {
	c, err := connect(ctx, h)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, c.close)
	defer stop()
	c.patience = time.Minute
	err = c.send(&message{Type: typeHello, Hello: &hello{Version: version, Role: roleReaper, Pid: os.Getpid(), Instance: instance}})
	for _, b := range all {
		if err != nil {
			break
		}
		what := held{Backend: b.Identity.Backend, Pid: b.Identity.Pid, Start: b.Identity.Start, Group: b.Identity.Group}
		var fds []int
		if b.pipe >= 0 {
			what.Pipe, fds = true, append(fds, b.pipe)
		}
		dup := -1
		if b.Handle != nil {
			if dup = b.Handle.Duplicate(); dup >= 0 {
				what.Pidfd, fds = true, append(fds, dup)
			}
		}
		err = c.send(&message{Type: typeHeld, Held: &what}, fds...)
		closeAll([]int{dup})
	}
	if err == nil {
		err = c.send(&message{Type: typeAll})
	}
	if err != nil {
		c.close()
		return nil, fmt.Errorf("show the warden what is held: %w", err)
	}
	return &Testament{c}, nil
}

// Next waits for the warden's next word. An error means that the warden is gone,
// or doesn't want this connection any more.
func (t *Testament) Next() (Word, error) {
	for {
		m, fds, err := t.conn.receive()
		if err != nil {
			return Word{}, err
		}
		switch m.Type {
		case typeHeld:
			pipe, pidfd := m.Held.take(fds)
			b := &Bequest{pipe: pipe, Identity: means.Identity{
				Backend: m.Held.Backend, Pid: m.Held.Pid, Start: m.Held.Start, Group: m.Held.Group,
			}}
			if b.Identity.Pid != 0 {
				b.Handle = means.NewHandle(b.Identity, pidfd)
			}
			return Word{Hold: b}, nil
		case typeDrop:
			return Word{Drop: m.Backend}, nil
		case typeBegin:
			return Word{Begin: m.Instance}, nil
		case typeAll:
			return Word{All: true}, nil
		case typeLeave:
			return Word{Leave: true}, nil
		case typeFailed:
			return Word{}, m.err()
		}
		closeAll(fds)
	}
}

// Close ends the connection.
func (t *Testament) Close() {
	t.conn.close()
}

// Release gives back what came and wasn't taken; for the reader, at its end.
func (t *Testament) Release() { t.conn.release() }

// Absorb takes over from more what b lacks, and closes the rest of it.
func (b *Bequest) Absorb(more *Bequest) {
	if b.pipe < 0 {
		b.pipe, more.pipe = more.pipe, -1
	}
	if b.Handle == nil {
		b.Handle, more.Handle = more.Handle, nil
		b.Identity = more.Identity
	}
	more.Close()
}
