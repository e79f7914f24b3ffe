package wire

import (
	"encoding/json"

	"plane"
)

// Message is one of the types of this file.
type Message interface{ kind() string }

// Node is what every part says of itself first.
type Node struct {
	Protocol int               `json:"protocol"`
	Version  string            `json:"version"`
	Hash     string            `json:"hash"`
	Name     plane.NodeName    `json:"name"`
	Cluster  plane.ClusterName `json:"cluster"`
}

// Self is what a hello says of the part that sends it.
func (n Node) Self() Node { return n }

// Kind is the name of a message's type on the wire.
func Kind(m Message) string { return m.kind() }

// Held is one backend of a drone's inventory.
type Held struct {
	Backend    plane.BackendID  `json:"backend"`
	Key        plane.Key        `json:"key"`
	Generation plane.Generation `json:"generation"`
	Policy     plane.Policy     `json:"policy"`
	Epoch      int64            `json:"epoch"`
	State      plane.State      `json:"state"`
	App        string           `json:"app,omitempty"`
	Release    int64            `json:"release,omitempty"`
	Volume     string           `json:"volume,omitempty"` // id of its kept data
	Spec       plane.Spec       `json:"spec"`
}

// DroneHello opens a drone's connection.
type DroneHello struct {
	Node
	Pool     string   `json:"pool"`
	BootID   string   `json:"boot_id"`
	Warden   string   `json:"warden"` // instance of the warden
	Agent    string   `json:"agent"`  // instance of the agent; a newer one supersedes
	Runtimes []string `json:"runtimes"`
	Commands bool     `json:"commands"` // runs commands that callers name
	// Runtimes that were asked for, or are usual, and can't be offered: what is
	// missing, e.g. "oci": "no crun or runc".
	RuntimesMissing map[string]string `json:"runtimes_missing,omitempty"`
	Address         string            `json:"address"` // of the gate; "" = proxies dial backends directly
	SameHost        string            `json:"same_host"`
	Attempt         int64             `json:"attempt"` // highest renewal number it has used
	Epochs          *plane.Epochs     `json:"epochs"`  // those it resumes; nil = it never joined
	Joins           bool              `json:"joins"`   // nothing of Epochs runs here any more: end them
	Store           plane.StoreEpoch  `json:"store"`   // highest it has seen
	Inventory       []Held            `json:"inventory"`
}

// DroneWelcome answers DroneHello.
type DroneWelcome struct {
	Controller plane.NodeName    `json:"controller"`
	Version    string            `json:"version"`
	Store      plane.StoreEpoch  `json:"store"`
	Epochs     plane.Epochs      `json:"epochs"`      // current ones; those above the hello's mean that the older lapsed
	Attempt    int64             `json:"attempt"`     // highest renewal number that the store knows: number on from here
	LeaseClock bool              `json:"lease_clock"` // false: store and only drone share a kernel, suspend doesn't count
	Kill       []plane.BackendID `json:"kill"`        // of the inventory: older than the store's, or not the store's at all
}

// Renew asks for the lease to be renewed. Every attempt has its own number.
type Renew struct {
	Number int64            `json:"number"`
	Epochs plane.Epochs     `json:"epochs"`
	Store  plane.StoreEpoch `json:"store"`
}

// Outcome of a renewal.
type Outcome string

// The outcomes; no answer is a fourth one.
const (
	RenewalOK         Outcome = "ok"
	RenewalRefused    Outcome = "refused"    // epochs ended: Epochs are the current ones
	RenewalSuperseded Outcome = "superseded" // a newer agent of this drone is connected
)

// Renewed answers Renew, after the commit.
type Renewed struct {
	Number  int64            `json:"number"`
	Outcome Outcome          `json:"outcome"`
	Epochs  plane.Epochs     `json:"epochs"`
	Store   plane.StoreEpoch `json:"store"`
}

// Spawn tells a drone to run a backend. Acknowledged by Acted.
type Spawn struct {
	Action      string            `json:"action"`
	Backend     plane.BackendID   `json:"backend"`
	Key         plane.Key         `json:"key"`
	Generation  plane.Generation  `json:"generation"`
	Cluster     plane.ClusterName `json:"cluster"`
	Grant       plane.Grant       `json:"grant"`
	App         string            `json:"app,omitempty"`
	Release     int64             `json:"release,omitempty"`
	Spec        plane.Spec        `json:"spec"`
	StaticToken string            `json:"static_token,omitempty"`
	Volume      *Volume           `json:"volume,omitempty"`     // of its data, with DataKeep
	RequestID   string            `json:"request_id,omitempty"` // of the connect that asked for it
}

// Volume is a key's data on the drone. Unless it is new its directory must
// exist: an empty one in its place would be the loss of a document.
type Volume struct {
	ID  string `json:"id"`
	New bool   `json:"new"`
}

// Discard tells a drone that a key's data was given up: it is put aside, not
// deleted. Acknowledged by Acted, also where there is none.
type Discard struct {
	Action string `json:"action"`
	Volume string `json:"volume"`
}

// Terminate tells a drone to make a backend absent. Acknowledged by Acted.
type Terminate struct {
	Action  string          `json:"action"`
	Backend plane.BackendID `json:"backend"`
	Policy  plane.Policy    `json:"policy"`
	Kind    plane.StopKind  `json:"kind"`
	Reason  plane.Reason    `json:"reason"`
}

// Acted acknowledges a Spawn or Terminate. A refused spawn has left a
// tombstone: it will never start here.
type Acted struct {
	Action  string          `json:"action"`
	Backend plane.BackendID `json:"backend"`
	Refusal plane.Refusal   `json:"refusal,omitempty"`
}

// Status reports a state that a backend entered. Acknowledged by StatusDone;
// Seq rises by one per drone and is kept over restarts of the agent.
type Status struct {
	Seq        int64            `json:"seq"`
	Backend    plane.BackendID  `json:"backend"`
	Generation plane.Generation `json:"generation"`
	State      plane.State      `json:"state"`
	AtMS       int64            `json:"at_ms"`
}

// Statuses are several reports at once, in order.
type Statuses struct {
	Reports []Status `json:"reports"`
}

// StatusDone acknowledges reports, after the commit. That of a terminated
// backend comes after connected proxies have withdrawn its route, so that its
// address may be used again.
type StatusDone struct {
	Seqs []int64 `json:"seqs"`
}

// Drain tells a drone that it gets no new backends, or does again; those that
// it runs are told. It is repeated after each welcome while it holds.
type Drain struct {
	On bool `json:"on"`
}

// IdleAsk asks the drone whether a backend that no proxy uses may stop. After
// Yes the drone has already begun to stop it.
type IdleAsk struct {
	ID      int64           `json:"id"`
	Backend plane.BackendID `json:"backend"`
}

// IdleAnswer answers IdleAsk; Why names what holds it awake.
type IdleAnswer struct {
	ID      int64           `json:"id"`
	Backend plane.BackendID `json:"backend"`
	Yes     bool            `json:"yes"`
	Why     string          `json:"why,omitempty"`
}

// Usage is what one backend uses.
type Usage struct {
	Backend plane.BackendID `json:"backend"`
	CPUMS   int64           `json:"cpu_ms"`
	Memory  int64           `json:"memory_bytes"`
	Holds   []Hold          `json:"holds,omitempty"`
	Cache   int64           `json:"cache_bytes,omitempty"`
	Pids    int64           `json:"pids,omitempty"`
	In      int64           `json:"received_bytes,omitempty"`
	Out     int64           `json:"sent_bytes,omitempty"`
	Disk    int64           `json:"disk_bytes,omitempty"` // of its own layer
	Data    int64           `json:"data_bytes,omitempty"` // of its data directory
	Warning string          `json:"warning,omitempty"`    // e.g. listens on all interfaces

	Commands int `json:"commands,omitempty"` // that run in it for somebody, see ExecAsk
}

// Hold is something that keeps a backend awake without a request.
type Hold struct {
	Name      string `json:"name"`
	Reason    string `json:"reason,omitempty"`
	SecondsTo int64  `json:"seconds_to"` // until it ends by itself
}

// Telemetry reports usage. It may be dropped.
type Telemetry struct {
	Backends []Usage `json:"backends"`
	Host     *Host   `json:"host,omitempty"`
}

// Host is what the drone's machine has and uses.
type Host struct {
	CPUs        int     `json:"cpus"`
	CPUPercent  float64 `json:"cpu_percent"` // of all CPUs, since the last report
	Memory      int64   `json:"memory_bytes"`
	MemoryUsed  int64   `json:"memory_used_bytes"` // total less what is available
	Disk        int64   `json:"disk_bytes"`        // of the file system of the data directory
	DiskUsed    int64   `json:"disk_used_bytes"`
	ImagesBytes int64   `json:"images_bytes,omitempty"` // of the drone's own image store
}

// Progress tells how far the preparation of a backend has come. It may be
// dropped; a later one replaces it.
type Progress struct {
	Backend plane.BackendID `json:"backend"`
	Text    string          `json:"text"`
	Done    int64           `json:"done_bytes"`
	Total   int64           `json:"total_bytes,omitempty"` // 0 = not known yet
}

// ExecAsk asks a drone to run a command in a backend. What happens then is told
// by ExecPart both ways, all with that ID, which the controller chooses.
type ExecAsk struct {
	ID      int64           `json:"id"`
	Backend plane.BackendID `json:"backend"`
	Argv    []string        `json:"argv"`
	TTY     bool            `json:"tty,omitempty"`
	Rows    uint16          `json:"rows,omitempty"`
	Cols    uint16          `json:"cols,omitempty"`
	Actor   string          `json:"actor"`
}

// ExecPart is a piece of a command's input (to the drone) or output (from it).
// Each side may have at most ExecWindow bytes under way that the other hasn't
// acknowledged by Taken. Data and what must come after it, EOF and the last
// part, go through SendBulk; Taken and Kill through Send.
type ExecPart struct {
	ID     int64  `json:"id"`
	Data   []byte `json:"data,omitempty"`
	Stderr bool   `json:"stderr,omitempty"` // of output without TTY
	EOF    bool   `json:"eof,omitempty"`    // no more input
	Taken  int64  `json:"taken,omitempty"`  // bytes that the receiver has passed on since the last
	Rows   uint16 `json:"rows,omitempty"`   // the terminal's new size
	Cols   uint16 `json:"cols,omitempty"`
	Kill   bool   `json:"kill,omitempty"`  // to the drone: the asker is gone
	Exit   *int   `json:"exit,omitempty"`  // from the drone, the last part
	Error  string `json:"error,omitempty"` // from the drone, the last part
}

// ExecWindow is how many bytes of one direction may be under way.
const ExecWindow = 256 << 10

// LogsAsk asks for the last Tail bytes of a backend's output, and for what
// follows if Follow.
type LogsAsk struct {
	ID      int64           `json:"id"`
	Backend plane.BackendID `json:"backend"`
	Tail    int64           `json:"tail"` // lines; 0 = all that is kept
	Follow  bool            `json:"follow"`
}

// LogsStop ends the answer to a LogsAsk.
type LogsStop struct {
	ID int64 `json:"id"`
}

// LogsPart is a piece of output. EOF ends the answer.
type LogsPart struct {
	ID    int64  `json:"id"`
	Data  []byte `json:"data,omitempty"`
	EOF   bool   `json:"eof,omitempty"`
	Error string `json:"error,omitempty"`
}

// ProxyHello opens a proxy's connection.
type ProxyHello struct {
	Node
	Instance string `json:"instance"`
	Open     []Use  `json:"open"` // what is open through it now, so that nothing in use is taken for idle
}

// TokenKey is a key that tokens are sealed with.
type TokenKey struct {
	Number   uint32 `json:"number"`
	Secret   []byte `json:"secret"`
	ActiveMS int64  `json:"active_ms"` // sealing begins then
}

// ProxyWelcome answers ProxyHello.
type ProxyWelcome struct {
	Controller plane.NodeName   `json:"controller"`
	Version    string           `json:"version"`
	Store      plane.StoreEpoch `json:"store"`
	Keys       []TokenKey       `json:"keys"`
	OldestKey  uint32           `json:"oldest_key"` // tokens of lower numbers are refused
	StaticKey  []byte           `json:"static_key"`
	Dev        bool             `json:"dev"`    // plane dev: unnamed or default app on KEY.CLUSTER, tokens on any host, start page
	Reload     bool             `json:"reload"` // pages of key URLs load themselves again when their app changes
}

// Keys replaces the keys of ProxyWelcome.
type Keys struct {
	Keys      []TokenKey `json:"keys"`
	OldestKey uint32     `json:"oldest_key"`
	StaticKey []byte     `json:"static_key"`
}

// KeysAsk asks for Keys, because a token names an unknown number.
type KeysAsk struct{}

// RouteAsk asks for a backend's route. Answered by RouteAnswer with that ID
// now, and by RouteUpdate whenever it changes.
type RouteAsk struct {
	ID         int64           `json:"id"`
	Backend    plane.BackendID `json:"backend,omitempty"`
	StaticHash string          `json:"static_hash,omitempty"` // instead of Backend
}

// RouteAnswer answers RouteAsk. Route is nil for a backend unknown or ended.
type RouteAnswer struct {
	ID      int64           `json:"id"`
	Backend plane.BackendID `json:"backend,omitempty"`
	Route   *plane.Route    `json:"route"`
	Error   *Error          `json:"error,omitempty"` // can't be answered now
}

// RouteUpdate tells of a route's change. A route whose status is ending takes
// no new request; Terminated withdraws it and is acknowledged by RouteGone.
type RouteUpdate struct {
	Route plane.Route `json:"route"`
}

// RouteGone acknowledges a withdrawn route: nothing more is sent to its address.
type RouteGone struct {
	Backend plane.BackendID `json:"backend"`
}

// KeyAsk asks for the backend of a key URL, to be started if there is none.
type KeyAsk struct {
	ID        int64             `json:"id"`
	Cluster   plane.ClusterName `json:"cluster"`
	App       string            `json:"app"` // "" = unnamed, or the default app
	Name      string            `json:"name"`
	Visitor   *Visitor          `json:"visitor,omitempty"` // whoever came with a cookie of this key
	NoStart   bool              `json:"no_start,omitempty"`
	RequestID string            `json:"request_id,omitempty"`
}

// Visitor is who once came with a token of a key: that of Backend. A later
// backend of the key lets them in unless that token was revoked.
type Visitor struct {
	Backend    plane.BackendID `json:"backend"`
	User       *string         `json:"user,omitempty"`
	Revocation int64           `json:"revocation"`
}

// KeyAnswer answers KeyAsk. Error Unauthorized: the app's access is token, and
// the visitor is missing or was revoked; nothing was started.
type KeyAnswer struct {
	ID    int64        `json:"id"`
	Key   plane.Key    `json:"key"`
	Route *plane.Route `json:"route"`
	Error *Error       `json:"error,omitempty"`
}

// Error is a plane.Error on the wire.
type Error struct {
	Kind    plane.Kind `json:"kind"`
	Message string     `json:"message"`
	Status  int        `json:"status,omitempty"`
	RetryMS int64      `json:"retry_ms,omitempty"`
	Output  string     `json:"output,omitempty"`
}

// AppChanged tells that an app's program may have changed: open pages whose
// backend isn't live load themselves again. A hint; it may be lost.
type AppChanged struct {
	App     string `json:"app"`
	Default bool   `json:"default"` // it is also meant where KeyAsk names none
}

// OverviewAsk asks for what the start page of `plane dev` shows.
type OverviewAsk struct {
	ID int64 `json:"id"`
}

// Overview answers OverviewAsk. Error NotFound: this isn't plane dev.
type Overview struct {
	ID       int64             `json:"id"`
	Apps     []OverviewApp     `json:"apps"`
	Backends []OverviewBackend `json:"backends"` // live ones and, of keys without, the last that ended within an hour; at most 200
	Total    int               `json:"total"`    // live ones
	Error    *Error            `json:"error,omitempty"`
}

// OverviewApp is an app that is served.
type OverviewApp struct {
	Name    string `json:"name"`
	Default bool   `json:"default"` // reached as KEY.CLUSTER
	Runs    string `json:"runs"`    // its command or image, for people
	Release int64  `json:"release"`
}

// OverviewBackend is one row of the start page.
type OverviewBackend struct {
	Key         plane.Key       `json:"key"`
	App         string          `json:"app"`
	Backend     plane.BackendID `json:"backend"`
	Status      plane.Status    `json:"status"`
	SinceMS     int64           `json:"since_ms"`
	Connections int             `json:"connections"`
	Memory      int64           `json:"memory_bytes"`
	End         string          `json:"end,omitempty"` // how it ended, a sentence
}

// Use is what one backend is used for through a proxy.
type Use struct {
	Backend  plane.BackendID `json:"backend"`
	Plain    int             `json:"plain"`    // open requests of any kind that isn't upgraded
	Upgraded int             `json:"upgraded"` // WebSockets and the like
	Opened   int64           `json:"opened"`   // requests ever opened by this proxy instance
}

// Open is the number of open requests.
func (u Use) Open() int { return u.Plain + u.Upgraded }

// Activity reports changes of use. Later reports replace earlier ones.
type Activity struct {
	Uses []Use `json:"uses"`
}

// Quiesce asks a proxy to admit nothing more to an unused backend.
type Quiesce struct {
	ID      int64           `json:"id"`
	Backend plane.BackendID `json:"backend"`
	Opened  int64           `json:"opened"` // of the last report that the controller has; more = used since
}

// Quiesced answers Quiesce. After Idle the proxy holds new requests of that
// backend until its route changes or Resume comes.
type Quiesced struct {
	ID      int64           `json:"id"`
	Backend plane.BackendID `json:"backend"`
	Idle    bool            `json:"idle"`
}

// Resume lets a quiesced backend be used again.
type Resume struct {
	Backend plane.BackendID `json:"backend"`
}

// Goodbye says why the sender ends the connection.
type Goodbye struct {
	Reason string `json:"reason"`
}

func (DroneHello) kind() string   { return "drone_hello" }
func (DroneWelcome) kind() string { return "drone_welcome" }
func (Renew) kind() string        { return "renew" }
func (Renewed) kind() string      { return "renewed" }
func (Spawn) kind() string        { return "spawn" }
func (Terminate) kind() string    { return "terminate" }
func (Acted) kind() string        { return "acted" }
func (Statuses) kind() string     { return "statuses" }
func (Progress) kind() string     { return "progress" }
func (ExecAsk) kind() string      { return "exec_ask" }
func (ExecPart) kind() string     { return "exec_part" }
func (StatusDone) kind() string   { return "status_done" }
func (Drain) kind() string        { return "drain" }
func (IdleAsk) kind() string      { return "idle_ask" }
func (IdleAnswer) kind() string   { return "idle_answer" }
func (Telemetry) kind() string    { return "telemetry" }
func (LogsAsk) kind() string      { return "logs_ask" }
func (LogsStop) kind() string     { return "logs_stop" }
func (LogsPart) kind() string     { return "logs_part" }
func (ProxyHello) kind() string   { return "proxy_hello" }
func (ProxyWelcome) kind() string { return "proxy_welcome" }
func (Keys) kind() string         { return "keys" }
func (KeysAsk) kind() string      { return "keys_ask" }
func (RouteAsk) kind() string     { return "route_ask" }
func (RouteAnswer) kind() string  { return "route_answer" }
func (RouteUpdate) kind() string  { return "route_update" }
func (RouteGone) kind() string    { return "route_gone" }
func (KeyAsk) kind() string       { return "key_ask" }
func (KeyAnswer) kind() string    { return "key_answer" }
func (Activity) kind() string     { return "activity" }
func (Quiesce) kind() string      { return "quiesce" }
func (Quiesced) kind() string     { return "quiesced" }
func (Resume) kind() string       { return "resume" }
func (Goodbye) kind() string      { return "goodbye" }
func (Discard) kind() string      { return "discard" }
func (AppChanged) kind() string   { return "app_changed" }
func (OverviewAsk) kind() string  { return "overview_ask" }
func (Overview) kind() string     { return "overview" }

var decoders = map[string]func(json.RawMessage) (Message, error){}

func register[M Message]() {
	var zero M
	decoders[zero.kind()] = func(raw json.RawMessage) (Message, error) {
		var m M
		err := json.Unmarshal(raw, &m)
		return m, err
	}
}

func init() {
	register[DroneHello]()
	register[DroneWelcome]()
	register[Renew]()
	register[Renewed]()
	register[Spawn]()
	register[Terminate]()
	register[Acted]()
	register[Statuses]()
	register[StatusDone]()
	register[Drain]()
	register[IdleAsk]()
	register[IdleAnswer]()
	register[Telemetry]()
	register[LogsAsk]()
	register[Progress]()
	register[ExecAsk]()
	register[ExecPart]()
	register[LogsStop]()
	register[LogsPart]()
	register[ProxyHello]()
	register[ProxyWelcome]()
	register[Keys]()
	register[KeysAsk]()
	register[RouteAsk]()
	register[RouteAnswer]()
	register[RouteUpdate]()
	register[RouteGone]()
	register[KeyAsk]()
	register[KeyAnswer]()
	register[Activity]()
	register[Quiesce]()
	register[Quiesced]()
	register[Resume]()
	register[Goodbye]()
	register[Discard]()
	register[AppChanged]()
	register[OverviewAsk]()
	register[Overview]()
}
