// Package controller is what the system decides: connect, schedule, record,
// lapse, revoke. It knows neither HTTP nor SQL. One Controller is stateless
// over its store but for what a restart may forget.
package controller

import (
	"encoding/json"
	"time"

	"plane"
	"plane/internal/wire"
)

// Actor is who does a verb; it is written with the event.
type Actor struct {
	Kind      string   // api-key, operator (local socket), loopback, node, system
	Name      string   // id of the API key, name of the node
	Grants    []string // of an API key; nil = everything
	RequestID string
}

// ConnectRequest is the body of POST /ctrl/connect, already well-formed.
type ConnectRequest struct {
	Key           *plane.Key
	Spec          *plane.Spec // nil = only attach
	App           string
	User          *string
	Auth          json.RawMessage // a JSON object, or nil for {}
	WaitReady     bool
	WaitSeconds   int // 1 to 120; 0 = 60 if WaitReady
	TokenLifetime int // seconds; 0 = as long as the backend lives
	Port          string
}

// URLs are the ways to a backend.
type URLs struct {
	Token string  `json:"token"`
	Key   *string `json:"key"`
}

// ConnectResponse is the answer, in the order of the contract.
type ConnectResponse struct {
	BackendID   plane.BackendID  `json:"backend_id"`
	Spawned     bool             `json:"spawned"`
	Status      plane.Status     `json:"status"`
	Token       string           `json:"token"`
	URL         string           `json:"url"`
	Subdomain   *string          `json:"subdomain"`
	SecretToken *string          `json:"secret_token"`
	StatusURL   string           `json:"status_url"`
	Drone       *plane.NodeName  `json:"drone"`
	Key         plane.Key        `json:"key"`
	Generation  plane.Generation `json:"generation"`
	URLs        URLs             `json:"urls"`
	Expires     *int64           `json:"expires"` // Unix milliseconds; null = as long as the backend lives
}

// StatusEntry is one entry of a backend's public status.
type StatusEntry struct {
	Status            plane.Status   `json:"status"`
	TerminationReason plane.Reason   `json:"termination_reason,omitempty"`
	TerminationKind   plane.StopKind `json:"termination_kind,omitempty"`
	ExitError         *bool          `json:"exit_error,omitempty"`
	Message           string         `json:"message,omitempty"` // of terminated that nobody asked for: how it ended, a sentence
	Time              int64          `json:"time"`              // Unix milliseconds
}

// ExitView is how a backend ended, for the list.
type ExitView struct {
	Code   *int         `json:"code"`
	Signal *string      `json:"signal"`
	OOM    bool         `json:"oom"`
	Reason plane.Reason `json:"reason"`
	Output string       `json:"output"`

	Message string `json:"message,omitempty"` // why it never ran
}

// BackendView is one backend as the API shows it.
type BackendView struct {
	BackendID   plane.BackendID   `json:"backend_id"`
	Key         plane.Key         `json:"key"`
	Generation  plane.Generation  `json:"generation"`
	App         string            `json:"app"`
	Release     int64             `json:"release"`
	Cluster     plane.ClusterName `json:"cluster"`
	Drone       plane.NodeName    `json:"drone"`
	Status      plane.Status      `json:"status"`
	Activity    string            `json:"activity"` // awake
	Since       int64             `json:"since"`    // Unix milliseconds of the status
	Connections int               `json:"connections"`
	Holds       []wire.Hold       `json:"holds"`
	CPUMS       int64             `json:"cpu_ms"`
	MemoryBytes int64             `json:"memory_bytes"` // that can't be given up
	Exit        *ExitView         `json:"exit"`

	Digest     string `json:"digest,omitempty"`      // of its image, once it is prepared
	CacheBytes int64  `json:"cache_bytes,omitempty"` // of files, that can be given up
	Pids       int64  `json:"pids,omitempty"`        // processes and threads
	Received   int64  `json:"received_bytes,omitempty"`
	Sent       int64  `json:"sent_bytes,omitempty"`
	DiskBytes  int64  `json:"disk_bytes,omitempty"` // of its own layer
	DataBytes  int64  `json:"data_bytes,omitempty"` // of its data directory
	Commands   int    `json:"commands,omitempty"`   // that run in it for somebody (`plane exec`)
}

// BackendPage is a page of the list.
type BackendPage struct {
	Backends []BackendView `json:"backends"`
	Next     *string       `json:"next"`
}

// NodeView, DroneView, ProxyView and ClusterState are the cluster state of the contract.
type NodeView struct {
	Name                   map[string]plane.NodeName `json:"name"` // {"Drone": …} or {"Proxy": …}
	PlaneVersion           string                    `json:"plane_version"`
	PlaneHash              string                    `json:"plane_hash"`
	Controller             plane.NodeName            `json:"controller"`
	ControllerHeartbeatAge int64                     `json:"controller_heartbeat_age"` // seconds
}

// DroneView is a drone in the cluster state.
type DroneView struct {
	Ready            bool     `json:"ready"`
	Draining         bool     `json:"draining"`
	LastHeartbeatAge int64    `json:"last_heartbeat_age"` // seconds
	BackendCount     int      `json:"backend_count"`
	Node             NodeView `json:"node"`

	Runtimes []string          `json:"runtimes,omitempty"`
	Missing  map[string]string `json:"runtimes_missing,omitempty"` // runtimes that it can't offer, and what they miss
	Host     *wire.Host        `json:"host,omitempty"`             // nil = not told yet, or it isn't connected to this controller
}

// ClusterState lists the nodes of one cluster that are attached to a controller.
type ClusterState struct {
	Drones  []DroneView `json:"drones"`
	Proxies []NodeView  `json:"proxies"`
}

// Explanation answers "why": now, history, last decision.
type Explanation struct {
	Key      plane.Key   `json:"key"`
	Now      *NowView    `json:"now"`     // null = nothing runs
	History  []PastView  `json:"history"` // newest first
	Decision string      `json:"decision"`
	Crash    *CrashView  `json:"crash_loop"`
	Next     string      `json:"next"`   // why nothing can be started now, a sentence
	Data     *DataView   `json:"data"`   // kept for the key
	Events   []EventView `json:"events"` // newest first
}

// NowView is the live backend of a key, and why it is awake.
type NowView struct {
	Backend   BackendView `json:"backend"`
	Plain     int         `json:"open_requests"`
	Upgraded  int         `json:"open_upgraded"`
	Holds     []wire.Hold `json:"holds"`
	IdleAfter *int64      `json:"idle_after_seconds"` // its limit
	IdleIn    *int64      `json:"idle_in_seconds"`    // countdown; null = in use or no limit
	EndsIn    *int64      `json:"ends_in_seconds"`    // lifetime limit
	Progress  *plane.Pull `json:"progress"`           // of its preparation, while it lasts
	Awake     string      `json:"awake"`              // a sentence
}

// PastView is one generation of a key.
type PastView struct {
	Backend    plane.BackendID  `json:"backend_id"`
	Generation plane.Generation `json:"generation"`
	Drone      plane.NodeName   `json:"drone"`
	Status     plane.Status     `json:"status"`
	CreatedAt  int64            `json:"created_at"` // Unix milliseconds
	EndedAt    *int64           `json:"ended_at"`
	Digest     string           `json:"digest,omitempty"` // of its image
	Reason     plane.Reason     `json:"reason"`
	Actor      string           `json:"actor"`
	Exit       *ExitView        `json:"exit"`
	Story      string           `json:"story"` // a sentence
}

// CrashView is a key's crash loop.
type CrashView struct {
	Count   int    `json:"count"`
	RetryIn int64  `json:"retry_in_seconds"`
	Output  string `json:"output"`
}

// EventView is one entry of the log.
type EventView struct {
	Seq        int64            `json:"seq"`
	Time       int64            `json:"time"` // Unix milliseconds
	Kind       string           `json:"kind"`
	Actor      string           `json:"actor"`
	Key        *plane.Key       `json:"key,omitempty"`
	BackendID  plane.BackendID  `json:"backend_id,omitempty"`
	Generation plane.Generation `json:"generation,omitempty"`
	Node       plane.NodeName   `json:"node,omitempty"`
	RequestID  string           `json:"request_id,omitempty"`
	Text       string           `json:"text"`
}

// Applied says what came of giving an app a template.
type Applied struct {
	App      string   `json:"app"`
	Release  int64    `json:"release"`
	Changed  bool     `json:"changed"` // false: it is that already; there is no new release
	Warnings []string `json:"warnings,omitempty"`
}

// AppView is an app at its current release.
type AppView struct {
	Name      string         `json:"name"`
	Default   bool           `json:"default"` // plane dev's, reached as KEY.CLUSTER
	Release   int64          `json:"release"`
	UpdatedAt int64          `json:"updated_at"`       // Unix milliseconds, of the pointer
	Live      int            `json:"live"`             // backends, of whatever release
	Digest    string         `json:"digest,omitempty"` // of the release's image, when known
	Spec      plane.Template `json:"spec"`
	Releases  []ReleaseView  `json:"releases,omitempty"` // newest first, at most 100; only of one app
}

// ReleaseView is one version of an app.
type ReleaseView struct {
	Release   int64          `json:"release"`
	CreatedAt int64          `json:"created_at"` // Unix milliseconds
	Actor     string         `json:"actor"`
	Digest    *string        `json:"digest"` // of the image, when known
	Spec      plane.Template `json:"spec"`
}

// AppList is all apps, by name.
type AppList struct {
	Apps    []AppView `json:"apps"`
	Default *string   `json:"default"` // of plane dev; null elsewhere
}

// DataView is the kept data of one key.
type DataView struct {
	Volume     string           `json:"volume"`
	Key        plane.Key        `json:"key"`
	App        string           `json:"app"`
	Drone      plane.NodeName   `json:"drone"`
	Reachable  bool             `json:"reachable"` // the drone is
	InUse      bool             `json:"in_use"`    // by a live backend
	Generation plane.Generation `json:"generation"`
	Bytes      *int64           `json:"bytes"`      // null = not known now
	CreatedAt  int64            `json:"created_at"` // Unix milliseconds
	AttachedAt int64            `json:"attached_at"`
}

// DataPage is a page of the list of data.
type DataPage struct {
	Data []DataView `json:"data"`
	Next *string    `json:"next"`
}

// APIKeyView is an API key; Secret is shown once, when it is made.
type APIKeyView struct {
	ID        string   `json:"id"`
	Name      string   `json:"name"`
	Grants    []string `json:"grants"`
	CreatedAt int64    `json:"created_at"`
	Secret    string   `json:"secret,omitempty"`
}

// waitLimit bounds how long a connect waits for an old generation to end.
const waitLimit = 60 * time.Second
