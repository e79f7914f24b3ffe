package proxy

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"html/template"
	"strings"

	"plane"
)

// Plane's own pages carry everything that they need: style and script stand in
// them, and their policy allows nothing else.
//
//go:embed pages
var pageFiles embed.FS

var (
	pageStyle    = pageFile("style.css")
	waitScript   = pageFile("wait.js")
	startScript  = pageFile("start.js")
	reloadScript = pageFile("reload.js")

	waitPage  = template.Must(template.New("wait.html").ParseFS(pageFiles, "pages/wait.html"))
	startHTML = template.Must(template.New("start.html").ParseFS(pageFiles, "pages/start.html"))
)

func pageFile(name string) string {
	b, err := pageFiles.ReadFile("pages/" + name)
	if err != nil {
		panic("proxy: " + err.Error()) // embedded
	}
	return string(b)
}

// document is a page of Plane's own.
type document struct {
	text   string
	policy string
}

// policyFor allows style and script by their hashes, and connections and forms
// to where connect and action say.
func policyFor(script, connect, action string) string {
	return "default-src 'none'; style-src " + hashOf(pageStyle) + "; script-src " + hashOf(script) +
		"; connect-src " + connect + "; img-src data:; base-uri 'none'; form-action " + action +
		"; frame-ancestors 'none'"
}

func hashOf(text string) string {
	h := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(h[:]) + "'"
}

var waitPolicy = policyFor(waitScript, "'self'", "'none'")

// waitData is what the page of one key, and that of any refusal, is made of.
type waitData struct {
	progress
	Title  string
	Key    string // as people write it, or ""
	Events string // address of the key's status, or ""
	Retry  int64  // milliseconds; 0 = not by itself
	Again  bool   // it can be started again
	Link   string // where to go instead, or ""
	LinkTo string
	Stays  bool // it isn't loaded again when the key is ready: that would do the same once more
	Dev    bool
	Style  template.CSS
	Script template.JS
}

// pageOf makes the page of an answer.
func (x *exchange) pageOf(a answer) *document {
	g := a.progress()
	t := decide(x.p.names, x.p.session.dev.Load(), x.host, x.req.path, x.opens)
	d := waitData{
		progress: g, Retry: g.RetryMS, Stays: a.cut, Dev: x.p.session.dev.Load(),
		Style: template.CSS(pageStyle), Script: template.JS(waitScript),
	}
	if t.meaning == meansKey {
		d.Key = plane.Key{Name: t.name, Namespace: t.app}.String()
		if a.status == 503 {
			d.Events, d.Again = t.prefix+ownPath+"/status", true
		}
	}
	if key, address, ok := x.misnamed(); ok && t.meaning != meansKey {
		d.Heading, d.Message, d.Link, d.LinkTo = "No key can have this host name", misnamedText(key), address, key
	}
	d.Title = d.Heading
	if d.Key != "" {
		d.Title += " · " + d.Key
	}
	var b bytes.Buffer
	if err := waitPage.Execute(&b, d); err != nil {
		panic("proxy: a page that can't be made: " + err.Error())
	}
	return &document{text: b.String(), policy: waitPolicy}
}

// startPage answers a browser on the bare host of plane dev.
func (x *exchange) startPage() bool {
	cluster := x.baseName()
	probe := "http://plane-check." + cluster
	var b bytes.Buffer
	err := startHTML.Execute(&b, map[string]any{
		"Cluster": cluster, "Probe": probe + ownPath + "/ping",
		"Style": template.CSS(pageStyle), "Script": template.JS(startScript),
	})
	if err != nil {
		panic("proxy: a page that can't be made: " + err.Error())
	}
	return x.say(answer{status: 200, noStore: true, html: &document{text: b.String(), policy: policyFor(startScript, "'self' "+probe, "'self' *."+cluster)}})
}

// htmlAttribute is a text as it stands between double quotes.
func htmlAttribute(s string) string {
	return strings.NewReplacer("&", "&amp;", `"`, "&quot;", "<", "&lt;", ">", "&gt;").Replace(s)
}
