package proxy

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"strings"

	"plane"
)

// own answers Plane's own paths, on the bare host and on key URLs.
func (x *exchange) own(ctx context.Context, t target) bool {
	r := x.req
	if crossSite(r) {
		return x.say(answer{status: 403})
	}
	first, rest := t.path, ""
	if len(t.path) > 1 {
		if i := strings.IndexByte(t.path[1:], '/'); i >= 0 {
			first, rest = t.path[:i+1], t.path[i+1:]
		}
	}
	read := r.method == http.MethodGet || r.method == http.MethodHead
	dev := x.p.session.dev.Load()
	switch {
	case first == "/ping" && rest == "":
		return x.say(answer{status: 204, noStore: true})
	case !read:
	case t.name == "" && dev && t.path == "/overview":
		return x.overview(ctx)
	case t.name == "" && dev && t.path == "/open":
		return x.say(x.openKey())
	case t.name == "":
	case t.path == "/status":
		return x.status(ctx, t)
	case t.path == "/reload.js" && x.p.session.reload.Load():
		return x.say(answer{status: 200, text: reloadScript, noStore: true, fields: []field{{"content-type", "text/javascript; charset=utf-8"}}})
	case first == "/enter" && rest != "":
		return x.say(x.enter(ctx, t, rest))
	}
	return x.say(answer{status: 404})
}

// openKey leads to the key that a form names: on its own host if it has one and
// the browser finds it, else below the bare host.
func (x *exchange) openKey() answer {
	form, err := url.ParseQuery(strings.TrimPrefix(x.req.query, "?"))
	app, name := form.Get("app"), form.Get("key")
	key := plane.Key{Name: name, Namespace: app}
	if err != nil || name == "" || key.Check() != nil || app != "" && !isAppName(app) {
		return answer{status: 400, text: "A key is 1 to 255 characters without control characters. Go back and enter another one.\n"}
	}
	if host := x.hostForm(app, name); host != "" && form.Get("form") == "host" {
		return answer{status: 303, location: "//" + host + "/", noStore: true}
	}
	return answer{status: 303, location: pathForm(app, name), noStore: true}
}

// pathForm is a key's address below the bare host.
func pathForm(app, name string) string {
	return "/~" + app + "/" + url.PathEscape(name) + "/"
}

// hostForm is the host of a key URL, or "" if it can have none.
func (x *exchange) hostForm(app, name string) string {
	label, ok := plane.Key{Name: name}.HostLabel()
	if app != "" {
		label += "--" + app
	}
	if !ok || len(label) > plane.MaxLabelLength {
		return ""
	}
	return label + "." + x.baseName()
}

// baseName is the cluster's name as the visitor's browser reaches it, port
// included: the visited one, unless that is an address, below which no name is.
func (x *exchange) baseName() string {
	_, port, _ := net.SplitHostPort(x.host)
	for _, name := range append([]string{x.host}, x.p.names...) {
		host, at, err := net.SplitHostPort(name)
		if err != nil {
			host, at = name, ""
		}
		if at == port && net.ParseIP(strings.Trim(host, "[]")) == nil {
			return name
		}
	}
	return string(x.p.cfg.Cluster)
}
