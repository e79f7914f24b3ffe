package proxy

import (
	"net/http"
	"strings"
)

// tail is what is added to the response's body: to a document of a key URL the
// script that loads it again when its app changes, if that is wanted.
func (x *exchange) tail() string {
	if !x.way.uncoded || x.resp.status != http.StatusOK || x.resp.length == 0 || !plainDocument(x.resp.fields) {
		return ""
	}
	return `<script src="` + htmlAttribute(x.way.prefix) + ownPath + `/reload.js" async></script>`
}

// plainDocument reports whether fields describe HTML to which text may be added.
func plainDocument(fields []field) bool {
	html := false
	for _, f := range fields {
		switch {
		case strings.EqualFold(f.name, "Content-Type"):
			kind, params, _ := strings.Cut(f.value, ";")
			params = strings.ToLower(params)
			html = strings.EqualFold(strings.TrimSpace(kind), "text/html") &&
				!strings.Contains(params, "utf-16") && !strings.Contains(params, "utf-32")
		case strings.EqualFold(f.name, "Content-Encoding"):
			if !strings.EqualFold(f.value, "identity") {
				return false
			}
		case strings.EqualFold(f.name, "Content-Disposition"):
			if hasScheme(f.value, "attachment") {
				return false
			}
		case strings.EqualFold(f.name, "Cache-Control"):
			if hasToken(f.value, "no-transform") {
				return false
			}
		case strings.EqualFold(f.name, "Content-Range"), strings.EqualFold(f.name, "Content-MD5"),
			strings.EqualFold(f.name, "Digest"), strings.EqualFold(f.name, "Content-Digest"), strings.EqualFold(f.name, "Repr-Digest"):
			return false
		}
	}
	return html
}
