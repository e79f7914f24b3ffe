package whiteboard

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
)

func TestTwoDrawTogether(t *testing.T) {
	t.Parallel()
	addr, _ := serve(t, "")
	ann := visit(t, addr, "Ann")
	bob := visit(t, addr, "Bob")
	ann.await("that Bob is here", func(m heard) bool {
		return slices.ContainsFunc(m.People, func(p person) bool { return p.Name == "Bob" && p.ID == bob.hello.You })
	})
	if err := ann.say(said{Type: "cursor", Cursor: &point{30, 99_999}}); err != nil {
		t.Fatal(err)
	}
	bob.await("Ann's cursor", func(m heard) bool {
		c := m.Cursors[ann.hello.You]
		return c != nil && *c == point{30, sheetHeight}
	})
	s := stroke("stroke-live", 3)
	if err := ann.say(said{Type: "draw", Draw: s}); err != nil {
		t.Fatal(err)
	}
	bob.await("Ann's unfinished stroke", func(m heard) bool {
		d := m.Drawing[s.ID]
		return d != nil && d.Who == ann.hello.You && len(d.Points) == 6
	})
	id := ann.mustAdd(4)
	bob.await("Ann's stroke", func(m heard) bool { return len(m.Ops) == 1 && m.Ops[0].Add != nil && m.Ops[0].Add.ID == id })
	if err := bob.say(said{Type: "op", Op: &op{ID: "removal-1", Remove: []string{id}}}); err != nil {
		t.Fatal(err)
	}
	ann.await("that Bob erased it", func(m heard) bool { return len(m.Ops) == 1 && slices.Equal(m.Ops[0].Remove, []string{id}) })
	if err := ann.say(said{Type: "name", Name: "  Anna\u0007  Lee " + strings.Repeat("x", 50)}); err != nil {
		t.Fatal(err)
	}
	bob.await("Ann's new name", func(m heard) bool {
		return slices.ContainsFunc(m.People, func(p person) bool { return strings.HasPrefix(p.Name, "Anna Lee x") && len(p.Name) <= bounds.Name })
	})
	_ = ann.conn.CloseNow()
	bob.await("that Ann left", func(m heard) bool { return m.Type == "people" && len(m.People) == 1 })
}

func TestAChangeThatIsSentAgainCountsOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	again := said{Type: "op", Op: &op{ID: "stroke-again", Add: stroke("stroke-again", 3)}}
	p := run(t, dir)
	v := visit(t, p.addr, "ann")
	for range 2 {
		if err := v.say(again); err != nil {
			t.Fatal(err)
		}
		v.awaitSaved("stroke-again")
	}
	if n := stateOf(t, p.addr).Strokes; n != 1 {
		t.Errorf("%d strokes", n)
	}
	if err := v.say(said{Type: "op", Op: &op{ID: "clearing-1", Clear: true}}); err != nil {
		t.Fatal(err)
	}
	v.awaitSaved("clearing-1")
	p.kill()
	p = run(t, dir)
	v = visit(t, p.addr, "ann")
	if err := v.say(again); err != nil {
		t.Fatal(err)
	}
	v.awaitSaved("stroke-again")
	if n := stateOf(t, p.addr).Strokes; n != 0 {
		t.Errorf("a stroke that was cleared has come back: %d", n)
	}
}

func TestWhatIsTooLargeOrWrongIsRefused(t *testing.T) {
	t.Parallel()
	addr, _ := serve(t, "")
	v := visit(t, addr, "ann")
	outside := stroke("stroke-outside", 2)
	outside.Points[0] = sheetWidth + 1
	long := stroke("stroke-long", 1)
	long.Points = make([]int, 2*bounds.Points+2)
	odd := stroke("stroke-odd", 1)
	odd.Points = []int{1, 2, 3}
	shade := stroke("stroke-shade", 1)
	shade.Color = "url(evil)"
	for _, o := range []op{
		{ID: "stroke-outside", Add: outside},
		{ID: "stroke-long", Add: long},
		{ID: "stroke-odd", Add: odd},
		{ID: "stroke-shade", Add: shade},
		{ID: "both-at-once", Add: stroke("stroke-ok", 1), Clear: true},
		{ID: "nothing-at-all"},
		{ID: "removes-junk", Remove: []string{"<script>"}},
		{ID: "short", Clear: true},
	} {
		if err := v.say(said{Type: "op", Op: &o}); err != nil {
			t.Fatal(err)
		}
		m := v.await("a refusal", func(m heard) bool { return m.Type == "refused" })
		if m.ID != o.ID || m.Why == "" {
			t.Errorf("%s: %+v", o.ID, m)
		}
	}
	if n := stateOf(t, addr).Strokes; n != 0 {
		t.Errorf("%d strokes", n)
	}
	_ = v.conn.Write(t.Context(), websocket.MessageText, []byte(`{"type":"name","name":"`+strings.Repeat("x", bounds.Message)+`"}`))
	_, err := v.next()
	for err == nil {
		_, err = v.next()
	}
	if websocket.CloseStatus(err) != websocket.StatusMessageTooBig {
		t.Errorf("a message that is too large: %v", err)
	}
}

func TestAFullSheetTakesNoMore(t *testing.T) {
	t.Parallel()
	b := newBoard()
	b.Strokes = make([]*Stroke, bounds.Strokes-1)
	for i, full := range []bool{false, true, true} {
		id := fmt.Sprintf("stroke-%d", i)
		if changed, err := b.apply(op{N: int64(i + 1), ID: id, Add: stroke(id, 1)}); changed == full || (err != nil) != full {
			t.Errorf("stroke %d: %v %v", i, changed, err)
		}
	}
	b = newBoard()
	b.numbers = bounds.Numbers - 10
	for i, full := range []bool{false, true} {
		id := fmt.Sprintf("stroke-%d", i)
		if _, err := b.apply(op{N: int64(i + 1), ID: id, Add: stroke(id, 3)}); (err != nil) != full {
			t.Errorf("stroke %d: %v", i, err)
		}
	}
	if _, err := b.apply(op{N: 3, ID: "clearing-1", Clear: true}); err != nil || b.numbers != 0 {
		t.Errorf("cleared: %v, %d numbers", err, b.numbers)
	}
}

func TestABoardRemembersABoundedNumberOfChanges(t *testing.T) {
	t.Parallel()
	b := newBoard()
	for i := range remembered + 10 {
		if _, err := b.apply(op{N: int64(i + 1), ID: fmt.Sprintf("removal-%d", i), Remove: []string{"stroke-gone"}}); err != nil {
			t.Fatal(err)
		}
	}
	if len(b.Recent) != remembered || len(b.known) != remembered {
		t.Errorf("it remembers %d and %d changes", len(b.Recent), len(b.known))
	}
}

func TestWhoDoesntReadIsDroppedAndHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr, _ := serveOn(t, "", narrow{l}) // else the kernel may hold more than a full sheet
	var d net.Dialer
	d.Control = func(_, _ string, c syscall.RawConn) error {
		var err error
		return errors.Join(c.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) }), err)
	}
	slow, _, err := websocket.Dial(t.Context(), "ws://"+addr+"/ws?name=slow", &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: &http.Transport{DialContext: d.DialContext}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer slow.CloseNow()
	ann := visit(t, addr, "ann")
	until(t, "both are here", func() bool { return stateOf(t, addr).Visitors == 2 })
	heard := make(chan string, 10_000)
	go ann.listen(heard)
	dropped := func() bool { return stateOf(t, addr).Visitors == 1 }
	for n := 0; n < 450 && !dropped(); n++ {
		if _, err := ann.add(1000); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "who doesn't read is dropped", dropped)
	for range ann.n { // all arrives at those who read
		select {
		case <-heard:
		case <-time.After(patience):
			t.Fatal("it holds others up")
		}
	}
}

func TestWhoSendsTooMuchIsDropped(t *testing.T) {
	t.Parallel()
	addr, _ := serve(t, "")
	v := visit(t, addr, "ann")
	go func() {
		for v.say(said{Type: "cursor", Cursor: &point{1, 1}}) == nil {
		}
	}()
	_, err := v.next()
	for err == nil {
		_, err = v.next()
	}
	if websocket.CloseStatus(err) != websocket.StatusPolicyViolation {
		t.Errorf("ended with %v", err)
	}
}

func TestPagesOfOtherOriginsDontDraw(t *testing.T) {
	t.Parallel()
	addr, _ := serve(t, "")
	_, resp, err := websocket.Dial(t.Context(), "ws://"+addr+"/ws", &websocket.DialOptions{HTTPHeader: http.Header{"Origin": {"http://evil.test"}}})
	if err == nil || resp == nil || resp.StatusCode != http.StatusForbidden {
		t.Errorf("%v %v", resp, err)
	}
}

func TestAWhiteboardTakesABoundedNumberOfVisitors(t *testing.T) {
	t.Parallel()
	s, err := Open("", Backend{})
	if err != nil {
		t.Fatal(err)
	}
	for range bounds.Visitors {
		if _, err := s.room.enter(&visitor{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.room.enter(&visitor{}); err == nil {
		t.Error("one more came in")
	}
}

func TestALargeDrawingComesInMessagesOfBoundedSize(t *testing.T) {
	t.Parallel()
	var all []*Stroke
	for i := range 300 {
		s := stroke(fmt.Sprintf("stroke-%d", i), 500)
		s.encode()
		all = append(all, s)
	}
	n := 0
	for _, page := range pages(all) {
		if n++; len(page) > 2*pageSize {
			t.Errorf("a message of %d bytes", len(page))
		}
	}
	if n < 10 {
		t.Errorf("%d messages", n)
	}
	if empty := pages(nil); len(empty) != 1 || !strings.Contains(string(empty[0]), `"strokes":[]`) {
		t.Errorf("an empty drawing: %s", empty)
	}
}
