package whiteboard

import (
	"fmt"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"plane/internal/clustertest"
)

// built is the program, as plane.yaml names it.
var built = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "whiteboard-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "whiteboard")
	if out, err := exec.Command("go", "build", "-o", path, "./cmd/whiteboard").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return path, nil
})

// dev runs plane.yaml, with what is replaced in it, under a real `plane dev`.
func dev(t *testing.T, replace ...string) *clustertest.Dev {
	t.Helper()
	program, err := built()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile("plane.yaml")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "plane.yaml")
	text := strings.NewReplacer(append(replace, "../../bin/whiteboard", program)...).Replace(string(raw))
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	d := clustertest.StartDevFile(t, file)
	t.Cleanup(func() {
		if t.Failed() {
			for _, e := range d.Events() {
				t.Logf("%s %s %s %s %s", e.Time, e.Event, e.Key, e.Reason, e.Output)
			}
			t.Log(d.Stderr())
		}
	})
	return d
}

// window is an open whiteboard.
type window struct {
	*clustertest.Page
	t *testing.T
}

func open(t *testing.T, b *clustertest.Browser, url string) window {
	t.Helper()
	p := window{Page: b.Open(url, 880, 640), t: t}
	p.ready()
	return p
}

func (p window) ready() {
	p.t.Helper()
	p.Await("a connection", `["saved", "saving"].includes(document.querySelector("#status")?.dataset.state)`)
}

func (p window) awaitStrokes(n int) {
	p.t.Helper()
	p.Await(fmt.Sprintf("%d saved strokes", n), fmt.Sprintf(`(s => s.strokes == %d && s.unsaved == 0 && s.state === "saved")(document.querySelector("#status").dataset)`, n))
}

func (p window) choose(name, value string) {
	p.t.Helper()
	p.Eval(fmt.Sprintf(`document.querySelector("[name=%s][value='%s']").click()`, name, value), nil)
}

// call is what others see of whoever draws here.
func (p window) call(name string) {
	p.t.Helper()
	p.Eval(fmt.Sprintf(`document.querySelector("#rename").click(); document.querySelector("#new-name").value = %q; document.querySelector("#ask-name [value=yes]").click()`, name), nil)
}

// straight is a line with corners: a hand has points in between.
func straight(corners ...[2]float64) (points [][2]float64) {
	const step = 30
	points = corners[:1:1]
	for i, c := range corners[1:] {
		from := corners[i]
		n := math.Ceil(math.Hypot(c[0]-from[0], c[1]-from[1]) / step)
		for k := 1.0; k <= n; k++ {
			points = append(points, [2]float64{from[0] + (c[0]-from[0])*k/n, from[1] + (c[1]-from[1])*k/n})
		}
	}
	return points
}

// line draws where the sheet has these places, in its units.
func (p window) line(points ...[2]float64) {
	p.t.Helper()
	var box struct{ Left, Top, Width float64 }
	p.Eval(`(({left, top, width}) => ({left, top, width}))(document.querySelector("#paper").getBoundingClientRect())`, &box)
	at := make([][2]float64, len(points))
	for i, q := range points {
		at[i] = [2]float64{box.Left + q[0]*box.Width/1600, box.Top + q[1]*box.Width/1600}
	}
	p.Drag(at...)
}

// inked reports how many dots of the sheet's picture are drawn on.
func (p window) inked() (n int) {
	p.t.Helper()
	p.Eval(`new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => {
	  const c = document.querySelector("#paper"), d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
	  let n = 0; for (let i = 3; i < d.length; i += 4) n += d[i] > 0; done(n);
	})))`, &n)
	return n
}

func (p window) news() (text string) {
	p.t.Helper()
	p.Await("news", `!document.querySelector("#news").hidden`)
	p.Eval(`document.querySelector("#news-text").textContent`, &text)
	return text
}

func arc(x, y, r, from, to float64) (points [][2]float64) {
	for i := range 13 {
		a := (from + (to-from)*float64(i)/12) * math.Pi / 180
		points = append(points, [2]float64{x + r*math.Cos(a), y + r*math.Sin(a)})
	}
	return points
}

func TestTwoPagesOnOneKeyDrawTogetherAndAThirdOnAnotherSeesNothing(t *testing.T) {
	browser := clustertest.StartBrowser(t)
	d := dev(t)
	ann, bob := open(t, browser, d.KeyURL("sketch")), open(t, browser, d.KeyURL("sketch"))
	_, port, err := net.SplitHostPort(d.Proxy)
	if err != nil {
		t.Fatal(err)
	}
	other := open(t, browser, "http://localhost:"+port+"/~whiteboard/elsewhere/") // where *.localhost doesn't resolve
	ann.call("Ann")
	bob.call("Bob")

	strokes := 0
	draw := func(p window, color, width string, lines ...[][2]float64) {
		t.Helper()
		p.choose("color", color)
		p.choose("width", width)
		for _, l := range lines {
			p.line(l...)
			strokes++
		}
	}
	// Ann a house, Bob the sun, a tree and the grass.
	draw(ann, "blue", "50", straight([2]float64{420, 762}, [2]float64{415, 480}, [2]float64{700, 478}, [2]float64{705, 762}), straight([2]float64{375, 490}, [2]float64{560, 300}, [2]float64{745, 488}))
	draw(bob, "orange", "110", arc(1250, 250, 90, 0, 360))
	for i := range 8 {
		a := float64(i) * math.Pi / 4
		draw(bob, "orange", "50", [][2]float64{{1250 + 125*math.Cos(a), 250 + 125*math.Sin(a)}, {1250 + 175*math.Cos(a), 250 + 175*math.Sin(a)}})
	}
	draw(ann, "red", "50", straight([2]float64{525, 762}, [2]float64{523, 610}, [2]float64{605, 608}, [2]float64{606, 762}))
	draw(ann, "red", "50", straight([2]float64{455, 530}, [2]float64{455, 590}, [2]float64{500, 588}, [2]float64{500, 528}, [2]float64{455, 530}))
	draw(bob, "ink", "110", [][2]float64{{1002, 770}, {1008, 700}, {1000, 610}})
	draw(bob, "green", "110", append(append(arc(950, 570, 75, 90, 270), arc(1000, 480, 85, 200, 340)...), arc(1055, 570, 75, -90, 90)...))
	draw(ann, "violet", "50", [][2]float64{{800, 130}, {796, 240}}, [][2]float64{{797, 195}, {830, 178}, {843, 200}, {842, 242}}, [][2]float64{{885, 182}, {885, 240}}, [][2]float64{{885, 150}, {887, 153}})
	var grass [][2]float64
	for x := 300.0; x <= 1300; x += 25 {
		grass = append(grass, [2]float64{x, 785 + 8*math.Sin(x/40)})
	}
	draw(bob, "green", "50", grass)
	ann.awaitStrokes(strokes)
	bob.awaitStrokes(strokes)
	if a, b := ann.inked(), bob.inked(); a == 0 || a != b {
		t.Errorf("not the same picture: %d and %d dots", a, b)
	}
	for _, c := range []struct {
		who, sees window
		name      string
		at        [2]float64
	}{{ann, bob, "Ann", [2]float64{365, 370}}, {bob, ann, "Bob", [2]float64{650, 290}}} {
		c.who.Move(c.at[0], c.at[1])
		c.sees.Await(c.name+"'s cursor and name", fmt.Sprintf(`(mark => mark?.textContent === %q && Math.hypot(mark.getBoundingClientRect().left - %v, mark.getBoundingClientRect().top - %v) < 4
			&& document.querySelectorAll("#people li").length === 2)(document.querySelector(".cursor"))`, c.name, c.at[0], c.at[1]))
	}
	other.awaitStrokes(0)
	other.Await("its key's name", `document.querySelector("#key").textContent === "elsewhere"`)
	if other.inked() != 0 {
		t.Error("another key's page has a drawing")
	}
	var here int
	other.Eval(`document.querySelectorAll("#people li").length`, &here)
	if here != 1 {
		t.Errorf("another key's page sees %d people", here)
	}
	picture(t, ann.Screenshot(), bob.Screenshot())
	bob.Scheme("dark")
	clustertest.Artefact(t, "dark.png", bob.Screenshot())

	// Bob erases a piece of the house and takes that back; Ann takes back hers.
	bob.choose("tool", "eraser")
	bob.line([2]float64{560, 250}, [2]float64{560, 350})
	ann.awaitStrokes(strokes - 1)
	bob.Eval(`document.querySelector("#undo").click()`, nil)
	ann.awaitStrokes(strokes)
	ann.Eval(`document.querySelector("#undo").click()`, nil)
	bob.awaitStrokes(strokes - 1)
	ann.Eval(`document.querySelector("#clear").click(); document.querySelector("#ask-clear [value=no]").click()`, nil)
	bob.awaitStrokes(strokes - 1)
	ann.Eval(`document.querySelector("#clear").click(); document.querySelector("#ask-clear [value=yes]").click()`, nil)
	bob.awaitStrokes(0)
	if n := bob.inked(); n != 0 {
		t.Errorf("%d dots are left", n)
	}
}

func TestThePageSurvivesAKilledBackendAndSaysWhatBecameOfTheDrawing(t *testing.T) {
	browser := clustertest.StartBrowser(t)
	for data, says := range map[string]string{"keep": "The drawing is restored: 2 saved strokes", "none": "kept in memory only"} {
		t.Run("data "+data, func(t *testing.T) {
			d := dev(t, "data: keep", "data: "+data)
			p := open(t, browser, d.KeyURL("sketch"))
			p.line([2]float64{300, 300}, [2]float64{600, 500})
			p.line([2]float64{600, 300}, [2]float64{300, 500})
			p.awaitStrokes(2)
			before, _ := d.Backend("sketch")
			d.KillBackend("sketch")
			text := p.news()
			clustertest.Artefact(t, data+".png", p.Screenshot())
			now, _ := d.Backend("sketch")
			if !strings.Contains(text, "was restarted") || !strings.Contains(text, says) || now.Generation <= before.Generation {
				t.Errorf("from generation %d to %d the page says: %s", before.Generation, now.Generation, text)
			}
			p.Await("the new generation", fmt.Sprintf(`document.querySelector("#status").dataset.generation == %d`, now.Generation))
			left := map[string]int{"keep": 2, "none": 0}[data]
			p.awaitStrokes(left)
			p.line([2]float64{700, 700}, [2]float64{900, 700})
			p.awaitStrokes(left + 1)
			p.Close()
		})
	}
}

func TestADrawingSurvivesAKilledDevAndItsEnd(t *testing.T) {
	browser := clustertest.StartBrowser(t)
	d := dev(t)
	p := open(t, browser, d.KeyURL("sketch"))
	p.line([2]float64{300, 300}, [2]float64{600, 500})
	p.awaitStrokes(1)
	before, _ := d.Backend("sketch")
	// So it is on a machine without network, where Plane is all the same.
	p.Eval(`Object.defineProperty(navigator, "onLine", { value: false })`, nil)

	d.Kill()
	p.Await("that the connection is lost", `document.querySelector("#status-text").textContent.startsWith("Reconnecting…")`)
	p.line([2]float64{600, 300}, [2]float64{300, 500}) // drawn without a connection
	const offered = `!document.querySelector("#retry").hidden`
	p.Await("an offer to try now", offered) // by then some attempts have failed
	clustertest.Artefact(t, "reconnecting.png", p.Screenshot())
	// The page knows one address.
	d.Args[slices.Index(d.Args, "--proxy")+1] = d.Proxy
	restart := func() {
		t.Helper()
		d.Restart()
		d.AwaitListening()
	}
	backWithin := func(most time.Duration, strokes int) {
		t.Helper()
		from := time.Now()
		p.awaitStrokes(strokes)
		if took := time.Since(from); took > most {
			t.Errorf("the page came back %v after plane dev did", took)
		}
		p.Await("no offer to try now", "!("+offered+")")
	}
	restart()
	backWithin(10*time.Second, 2)
	if now, _ := d.Backend("sketch"); now.BackendID != before.BackendID {
		t.Errorf("it is %+v now, was %+v", now, before)
	}

	// Its end saves.
	if err := d.Stop(30 * time.Second); err != nil {
		t.Fatal(err)
	}
	// A page that nobody sees waits for long, unless it is told.
	p.Eval(`Object.defineProperty(document, "visibilityState", { value: "hidden", configurable: true })`, nil)
	p.Await("an offer to try now", offered)
	restart()
	p.Eval(`document.querySelector("#retry").click(); delete document.visibilityState`, nil)
	backWithin(10*time.Second, 2)
	if text := p.news(); !strings.Contains(text, "The drawing is restored: 2 saved strokes") {
		t.Errorf("the page says: %s", text)
	}

	// Both at once, while it is drawn on.
	p.line([2]float64{100, 100}, [2]float64{900, 900})
	p.awaitStrokes(3)

	d.KillBackend("sketch")
	d.Kill()
	restart()
	backWithin(15*time.Second, 3) // with a start
}
