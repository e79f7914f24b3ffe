package whiteboard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/coder/websocket"
)

const (
	// behind and bytesBehind are how far a visitor may be behind before it is
	// dropped: one that doesn't read must not cost memory. It comes back and gets
	// the whole drawing.
	behind, bytesBehind = 256, 2 << 20
	// perSecond and burst bound what a visitor may send.
	perSecond, burst = 150, 1000

	writeTimeout = 10 * time.Second
	pingEvery    = 20 * time.Second
)

// visitor is one open page.
type visitor struct {
	room *room
	conn *websocket.Conn
	out  chan []byte
	wait atomic.Int64 // bytes in out
	drop context.CancelCauseFunc

	id   int64
	name string // guarded by room.mu
}

var (
	errSlow = errors.New("the page reads too slowly")
	errFast = errors.New("the page sends too much")
)

// visit serves a page until it leaves or the room ends.
func (r *room) visit(w http.ResponseWriter, req *http.Request) {
	conn, err := websocket.Accept(w, req, nil) // only pages of the same origin
	if err != nil {
		return
	}
	defer conn.CloseNow()
	conn.SetReadLimit(int64(bounds.Message))
	ctx, drop := context.WithCancelCause(req.Context())
	defer drop(nil)
	v := &visitor{room: r, conn: conn, out: make(chan []byte, behind), drop: drop, name: cleanName(req.URL.Query().Get("name"))}
	first, err := r.enter(v)
	if err != nil {
		_ = conn.Close(websocket.StatusTryAgainLater, err.Error())
		return
	}
	defer r.leave(v)
	var writing sync.WaitGroup
	writing.Go(func() {
		v.close(v.write(ctx, first)) // ends read too
	})
	drop(v.read(req.Context()))
	writing.Wait()
}

// close says why and closes; a cause that drop was given first is the reason.
func (v *visitor) close(why error) {
	code := websocket.StatusPolicyViolation
	if errors.Is(why, errEnds) {
		code = websocket.StatusGoingAway
	}
	reason := why.Error()
	_ = v.conn.Close(code, reason[:min(len(reason), 120)])
}

// send never waits: it is called under room.mu.
func (v *visitor) send(message []byte) {
	if v.wait.Add(int64(len(message))) > bytesBehind {
		v.drop(errSlow)
		return
	}
	select {
	case v.out <- message:
	default:
		v.drop(errSlow)
	}
}

var errEnds = errors.New("the whiteboard ends; everything is saved")

// write sends first, then what comes, until ctx is done or the room ends.
func (v *visitor) write(ctx context.Context, first [][]byte) error {
	for _, m := range first {
		if err := v.put(ctx, m); err != nil {
			return err
		}
	}
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	for {
		select {
		case m := <-v.out:
			v.wait.Add(-int64(len(m)))
			if err := v.put(ctx, m); err != nil {
				return err
			}
		case <-ping.C:
			late, cancel := context.WithTimeout(ctx, writeTimeout)
			err := v.conn.Ping(late)
			cancel()
			if err != nil {
				return err
			}
		case <-v.room.ended:
			return v.flush(ctx)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// flush sends the last acknowledgements.
func (v *visitor) flush(ctx context.Context) error {
	for {
		select {
		case m := <-v.out:
			v.wait.Add(-int64(len(m)))
			if err := v.put(ctx, m); err != nil {
				return err
			}
		default:
			return errEnds
		}
	}
}

func (v *visitor) put(ctx context.Context, message []byte) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	return v.conn.Write(ctx, websocket.MessageText, message)
}

// read does what the page says.
func (v *visitor) read(ctx context.Context) error {
	pace := allowance{left: burst, at: time.Now()}
	for {
		_, raw, err := v.conn.Read(ctx)
		if err != nil {
			return err
		}
		if !pace.take(time.Now()) {
			return errFast
		}
		var s said
		if err := json.Unmarshal(raw, &s); err != nil {
			return fmt.Errorf("a message that can't be read: %w", err)
		}
		if err := v.do(ctx, s, len(raw)); err != nil {
			return err
		}
	}
}

func (v *visitor) do(ctx context.Context, s said, size int) error {
	switch {
	case s.Type == "op" && s.Op != nil:
		if err := s.Op.check(); err != nil {
			v.send(encode(refused{Type: "refused", ID: s.Op.ID, Why: err.Error()}))
			return nil
		}
		select {
		case v.room.changes <- change{op: *s.Op, size: size, from: v}:
			return nil
		case <-v.room.ended:
			return errEnds
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	case s.Type == "cursor":
		v.room.point(v, s.Cursor)
	case s.Type == "draw" && s.Draw != nil:
		if err := s.Draw.checkPen(); err != nil {
			return err
		}
		v.room.sketch(v, s.Draw)
	case s.Type == "name":
		v.room.rename(v, cleanName(s.Name))
	default:
		return fmt.Errorf("a message of type %.20q", s.Type)
	}
	return nil
}

func (r *room) point(v *visitor, p *point) {
	if p != nil {
		p[0], p[1] = min(max(p[0], 0), sheetWidth), min(max(p[1], 0), sheetHeight)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cursors[v.id] = p
}

func (r *room) sketch(v *visitor, piece *Stroke) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.drawing[piece.ID]
	if s == nil {
		s = &sketch{Who: v.id, Color: piece.Color, Width: piece.Width}
		r.drawing[piece.ID] = s
	}
	if len(s.Points)+len(piece.Points) <= 2*bounds.Points {
		s.Points = append(s.Points, piece.Points...)
	}
}

func (r *room) rename(v *visitor, name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v.name, r.moved = name, true
}

// cleanName is a name that can be shown.
func cleanName(name string) string {
	var b strings.Builder
	n := 0
	for _, c := range strings.Join(strings.Fields(name), " ") {
		if n++; n > bounds.Name {
			break
		}
		if unicode.IsPrint(c) {
			b.WriteRune(c)
		}
	}
	if b.Len() == 0 {
		return "Somebody"
	}
	return b.String()
}

// allowance is how many messages may still come.
type allowance struct {
	left float64
	at   time.Time
}

func (a *allowance) take(now time.Time) bool {
	a.left = min(burst, a.left+now.Sub(a.at).Seconds()*perSecond)
	a.at = now
	a.left--
	return a.left >= 0
}
