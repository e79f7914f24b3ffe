package whiteboard

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"testing"

	"plane/internal/clustertest"
)

// alone is a page of a whiteboard without Plane.
func alone(t *testing.T) window {
	t.Helper()
	browser := clustertest.StartBrowser(t)
	addr, _ := serve(t, t.TempDir())
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return open(t, browser, "http://localhost:"+port+"/")
}

func TestFingersPensAndKeysDraw(t *testing.T) {
	p := alone(t)
	touch := func(kind string, at ...[2]float64) {
		points := []map[string]any{}
		for i, a := range at {
			points = append(points, map[string]any{"x": a[0], "y": a[1], "id": i})
		}
		p.Do("Input.dispatchTouchEvent", map[string]any{"type": kind, "touchPoints": points}, nil)
	}
	// Two fingers are two strokes.
	touch("touchStart", [2]float64{300, 200}, [2]float64{300, 300})
	touch("touchMove", [2]float64{400, 200}, [2]float64{400, 300})
	touch("touchEnd")
	p.awaitStrokes(2)

	pen := func(kind string, x, y float64, buttons int) {
		p.Do("Input.dispatchMouseEvent", map[string]any{"type": kind, "x": x, "y": y, "button": "left", "buttons": buttons, "clickCount": 1, "pointerType": "pen"}, nil)
	}
	pen("mousePressed", 300, 400, 1)
	pen("mouseMoved", 400, 400, 1)
	pen("mouseReleased", 400, 400, 0)
	p.awaitStrokes(3)

	p.Eval(`document.querySelector("#paper").focus()`, nil)
	for _, key := range []string{" ", "ArrowRight", "ArrowRight", "ArrowDown", " "} {
		for _, kind := range []string{"keyDown", "keyUp"} {
			p.Do("Input.dispatchKeyEvent", map[string]any{"type": kind, "key": key}, nil)
		}
	}
	p.awaitStrokes(4)
	p.Do("Input.dispatchKeyEvent", map[string]any{"type": "keyDown", "key": "z", "modifiers": 2}, nil)
	p.awaitStrokes(3)
}

// TestThePageHasPlanesClient: what is compiled in can't stand elsewhere.
func TestThePageHasPlanesClient(t *testing.T) {
	t.Parallel()
	there, err := os.ReadFile("../../js/src/plane.js")
	if err != nil {
		t.Fatal(err)
	}
	here, err := os.ReadFile("page/plane.js")
	if err != nil || !bytes.Equal(here, there) {
		t.Errorf("page/plane.js isn't js/src/plane.js; copy it: cp js/src/plane.js examples/whiteboard/page/ (%v)", err)
	}
}

func TestThePageIsSharpOnDenseScreensAndFitsSmallOnes(t *testing.T) {
	p := alone(t)
	p.line([2]float64{300, 300}, [2]float64{1300, 700})
	p.awaitStrokes(1)
	p.Do("Emulation.setDeviceMetricsOverride", map[string]any{"width": 390, "height": 780, "deviceScaleFactor": 3, "mobile": true}, nil)
	p.Await("a canvas of the screen's dots", `(c => Math.abs(c.width - 3 * c.getBoundingClientRect().width) < 2)(document.querySelector("#paper"))`)
	var wide bool
	p.Eval(`document.documentElement.scrollWidth > innerWidth || document.querySelector("#tools").getBoundingClientRect().bottom > innerHeight`, &wide)
	if wide {
		t.Error("the page doesn't fit a telephone")
	}
	if p.inked() == 0 {
		t.Error("the drawing is gone after a change of size")
	}
	clustertest.Artefact(t, "telephone.png", p.Screenshot())
}

func TestThePageIsAccessible(t *testing.T) {
	axe, err := os.ReadFile("../../js/node_modules/axe-core/axe.min.js")
	if err != nil {
		clustertest.Missing(t, "axe-core")
	}
	p := alone(t)
	p.Eval(string(axe)+";1", nil)
	check := func(what string) {
		t.Helper()
		var found []json.RawMessage
		p.Eval(`axe.run().then((r) => r.violations.map((v) => ({id: v.id, help: v.help, nodes: v.nodes.map((n) => n.html + " " + n.failureSummary)})))`, &found)
		for _, v := range found {
			t.Errorf("%s: %s", what, v)
		}
	}
	for _, scheme := range []string{"light", "dark"} {
		p.Scheme(scheme)
		check(scheme)
		for _, dialog := range []string{"ask-clear", "ask-name"} {
			p.Eval(fmt.Sprintf(`document.getElementById(%q).showModal()`, dialog), nil)
			check(scheme + " " + dialog)
			p.Eval(fmt.Sprintf(`document.getElementById(%q).close("no")`, dialog), nil)
		}
	}
}
