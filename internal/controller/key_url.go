package controller

import (
	"net/url"

	"plane"
)

// keyURL is where the key itself is reached, whatever its backend; nil for
// backends of no app. tok is the token just minted: an app whose access is by
// token is entered with it.
func (c *Controller) keyURL(b *liveKey, tok string) *string {
	if b.release == 0 || b.key.Tag != "" || b.key.Namespace != b.app {
		return nil
	}
	base, ok := c.keyBase(b.cluster, b.app, b.key)
	if !ok {
		return nil
	}
	if b.access == plane.AccessToken {
		if b.static {
			return nil // a static token doesn't say whose it is
		}
		base += "_plane/enter/" + tok + "/"
	}
	return &base
}

// keyBase is a key's URL: as a host where name and app make a host's label, as
// a path otherwise. Names that no path can hold have none.
func (c *Controller) keyBase(cluster plane.ClusterName, app string, k plane.Key) (string, bool) {
	if label, ok := c.keyLabel(app, k); ok {
		return c.origin(cluster, label) + "/", true
	}
	switch k.Name {
	case "", ".", "..": // browsers take these out of paths, also when they are escaped
		return "", false
	}
	return c.origin(cluster, "") + "/~" + app + "/" + url.PathEscape(k.Name) + "/", true
}

func (c *Controller) keyLabel(app string, k plane.Key) (string, bool) {
	name, ok := k.HostLabel()
	switch {
	case !ok:
		return "", false
	case c.cfg.Dev && c.isDefault(app):
		return name, true
	case app == "" || app[len(app)-1] == '-' || len(name)+len("--")+len(app) > plane.MaxLabelLength:
		return "", false
	}
	return name + "--" + app, true
}

// accessOf resolves who may use a backend's key URL.
func (c *Controller) accessOf(s plane.Spec) plane.Access {
	switch {
	case s.Access != "":
		return s.Access
	case c.cfg.Dev:
		return plane.AccessPublic
	}
	return plane.AccessToken
}
