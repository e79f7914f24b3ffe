package api

import (
	"net/http"

	"plane"
)

// routes is every route there is.
func (a *API) routes(d door) *http.ServeMux {
	m := http.NewServeMux()
	public := func(route, fault string, do verb) { m.Handle(route, a.public(fault, do)) }
	guarded := func(route, fault string, do verb) { m.Handle(route, a.guarded(d, fault, do)) }

	public("GET /pub/health", faultHealth, a.health)
	public("GET /pub/b/{backend}/status", faultDatabase, a.status)
	public("GET /pub/b/{backend}/status-stream", faultDatabase, a.statusStream)

	guarded("GET /ctrl/status", faultHealth, a.about)
	guarded("POST /ctrl/connect", faultConnect, a.connect)
	guarded("GET /ctrl/explain", faultDatabase, a.explain)
	guarded("GET /ctrl/events", faultDatabase, a.events)

	guarded("GET /ctrl/backends", faultDatabase, a.backends)
	guarded("GET /ctrl/b/{backend}", faultDatabase, a.backend)
	guarded("GET /ctrl/b/{backend}/logs", faultDatabase, a.logs)
	guarded("GET /ctrl/b/{backend}/exec", faultDatabase, a.exec)
	guarded("POST /ctrl/b/{backend}/soft-terminate", faultDatabase, a.terminate(plane.Soft))
	guarded("POST /ctrl/b/{backend}/hard-terminate", faultDatabase, a.terminate(plane.Hard))
	guarded("POST /ctrl/b/revoke", faultRevoke, a.revoke)

	guarded("GET /ctrl/apps", faultDatabase, a.apps)
	guarded("GET /ctrl/apps/{app}", faultDatabase, a.app)
	guarded("PUT /ctrl/apps/{app}", faultDatabase, a.apply)
	guarded("POST /ctrl/apps/{app}/release", faultDatabase, a.setRelease)
	guarded("GET /ctrl/data", faultDatabase, a.data)
	guarded("DELETE /ctrl/data", faultDatabase, a.abandon)

	guarded("GET /ctrl/c/{cluster}/state", faultDatabase, a.clusterState)
	guarded("POST /ctrl/c/{cluster}/d/{drone}/drain", faultDatabase, a.drain(true))
	guarded("POST /ctrl/c/{cluster}/d/{drone}/undrain", faultDatabase, a.drain(false))
	guarded("DELETE /ctrl/c/{cluster}/nodes/{node}", faultDatabase, a.removeNode)
	guarded("GET /ctrl/c/{cluster}/drone-socket", faultDatabase, a.droneSocket)
	guarded("GET /ctrl/c/{cluster}/proxy-socket", faultDatabase, a.proxySocket)

	guarded("GET /ctrl/api-keys", faultDatabase, a.apiKeys)
	guarded("POST /ctrl/api-keys", faultDatabase, a.createAPIKey)
	guarded("DELETE /ctrl/api-keys/{id}", faultDatabase, a.deleteAPIKey)
	return m
}
