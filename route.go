package plane

// Route is what a proxy needs to know to reach a backend. It belongs to the
// backend, not to a token.
type Route struct {
	Backend    BackendID         `json:"backend"`
	Generation Generation        `json:"generation"`
	KeyHash    string            `json:"key_hash"`
	Cluster    ClusterName       `json:"cluster"`
	Subdomain  string            `json:"subdomain,omitempty"`
	StaticHash string            `json:"static_hash,omitempty"` // hex SHA-256 of its static token
	Status     Status            `json:"status"`
	Address    string            `json:"address,omitempty"` // from Waiting on; it takes requests once Ready
	Ports      map[string]string `json:"ports,omitempty"`   // addresses of further ports by name, once Ready
	App        string            `json:"app,omitempty"`
	Access     Access            `json:"access,omitempty"` // of its key URL; "" = public
	Host       HostMode          `json:"host,omitempty"`
	Pull       *Pull             `json:"pull,omitempty"`    // while it prepares, if the drone has told
	End        *RouteEnd         `json:"end,omitempty"`     // of one that terminated
	Revocation int64             `json:"revocation"`        // current number; tokens carry the one of their connect
	Revoked    map[string]int64  `json:"revoked,omitempty"` // user → tokens of that user below this number are refused
	Revision   int64             `json:"revision"`          // of the store; a lower one never replaces a higher one
}

// Pull is how far the preparation of a backend has come.
type Pull struct {
	Text  string `json:"text"`                  // what is done, e.g. "pulling"
	Done  int64  `json:"done_bytes"`            // bytes
	Total int64  `json:"total_bytes,omitempty"` // 0 = not known yet
}

// RouteEnd is what a waiting page shows of a backend that has ended.
type RouteEnd struct {
	Message  string `json:"message"`            // a sentence
	Early    bool   `json:"early,omitempty"`    // it ended before it was ready
	Output   string `json:"output,omitempty"`   // its last lines; only under plane dev
	Asked    bool   `json:"asked,omitempty"`    // somebody asked for it, or a limit did: no request brought it about
	Replaced bool   `json:"replaced,omitempty"` // because its app changed: open pages are to be loaded again
}

// Allows reports whether a token's claims have not been revoked.
func (r Route) Allows(c Claims) bool {
	return c.Revocation >= r.Revoked[c.UserName()]
}
