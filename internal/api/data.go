package api

import (
	"net/http"

	"plane"
	"plane/internal/controller"
)

// data lists what is kept for keys.
func (a *API) data(w http.ResponseWriter, r *http.Request, who controller.Actor) error {
	q, err := parseQuery(r, "namespace", "key_prefix", "limit", "cursor")
	if err != nil {
		return err
	}
	limit, err := q.number("limit", 1, maxPage, 100)
	if err != nil {
		return err
	}
	page, err := a.ctrl.Data(r.Context(), who, controller.DataFilter{
		Namespace: q.optional("namespace"), Prefix: q.text("key_prefix"), Cursor: q.text("cursor"), Limit: int(limit),
	})
	if err != nil {
		return err
	}
	if page.Data == nil {
		page.Data = []controller.DataView{}
	}
	a.answer(w, http.StatusOK, page)
	return nil
}

// abandon gives up what is kept for a key. Both parts of the key must be there:
// it can't be undone.
func (a *API) abandon(w http.ResponseWriter, r *http.Request, who controller.Actor) error {
	q, err := parseQuery(r, "namespace", "name")
	if err != nil {
		return err
	}
	namespace, name := q.optional("namespace"), q.optional("name")
	switch {
	case name == nil:
		return plane.Invalid("name", "name is missing: of which key shall the data be given up?")
	case namespace == nil:
		return plane.Invalid("namespace", "namespace is missing: give that of the key, empty if it has none.")
	}
	view, err := a.ctrl.Abandon(r.Context(), who, *namespace, *name)
	if err != nil {
		return err
	}
	a.answer(w, http.StatusOK, view)
	return nil
}
