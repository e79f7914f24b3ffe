package proxy

import (
	"strings"

	"plane"
	"plane/internal/token"
)

// What plane dev says to developers beside the answers that everybody gets.

// misnamed gives the key that a visitor of plane dev seems to mean by the name
// of a host that no key can have, and its address in path form.
func (x *exchange) misnamed() (key, address string, ok bool) {
	sub, w := x.p.names.place(x.host)
	if !x.p.session.dev.Load() || w != below {
		return "", "", false
	}
	if _, _, can := keyHost(sub, true); can {
		return "", "", false
	}
	if segment, _ := firstSegment(x.req.path); segment != "" && (token.IsStatic(segment) || x.opens(segment)) {
		return "", "", false // a backend's own host
	}
	app, name := "", typed(sub)
	if i := strings.LastIndex(name, "--"); i > 0 && isAppName(name[i+2:]) {
		name, app = name[:i], name[i+2:]
	}
	k := plane.Key{Name: name, Namespace: app}
	if k.Check() != nil {
		return "", "", false
	}
	return k.String(), "//" + x.host[len(sub)+1:] + pathForm(app, name), true
}

// misnamedText says what is wrong with the host of a page.
func misnamedText(key string) string {
	return "“" + key + "” can’t be the host name of a key: that has only a–z, 0–9 and single hyphens between them, 63 characters at most. Every key has an address below the bare host as well, and there its name may be any."
}

// needsLink says how to come in where a link is needed.
func (x *exchange) needsLink() string {
	t := decide(x.p.names, x.p.session.dev.Load(), x.host, x.req.path, x.opens)
	if !x.p.session.dev.Load() || t.name == "" {
		return unauthorized.text
	}
	return "Its app lets in only who comes by a link (access: token). To open it yourself, run: plane open " +
		quoted(plane.Key{Name: t.name, Namespace: t.app}.String()) +
		"\nTo let others in, hand out the link that connect returns as urls.key.\n"
}

// quoted is a word as a shell takes it; KEY stands for what can't be shown.
func quoted(s string) string {
	plain := func(c rune) bool {
		return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.ContainsRune("_./-", c)
	}
	switch {
	case strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c >= 0x7f && c < 0xa0 }):
		return "KEY"
	case s != "" && !strings.ContainsFunc(s, func(c rune) bool { return !plain(c) }):
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// rootText says to programs on the bare host of plane dev where keys are.
func (x *exchange) rootText() string {
	base := x.baseName()
	return "No key is named here. Use http://KEY." + base + "/ or http://" + base + "/~/KEY/; the first request starts its program.\n"
}
