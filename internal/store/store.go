// Package store is what the controller remembers: rows, and transactions over
// them. Rules stand above it; it only keeps its constraints. storetest holds
// every implementation to this text.
package store

import (
	"context"
	"errors"
	"time"

	"plane"
)

var (
	// ErrNotFound: no such row.
	ErrNotFound = errors.New("not found")
	// ErrConflict: a row with that identity exists. The transaction may go on.
	ErrConflict = errors.New("conflict")
	// ErrClosed: the store has been closed.
	ErrClosed = errors.New("store closed")
)

// Store runs transactions. fn may run twice; it uses only its Tx, has no side
// effects and never nests. What it computed counts after Update has returned
// nil: then it is durable. An error of fn rolls back fn alone, and is returned
// as it is. Any other error means that nothing is known of the outcome.
type Store interface {
	// View runs fn on a consistent snapshot no older than the last Update that returned.
	View(ctx context.Context, fn func(Tx) error) error
	// Update runs fn with the right to write. The end of ctx ends the wait, not
	// a commit that is under way, nor others' that share it.
	Update(ctx context.Context, fn func(Tx) error) error
	// Urgent is Update ahead of everything queued: for renewals.
	Urgent(ctx context.Context, fn func(Tx) error) error
	Close() error
}

// Exclusive is a power of stores that only one process can have open: what it
// has read and not changed since is still true.
type Exclusive interface{ Exclusive() bool }

// Tx is one transaction.
type Tx interface {
	// Now is the database's clock. It doesn't change within a transaction
	// after the first call.
	Now() time.Time
	MetaRows
	KeyRows
	BackendRows
	NodeRows
	ActionRows
	EventRows
	SecretRows
	AppRows
	VolumeRows
}

// MetaRows are the few values there are one of.
type MetaRows interface {
	// StoreEpoch is the current one. A new store has a random id and number 1.
	StoreEpoch() (plane.StoreEpoch, error)
	// RaiseStoreEpoch sets its number to 1 + max(current, least).
	RaiseStoreEpoch(least int64) (plane.StoreEpoch, error)
	// NextGeneration is larger than all it ever gave.
	NextGeneration() (plane.Generation, error)
	// Meta and SetMeta keep small values by name; ErrNotFound.
	Meta(name string) (string, error)
	SetMeta(name, value string) error
}

// Key is the claim of one backend on a (namespace, name).
type Key struct {
	Key        plane.Key
	Backend    plane.BackendID
	Generation plane.Generation
}

// KeyRows hold at most one row per (namespace, name): promise L1.
type KeyRows interface {
	Key(namespace, name string) (Key, error)
	// InsertKey gives ErrConflict if the (namespace, name) has a row.
	InsertKey(Key) error
	// DeleteKey deletes the row only if that backend still holds it, and says whether it did.
	DeleteKey(namespace, name string, backend plane.BackendID) (bool, error)
	// Crash is how a key's last starts went; the zero value if nothing is known.
	Crash(namespace, name string) (Crash, error)
	SetCrash(namespace, name string, c Crash) error // the zero value deletes
	// ForgetCrashes deletes those of all keys of a namespace.
	ForgetCrashes(namespace string) error
	// DeleteCrashes deletes at most limit rows not changed since before.
	DeleteCrashes(before time.Time, limit int) (int, error)
}

// Crash counts ends that nobody asked for within 60 s of their starts.
type Crash struct {
	Count  int
	Last   time.Time // end of the last one
	Output string    // its last output
	Exit   plane.Exit
}

// Backend is one run of an executable: what was asked, granted and has become of it.
type Backend struct {
	ID         plane.BackendID
	Key        plane.Key
	Generation plane.Generation
	Cluster    plane.ClusterName
	Drone      plane.NodeName
	App        string
	Release    int64
	Volume     string // of its data, with DataKeep
	Spec       plane.Spec
	Policy     plane.Policy
	Epoch      int64  // of the drone, for that policy
	Static     bool   // its token is the static one
	Subdomain  string // "" = none
	Actor      string
	Decision   string // why this drone, for people
	RequestID  string
	CreatedAt  time.Time
	ReadyAt    time.Time // zero before

	State      plane.State
	StateAt    time.Time
	Revocation int64 // rises with every revocation
	Revision   int64 // rises with every change that a route shows
}

// Filter chooses backends; zero fields choose all.
type Filter struct {
	Cluster   plane.ClusterName
	Namespace *string
	KeyPrefix string
	App       *string
	Status    plane.Status
	Drone     plane.NodeName
	Live      bool            // only those not terminated
	After     plane.BackendID // cursor: ids greater than this, in id order
	Limit     int             // 0 = 1000
}

// Step is one entry of a backend's history.
type Step struct {
	State plane.State
	At    time.Time
}

// BackendRows are the backends and their histories.
type BackendRows interface {
	// Backend gives ErrNotFound.
	Backend(plane.BackendID) (Backend, error)
	// InsertBackend writes the row and the first step of its history
	// (State, at Now). ErrConflict if the id was ever used.
	InsertBackend(Backend) error
	// RecordState stores s and appends to the history only if its status is
	// later than the stored one, and reports whether it did. at is the time
	// to keep. ready sets ReadyAt. Revision rises. An id without a row is
	// false: whoever reports it has nothing more to say.
	RecordState(id plane.BackendID, s plane.State, at time.Time) (bool, error)
	Backends(Filter) ([]Backend, error)
	// KeyBackends are the latest limit backends of a key, newest first.
	KeyBackends(namespace, name string, limit int) ([]Backend, error)
	History(plane.BackendID) ([]Step, error)
	// LiveOn are the backends of a drone that are not terminated.
	LiveOn(plane.NodeName) ([]Backend, error)
	CountLive(plane.NodeName) (int, error)
	// CountLiveIn counts those on the drones of a cluster, CountLiveOf those of
	// an app: with a release from 1.
	CountLiveIn(plane.ClusterName) (int, error)
	CountLiveOf(app string) (int, error)
	// Ended are the latest limit backends that terminated after that time,
	// newest first.
	Ended(after time.Time, limit int) ([]Backend, error)
	// Revoke raises the backend's number, records it for user and returns it;
	// ErrNotFound.
	Revoke(id plane.BackendID, user string) (int64, error)
	Revoked(plane.BackendID) (map[string]int64, error)
	// RevokedLater reports whether that user was revoked on a backend of the
	// key with a generation above g.
	RevokedLater(namespace, name string, g plane.Generation, user string) (bool, error)
	// DeleteEnded deletes at most limit backends, with all that belongs to
	// them, that terminated before that time. Ids stay used.
	DeleteEnded(before time.Time, limit int) (int, error)
}

// Drone is a machine that runs backends, and its lease.
type Drone struct {
	Name       plane.NodeName
	Cluster    plane.ClusterName
	Pool       string
	Version    string
	Hash       string
	Address    string
	Runtimes   []string
	Commands   bool
	BootID     string
	Warden     string
	Agent      string
	Controller plane.NodeName // it is connected to; "" = none
	Connection int64          // numbers its connections: only the latest writes liveness
	Draining   bool
	FirstSeen  time.Time

	Epochs    plane.Epochs
	RenewedAt time.Time        // zero = never
	Renewal   int64            // number of the last committed one
	Store     plane.StoreEpoch // confirmed by its inventory
}

// Proxy is a connected or formerly connected proxy.
type Proxy struct {
	Name       plane.NodeName
	Cluster    plane.ClusterName
	Version    string
	Hash       string
	Instance   string
	Controller plane.NodeName
	Connection int64
	SeenAt     time.Time
}

// ControllerNode is a controller that runs or ran.
type ControllerNode struct {
	Name   plane.NodeName
	Online bool
	SeenAt time.Time
}

// NodeRows are the machines and their leases.
type NodeRows interface {
	Drone(plane.NodeName) (Drone, error)
	Drones(plane.ClusterName) ([]Drone, error) // "" = of all clusters; by first sight
	// PutDrone inserts the row, or updates all but lease, draining and first sight.
	PutDrone(Drone) error
	// DisconnectDrone clears Controller if Connection is still that one; else,
	// and for an unknown drone, it does nothing.
	DisconnectDrone(name plane.NodeName, connection int64) error
	// SetDraining reports whether it changed; ErrNotFound.
	SetDraining(name plane.NodeName, on bool) (bool, error)
	DeleteDrone(plane.NodeName) error
	// Renew sets RenewedAt to the database's clock and Renewal to number, only
	// if epochs are all current, agent is the drone's and number is higher
	// than the stored one; it reports whether it did. One statement.
	Renew(name plane.NodeName, agent string, number int64, epochs plane.Epochs) (bool, error)
	// RaiseEpoch ends one epoch, only if it is still current. With after > 0
	// also only if RenewedAt + after is past on the database's clock (a
	// lapse). It reports whether it did. One statement.
	RaiseEpoch(name plane.NodeName, p plane.Policy, epoch int64, after time.Duration) (bool, error)
	// ConfirmStore notes that the drone gave its inventory for that store
	// epoch; ErrNotFound.
	ConfirmStore(name plane.NodeName, e plane.StoreEpoch) error

	Proxies(plane.ClusterName) ([]Proxy, error)
	PutProxy(Proxy) error
	DisconnectProxy(name plane.NodeName, connection int64) error
	DeleteProxies(before time.Time, limit int) (int, error)

	Controllers() ([]ControllerNode, error)
	PutController(ControllerNode) error
	// DeleteControllers deletes at most limit controllers not seen since before.
	DeleteControllers(before time.Time, limit int) (int, error)
}

// App points at one of its releases.
type App struct {
	Name      string
	Release   int64
	UpdatedAt time.Time // of the pointer
}

// Release is one immutable version of an app.
type Release struct {
	App       string
	Number    int64 // from 1
	Template  plane.Template
	Digest    string // of the image, when known
	Actor     string
	CreatedAt time.Time
}

// AppRows are the apps and their releases.
type AppRows interface {
	Apps() ([]App, error) // by name
	App(name string) (App, error)
	// PutApp inserts the app or moves its pointer, to a release that exists.
	PutApp(name string, release int64) error
	// InsertRelease gives the new release the next number of its app and returns it.
	InsertRelease(Release) (int64, error)
	Release(app string, number int64) (Release, error)
	// NoteDigest keeps the digest of a release's image, unless it has one, and
	// says whether it did. One statement.
	NoteDigest(app string, number int64, digest string) (bool, error)
	// Releases are the latest limit, newest first.
	Releases(app string, limit int) ([]Release, error)
	// DeleteReleases deletes at most limit releases of an app with a number
	// below that one which neither its pointer nor any backend names.
	DeleteReleases(app string, below int64, limit int) (int, error)
}

// Volume is the data of a key.
type Volume struct {
	ID         string
	Namespace  string
	Name       string
	App        string
	Drone      plane.NodeName   // where it is
	Generation plane.Generation // the last one attached
	Made       bool             // its directory exists, or existed
	CreatedAt  time.Time
	AttachedAt time.Time
}

// VolumeRows are at most one volume per (namespace, name).
type VolumeRows interface {
	// Volume gives ErrNotFound.
	Volume(namespace, name string) (Volume, error)
	// Volumes are those of a namespace (nil = all) whose name begins with
	// prefix, with ids greater than after, in id order; limit 0 = 1000.
	Volumes(namespace *string, prefix, after string, limit int) ([]Volume, error)
	// InsertVolume sets CreatedAt and AttachedAt. ErrConflict if the
	// (namespace, name) or the id has a row.
	InsertVolume(Volume) error
	// AttachVolume notes g and Now, only if g is higher than the last one, and
	// says whether it did. One statement.
	AttachVolume(id string, g plane.Generation) (bool, error)
	// MakeVolume sets Made; nothing for an unknown id.
	MakeVolume(id string) error
	DeleteVolume(id string) (bool, error)
}

// Action is something a drone must be told until it acknowledges it.
type Action struct {
	ID        string
	Drone     plane.NodeName
	Backend   plane.BackendID
	Kind      string // "spawn", "terminate" or "discard"
	Body      []byte // the wire message, JSON
	CreatedAt time.Time
}

// ActionRows are the unacknowledged actions, in order of insertion.
type ActionRows interface {
	InsertAction(Action) error
	// Actions are the drone's oldest limit actions with a sequence above after.
	Actions(drone plane.NodeName, after int64, limit int) ([]Action, int64, error)
	// Pending are the backend's.
	Pending(plane.BackendID) ([]Action, error)
	// DeleteAction reports whether there was one.
	DeleteAction(id string) (bool, error)
}

// Event is one entry of the cluster's log.
type Event struct {
	Seq        int64
	At         time.Time
	Kind       string // connect, started, ready, terminate, ended, drain, lapse, join, revoke, api-key, …
	Actor      string
	Key        plane.Key
	Backend    plane.BackendID
	Generation plane.Generation
	Node       plane.NodeName
	RequestID  string
	Text       string // a sentence for people
}

// EventRows are the log.
type EventRows interface {
	InsertEvent(Event) error // Seq and At are set
	// Events are at most limit with Seq > after, in order.
	Events(after int64, limit int) ([]Event, error)
	// KeyEvents are the latest limit of a key, newest first.
	KeyEvents(namespace, name string, limit int) ([]Event, error)
	LastEvent() (int64, error)
	DeleteEvents(before time.Time, limit int) (int, error)
}

// APIKey lets a caller in. The secret itself is not kept.
type APIKey struct {
	ID        string
	Name      string
	Hash      []byte   // SHA-256 of the secret
	Grants    []string // "VERB" or "VERB:NAMESPACE/*"; see controller
	Actor     string
	CreatedAt time.Time
}

// TokenKey seals tokens from ActiveAt on.
type TokenKey struct {
	Number    uint32
	Secret    []byte
	CreatedAt time.Time
	ActiveAt  time.Time
}

// SecretRows are API keys and token keys.
type SecretRows interface {
	APIKeys() ([]APIKey, error)
	APIKeyByHash(hash []byte) (APIKey, error)
	InsertAPIKey(APIKey) error
	DeleteAPIKey(id string) (bool, error)
	TokenKeys(plane.ClusterName) ([]TokenKey, error)  // by number
	InsertTokenKey(plane.ClusterName, TokenKey) error // ErrConflict on the number
	DeleteTokenKey(plane.ClusterName, uint32) error
}
