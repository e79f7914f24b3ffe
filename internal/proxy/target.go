package proxy

import (
	"net/url"
	"strings"

	"plane"
	"plane/internal/token"
)

// meaning is what a request is for.
type meaning int

const (
	meansNothing meaning = iota // answer status
	meansReady                  // is this proxy connected?
	meansRoot                   // the bare host itself
	meansPing                   // does this name lead here?
	meansOwn                    // Plane's own paths, of the bare host or of a key
	meansToken
	meansKey
)

// target is what a request is for, and the path that the backend is to see.
type target struct {
	meaning meaning
	status  int    // of meansNothing
	token   string // of meansToken
	app     string // of meansKey, and of meansOwn with a name
	name    string // of meansKey; of meansOwn, "" = the bare host's
	path    string // to the backend, without query; of meansOwn, what follows /_plane
	prefix  string // what was stripped: of a key URL in path form /~APP/KEY, as sent; of meansToken the token
	bare    bool   // on the bare host, which all tenants share
}

// ownPath is where Plane's own paths begin.
const ownPath = "/_plane"

// own reads Plane's own paths off a key's or the bare host's.
func own(path string) (rest string, ok bool) {
	rest, ok = strings.CutPrefix(path, ownPath)
	return rest, ok && (rest == "" || rest[0] == '/')
}

func refuse(status int) target { return target{meaning: meansNothing, status: status} }

// decide reads a request's meaning from host, then path. opens tells whether a
// text is a token of this cluster; it is asked only where the answer matters.
func decide(names hostNames, dev bool, host, path string, opens func(string) bool) target {
	if path == "" || path[0] != '/' {
		return refuse(400)
	}
	sub, w := names.place(host)
	if w != below {
		switch {
		case path == "/ready":
			return target{meaning: meansReady}
		case path == "/":
			return target{meaning: meansRoot, bare: w == bare}
		}
	}
	if w != foreign && path == ownPath+"/ping" {
		return target{meaning: meansPing}
	}
	segment, rest := firstSegment(path)
	if segment == "" && w != below {
		return refuse(400)
	}
	if w == below {
		return decideBelow(sub, dev, path, segment, rest, opens)
	}
	if segment[0] == '~' || strings.HasPrefix(strings.ToLower(segment), "%7e") {
		if w == foreign {
			return refuse(403)
		}
		return keyPath(strings.TrimPrefix(strings.TrimPrefix(strings.TrimPrefix(segment, "~"), "%7e"), "%7E"), path, rest)
	}
	if mine, is := own(path); is && w == bare {
		return target{meaning: meansOwn, path: mine}
	}
	t := tokenTarget(segment, path, rest)
	t.bare = w == bare
	return t
}

// decideBelow is decide for a host below the cluster's name: a backend's own
// host, or that of a key.
func decideBelow(sub string, dev bool, path, segment, rest string, opens func(string) bool) target {
	app, name, isKey := keyHost(sub, dev)
	if isKey && dev && segment != "" && (token.IsStatic(segment) || opens(segment)) {
		isKey = false
	}
	switch mine, is := own(path); {
	case isKey && is:
		return target{meaning: meansOwn, app: app, name: name, path: mine}
	case isKey:
		return target{meaning: meansKey, app: app, name: name, path: path}
	case segment == "":
		return refuse(400)
	}
	return tokenTarget(segment, path, rest)
}

// keyHost reads KEY--APP, and in plane dev also KEY.
func keyHost(label string, dev bool) (app, name string, ok bool) {
	if strings.Contains(label, ".") || strings.HasPrefix(label, "xn--") {
		return "", "", false
	}
	name = label
	if i := strings.LastIndex(label, "--"); i >= 0 {
		name, app = label[:i], label[i+2:]
		if !isAppName(app) {
			return "", "", false
		}
	} else if !dev {
		return "", "", false
	}
	_, ok = plane.Key{Name: name}.HostLabel()
	return app, name, ok && len(label) <= plane.MaxLabelLength
}

// keyPath reads what follows /~APP of a path: /KEY/…
func keyPath(app, path, rest string) target {
	if app != "" && !isAppName(app) || rest == "" {
		return refuse(404)
	}
	segment, rest := firstSegment(rest)
	name, err := url.PathUnescape(segment)
	key := plane.Key{Name: name, Namespace: app}
	if err != nil || name == "" || key.Check() != nil {
		return refuse(400)
	}
	t := target{meaning: meansKey, app: app, name: name, path: orRoot(rest), prefix: path[:len(path)-len(rest)], bare: true}
	if mine, is := own(rest); is {
		t.meaning, t.path = meansOwn, mine
	}
	return t
}

// tokenTarget strips the token from the path, but for a static one.
func tokenTarget(segment, path, rest string) target {
	t := target{meaning: meansToken, token: segment, path: path}
	if !token.IsStatic(segment) {
		t.path, t.prefix = orRoot(rest), path[:len(path)-len(rest)]
	}
	return t
}

// firstSegment splits /a/b into a and /b.
func firstSegment(path string) (segment, rest string) {
	path = path[1:]
	if i := strings.IndexByte(path, '/'); i >= 0 {
		return path[:i], path[i:]
	}
	return path, ""
}

func orRoot(path string) string {
	if path == "" {
		return "/"
	}
	return path
}

// isAppName reports whether s is an app's name: [a-z][a-z0-9-]{0,30}, no "--".
func isAppName(s string) bool {
	if s == "" || len(s) > 31 || s[0] < 'a' || s[0] > 'z' || strings.Contains(s, "--") {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}
