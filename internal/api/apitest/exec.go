package apitest

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"plane"
	"plane/internal/wire"
)

// exec is a scripted command; its first word says what it does:
//
//	say TEXT      TEXT to the output, "oops" to the error output, exit 0
//	exit N        exit N
//	cat           its input to its output until the input ends; on a terminal, until Ctrl-D
//	hang          nothing, and it takes no input
//	size          its terminal's size, at first and at each change; "q" ends it
//	flood N       N bytes, as the window allows
//	anything else the drone refuses
type exec struct {
	ask   wire.ExecAsk
	left  int64 // bytes that flood has still to say
	room  int64 // bytes that it may say now
	input []byte
	eof   bool
}

const floodPiece = 32 << 10

func (d *Drone) execLocked(m wire.ExecAsk) {
	x := &exec{ask: m, room: wire.ExecWindow}
	exit := func(code int) { _ = d.conn.Send(wire.ExecPart{ID: m.ID, Exit: &code}) }
	switch m.Argv[0] {
	case "say":
		_ = d.conn.Send(wire.ExecPart{ID: m.ID, Data: []byte(strings.Join(m.Argv[1:], " ") + "\n")})
		_ = d.conn.Send(wire.ExecPart{ID: m.ID, Data: []byte("oops\n"), Stderr: !m.TTY})
		exit(0)
	case "exit":
		code, _ := strconv.Atoi(m.Argv[1])
		exit(code)
	case "cat", "hang":
		d.execs[m.ID] = x
	case "size":
		d.execs[m.ID] = x
		d.saySizeLocked(m.ID, m.Rows, m.Cols)
	case "flood":
		x.left, _ = strconv.ParseInt(m.Argv[1], 10, 64)
		d.execs[m.ID] = x
		d.floodLocked(x)
	default:
		_ = d.conn.Send(wire.ExecPart{ID: m.ID, Error: fmt.Sprintf("There is no program %q in it.", m.Argv[0])})
	}
}

func (d *Drone) saySizeLocked(id int64, rows, cols uint16) {
	_ = d.conn.Send(wire.ExecPart{ID: id, Data: fmt.Appendf(nil, "%d x %d\n", rows, cols)})
}

func (d *Drone) execPartLocked(m wire.ExecPart) {
	x := d.execs[m.ID]
	if x == nil {
		return
	}
	switch x.ask.Argv[0] {
	case "cat":
		x.input, x.room, x.eof = append(x.input, m.Data...), x.room+m.Taken, x.eof || m.EOF || x.ask.TTY && bytes.Contains(m.Data, []byte{4})
		n := min(int64(len(x.input)), x.room)
		if n > 0 {
			_ = d.conn.Send(wire.ExecPart{ID: m.ID, Data: append([]byte(nil), x.input[:n]...), Taken: n})
		}
		x.input, x.room = x.input[n:], x.room-n
		if x.eof && len(x.input) == 0 {
			d.exitLocked(m.ID)
		}
	case "size":
		if m.Rows > 0 {
			d.saySizeLocked(m.ID, m.Rows, m.Cols)
		}
		if string(m.Data) == "q" {
			d.exitLocked(m.ID)
		}
	case "flood":
		x.room += m.Taken
		d.floodLocked(x)
	}
	if m.Kill {
		delete(d.execs, m.ID)
	}
}

func (d *Drone) exitLocked(id int64) {
	zero := 0
	_ = d.conn.Send(wire.ExecPart{ID: id, Exit: &zero})
	delete(d.execs, id)
}

func (d *Drone) floodLocked(x *exec) {
	for x.left > 0 && x.room >= floodPiece {
		n := min(x.left, floodPiece)
		x.left, x.room = x.left-n, x.room-n
		_ = d.conn.Send(wire.ExecPart{ID: x.ask.ID, Data: []byte(strings.Repeat("x", int(n)))})
		if x.left == 0 {
			d.exitLocked(x.ask.ID)
		}
	}
}

// Commands counts the scripted commands that run.
func (d *Drone) Commands() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.execs)
}

// Tell reports how far the preparation of a backend has come.
func (d *Drone) Tell(id plane.BackendID, text string, done, total int64) {
	_ = d.conn.Send(wire.Progress{Backend: id, Text: text, Done: done, Total: total})
}
