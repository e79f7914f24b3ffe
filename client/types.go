package client

import (
	"encoding/json"
	"time"

	"plane"
)

// ConnectRequest asks for the backend of a key. Everything may be left out.
type ConnectRequest struct {
	Key           *plane.Key      `json:"key,omitempty"`          // nil = a random key
	Spawn         *plane.Spec     `json:"spawn_config,omitempty"` // nil = only attach, or what App says
	User          *string         `json:"user,omitempty"`
	Auth          json.RawMessage `json:"auth,omitempty"` // a JSON object
	App           string          `json:"app,omitempty"`
	Wait          string          `json:"wait,omitempty"`                   // "ready" or ""
	WaitSeconds   int             `json:"wait_seconds,omitempty"`           // 1 to 120
	TokenLifetime int             `json:"token_lifetime_seconds,omitempty"` // 0 = as long as the backend lives
	Port          string          `json:"port,omitempty"`
}

// ConnectResponse leads to the backend.
type ConnectResponse struct {
	BackendID   plane.BackendID  `json:"backend_id"`
	Spawned     bool             `json:"spawned"`
	Status      plane.Status     `json:"status"`
	Token       string           `json:"token"`
	URL         string           `json:"url"`
	Subdomain   *string          `json:"subdomain"`
	SecretToken *string          `json:"secret_token"`
	StatusURL   string           `json:"status_url"`
	Drone       *plane.NodeName  `json:"drone"` // nil unless spawned
	Key         plane.Key        `json:"key"`
	Generation  plane.Generation `json:"generation"`
	URLs        URLs             `json:"urls"`
	Expires     *int64           `json:"expires"` // Unix milliseconds; nil = as long as the backend lives
}

// URLs are the ways to a backend.
type URLs struct {
	Token string  `json:"token"`
	Key   *string `json:"key"`
}

// StatusEntry is one status that a backend entered.
type StatusEntry struct {
	Status            plane.Status   `json:"status"`
	TerminationReason plane.Reason   `json:"termination_reason,omitempty"`
	TerminationKind   plane.StopKind `json:"termination_kind,omitempty"`
	ExitError         *bool          `json:"exit_error,omitempty"` // of terminated
	Message           string         `json:"message,omitempty"`    // of terminated that nobody asked for: how it ended, a sentence
	Time              int64          `json:"time"`                 // Unix milliseconds
}

// Progress is how far the preparation of a backend has come.
type Progress struct {
	Text    string   `json:"text"` // what is done, e.g. "pulling"
	Done    int64    `json:"done_bytes"`
	Total   *int64   `json:"total_bytes"` // nil = not known yet
	Percent *float64 `json:"percent"`     // likewise
}

// At is when the status was entered.
func (e StatusEntry) At() time.Time { return time.UnixMilli(e.Time).UTC() }

// Backend is one backend.
type Backend struct {
	BackendID   plane.BackendID   `json:"backend_id"`
	Key         plane.Key         `json:"key"`
	Generation  plane.Generation  `json:"generation"`
	App         string            `json:"app"`
	Release     int64             `json:"release"`
	Cluster     plane.ClusterName `json:"cluster"`
	Drone       plane.NodeName    `json:"drone"`
	Status      plane.Status      `json:"status"`
	Activity    string            `json:"activity"`
	Since       int64             `json:"since"` // Unix milliseconds
	Connections int               `json:"connections"`
	Holds       []Hold            `json:"holds"`
	CPUMS       int64             `json:"cpu_ms"`
	MemoryBytes int64             `json:"memory_bytes"` // without what the kernel can drop
	Exit        *Exit             `json:"exit"`

	Digest   string `json:"digest,omitempty"` // of its image
	Cache    int64  `json:"cache_bytes,omitempty"`
	Pids     int64  `json:"pids,omitempty"`
	Received int64  `json:"received_bytes,omitempty"`
	Sent     int64  `json:"sent_bytes,omitempty"`
	Disk     int64  `json:"disk_bytes,omitempty"` // of what it wrote into its own files
	Data     int64  `json:"data_bytes,omitempty"` // of its data directory
	Commands int    `json:"commands,omitempty"`   // that run in it for somebody (`plane exec`)
}

// Hold keeps a backend awake without a request.
type Hold struct {
	Name      string `json:"name"`
	Reason    string `json:"reason,omitempty"`
	SecondsTo int64  `json:"seconds_to"` // until it ends by itself
}

// Exit is how a backend ended.
type Exit struct {
	Code   *int         `json:"code"`
	Signal *string      `json:"signal"`
	OOM    bool         `json:"oom"`
	Reason plane.Reason `json:"reason"`
	Output string       `json:"output"` // its last lines; Message where there are none

	Message string `json:"message,omitempty"` // why it never ran, a sentence
}

// Filter chooses backends; zero fields choose all.
type Filter struct {
	Cluster   plane.ClusterName
	Namespace *string
	KeyPrefix string
	App       *string
	Status    plane.Status
	Drone     plane.NodeName
	Live      bool // only those not terminated
}

// ClusterState is the nodes of a cluster.
type ClusterState struct {
	Drones  []Drone `json:"drones"`
	Proxies []Node  `json:"proxies"`
}

// Node is what all nodes have.
type Node struct {
	Name                   map[string]plane.NodeName `json:"name"` // {"Drone": …} or {"Proxy": …}
	PlaneVersion           string                    `json:"plane_version"`
	PlaneHash              string                    `json:"plane_hash"`
	Controller             plane.NodeName            `json:"controller"`
	ControllerHeartbeatAge int64                     `json:"controller_heartbeat_age"` // seconds
}

// NodeName is the name alone.
func (n Node) NodeName() plane.NodeName {
	for _, name := range n.Name {
		return name
	}
	return ""
}

// Drone is a drone of a cluster.
type Drone struct {
	Ready            bool  `json:"ready"`
	Draining         bool  `json:"draining"`
	LastHeartbeatAge int64 `json:"last_heartbeat_age"` // seconds
	BackendCount     int   `json:"backend_count"`
	Node             Node  `json:"node"`

	Runtimes []string          `json:"runtimes,omitempty"`
	Missing  map[string]string `json:"runtimes_missing,omitempty"` // runtimes that it can't offer, and what they miss
	Host     *Host             `json:"host,omitempty"`             // nil = not measured yet
}

// Host is what a drone's machine has and uses.
type Host struct {
	CPUs        int     `json:"cpus"`
	CPUPercent  float64 `json:"cpu_percent"` // of all CPUs
	Memory      int64   `json:"memory_bytes"`
	MemoryUsed  int64   `json:"memory_used_bytes"`
	Disk        int64   `json:"disk_bytes"` // of the file system of the data directory
	DiskUsed    int64   `json:"disk_used_bytes"`
	ImagesBytes int64   `json:"images_bytes,omitempty"`
}

// Explanation says why a key's backend runs, or doesn't.
type Explanation struct {
	Key      plane.Key `json:"key"`
	Now      *Now      `json:"now"`     // nil = nothing runs
	History  []Past    `json:"history"` // newest first
	Decision string    `json:"decision"`
	Crash    *Crash    `json:"crash_loop"`
	Next     string    `json:"next"`   // why nothing can be started now, a sentence
	Data     *Data     `json:"data"`   // kept for the key
	Events   []Event   `json:"events"` // newest first
}

// Now is the live backend of a key.
type Now struct {
	Backend   Backend     `json:"backend"`
	Plain     int         `json:"open_requests"`
	Upgraded  int         `json:"open_upgraded"`
	Holds     []Hold      `json:"holds"`
	IdleAfter *int64      `json:"idle_after_seconds"`
	IdleIn    *int64      `json:"idle_in_seconds"`
	EndsIn    *int64      `json:"ends_in_seconds"`
	Progress  *plane.Pull `json:"progress"` // of its preparation, while it lasts
	Awake     string      `json:"awake"`
}

// Past is one generation of a key.
type Past struct {
	Backend    plane.BackendID  `json:"backend_id"`
	Generation plane.Generation `json:"generation"`
	Drone      plane.NodeName   `json:"drone"`
	Status     plane.Status     `json:"status"`
	CreatedAt  int64            `json:"created_at"`
	EndedAt    *int64           `json:"ended_at"`
	Digest     string           `json:"digest,omitempty"` // of its image
	Reason     plane.Reason     `json:"reason"`
	Actor      string           `json:"actor"`
	Exit       *Exit            `json:"exit"`
	Story      string           `json:"story"`
}

// Crash is a key's crash loop.
type Crash struct {
	Count   int    `json:"count"`
	RetryIn int64  `json:"retry_in_seconds"`
	Output  string `json:"output"`
}

// Event is one entry of the cluster's log.
type Event struct {
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

// APIKey lets a caller in. Secret is there only when it has just been made.
type APIKey struct {
	ID        string   `json:"id"`
	Name      string   `json:"name"`
	Grants    []string `json:"grants"`
	CreatedAt int64    `json:"created_at"` // Unix milliseconds
	Secret    string   `json:"secret,omitempty"`
}

// Controller is what a controller says of itself.
type Controller struct {
	Status         string            `json:"status"`
	Version        string            `json:"version"`
	Hash           string            `json:"hash"`
	DefaultCluster plane.ClusterName `json:"default_cluster"`
	Project        string            `json:"project,omitempty"` // of a `plane dev`: its working directory
}
