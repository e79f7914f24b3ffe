package journal

import (
	"strconv"

	"plane"
)

// The kinds of record, each with the type that its values have.
const (
	KindNode      Kind = "node"      // Node; one, key ""
	KindRenewal   Kind = "renewal"   // Renewal; one, key ""
	KindBackend   Kind = "backend"   // Backend by id
	KindProgress  Kind = "progress"  // Progress by id
	KindHolds     Kind = "holds"     // Holds by id
	KindReport    Kind = "report"    // Report by ReportKey of its number
	KindTombstone Kind = "tombstone" // Tombstone by id
)

// Node is what the drone is. It is synced whenever it changes.
type Node struct {
	Name     plane.NodeName    `json:"name"`
	Cluster  plane.ClusterName `json:"cluster"`
	Boot     string            `json:"boot"`             // boot during which Epochs were last held
	Warden   string            `json:"warden,omitempty"` // instance seen last, for people
	Epochs   *plane.Epochs     `json:"epochs,omitempty"` // nil = never joined
	Store    plane.StoreEpoch  `json:"store"`            // highest ever seen
	SeqLimit int64             `json:"seq_limit"`        // no report has a higher number
}

// Renewal is the last one that was answered. It need not survive a power cut,
// which no lease clock survives either.
type Renewal struct {
	Boot   string        `json:"boot"`
	Number int64         `json:"number"`
	SentAt plane.Instant `json:"sent_at"`
}

// Backend is what the drone accepted to run.
type Backend struct {
	Key        plane.Key         `json:"key"`
	Generation plane.Generation  `json:"generation"`
	Cluster    plane.ClusterName `json:"cluster"`
	Policy     plane.Policy      `json:"policy"`
	Epoch      int64             `json:"epoch"`
	App        string            `json:"app,omitempty"`
	Release    int64             `json:"release,omitempty"`
	Spec       plane.Spec        `json:"spec"`
	Static     Secret            `json:"static,omitempty"`
	Boot       string            `json:"boot"`
	AcceptedAt plane.Instant     `json:"accepted_at"`
	Request    string            `json:"request,omitempty"` // of the connect that asked for it
	Volume     *Volume           `json:"volume,omitempty"`
	Runtime    string            `json:"runtime,omitempty"` // that it was given to; "" = the one for its kind
}

// Volume is the kept data that a backend was given.
type Volume struct {
	ID  string `json:"id"`
	New bool   `json:"new,omitempty"`
}

// Secret is a text that must not be shown. Its JSON is the text: the journal
// is a file that only its user can read.
type Secret string

// String hides the secret.
func (Secret) String() string { return "***" }

// GoString hides the secret.
func (Secret) GoString() string { return "***" }

// Progress is how far a backend has come.
type Progress struct {
	State   plane.State    `json:"state"`
	Port    int            `json:"port,omitempty"`
	Ports   map[string]int `json:"ports,omitempty"` // further ones, by name
	ReadyAt plane.Instant  `json:"ready_at,omitempty"`
}

// Holds keep a backend awake, by name.
type Holds map[string]Hold

// Hold ends by itself at Until.
type Hold struct {
	Reason string        `json:"reason,omitempty"`
	Until  plane.Instant `json:"until"`
}

// Report is a state that the controller has not acknowledged.
type Report struct {
	Seq        int64            `json:"seq"`
	Backend    plane.BackendID  `json:"backend"`
	Generation plane.Generation `json:"generation"`
	State      plane.State      `json:"state"`
	AtMS       int64            `json:"at_ms"`
	Port       int              `json:"port,omitempty"`  // of terminated: not used again before the acknowledgement
	Ports      []int            `json:"ports,omitempty"` // likewise, further ones
}

// ReportKey is the key of the report with that number.
func ReportKey(seq int64) string { return strconv.FormatInt(seq, 10) }

// Tombstone says that a backend will never start here, until Until of that boot.
type Tombstone struct {
	Boot    string        `json:"boot"`
	Until   plane.Instant `json:"until"`
	Refusal plane.Refusal `json:"refusal"`
}
