package examples

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"plane/internal/clustertest"
)

// makeNotebook is what the menu New does.
const makeNotebook = `fetch("/api/contents/sum.ipynb", {
  method: "PUT", headers: {"Content-Type": "application/json", "X-XSRFToken": /_xsrf=([^;]*)/.exec(document.cookie)?.[1] ?? ""},
  body: JSON.stringify({type: "notebook", format: "json", content: {nbformat: 4, nbformat_minor: 4, metadata: {}, cells: [
    {cell_type: "code", execution_count: null, metadata: {}, outputs: [], source: ""}]}})
}).then(async (r) => r.status + " " + await r.text())`

func TestACellRunsInJupyterAndItsNotebookOutlivesTheProcess(t *testing.T) {
	t.Parallel()
	clustertest.Program(t, "jupyter-notebook")
	browser := clustertest.StartBrowser(t)
	d := clustertest.StartDevFile(t, "jupyter/plane.yaml")

	if status, _ := d.Get("alice", "/tree"); status != http.StatusUnauthorized {
		t.Errorf("without a link: %d, not 401", status)
	}
	if _, ok := d.Backend("alice"); ok {
		t.Error("a request without a link started Jupyter")
	}
	link := d.Connect("alice", map[string]any{"app": "lab"}).URLs.Key
	p := browser.Open(link, 1000, 700)
	p.Await("Jupyter's list of notebooks", `document.querySelector("#notebook_list")`)
	var made string
	p.Eval(makeNotebook, &made)
	if !strings.HasPrefix(made, "20") {
		t.Fatalf("make a notebook: %s", made)
	}
	p.Goto(d.KeyURL("alice") + "notebooks/sum.ipynb")
	p.Await("a kernel", `window.Jupyter?.notebook?.kernel?.is_connected()`)
	p.Eval(`document.querySelector(".CodeMirror").CodeMirror.focus()`, nil)
	p.Do("Input.insertText", map[string]any{"text": "print(6 * 7, 'is the answer')"}, nil)
	enter := map[string]any{"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "modifiers": 8} // with Shift
	for _, kind := range []string{"rawKeyDown", "keyUp"} {
		enter["type"] = kind
		p.Do("Input.dispatchKeyEvent", enter, nil)
	}
	p.Await("the cell's output", `[...document.querySelectorAll(".output_text")].some((o) => o.innerText.includes("42 is the answer"))`)
	clustertest.Artefact(t, "jupyter.png", p.Screenshot())
	p.Eval(`Jupyter.notebook.save_notebook().then(() => true)`, nil)

	d.StopBackend("alice")
	p.Goto(d.Connect("alice", map[string]any{"app": "lab"}).URLs.Key + "notebooks/sum.ipynb")
	p.Await("the notebook of before", `[...document.querySelectorAll(".output_text")].some((o) => o.innerText.includes("42 is the answer"))`)
	if kept, err := filepath.Glob(filepath.Join(d.DataDir, "volumes", "*", "sum.ipynb")); err != nil || len(kept) != 1 {
		t.Errorf("kept %v %v", kept, err)
	}
}
