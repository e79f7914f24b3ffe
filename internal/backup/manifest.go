package backup

import (
	"errors"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"plane"
)

// Format is the version of the file's form that this program writes, and the
// newest that it reads.
const Format = 1

const (
	headName = "plane-backup.json" // first
	listName = "contents.json"     // last: without it the file was cut off
)

// Head says what a backup is of.
type Head struct {
	Format    int               `json:"format"`
	Version   string            `json:"version"` // of Plane
	CreatedAt time.Time         `json:"created_at"`
	Schema    int64             `json:"schema"` // of the store
	Store     plane.StoreEpoch  `json:"store"`
	Cluster   plane.ClusterName `json:"cluster,omitempty"`
	Drone     plane.NodeName    `json:"drone,omitempty"` // whose data directory is in it; "" = the store alone
}

// item is a line of the list of contents.
type item struct {
	Path   string `json:"path"`
	Kind   kind   `json:"kind"`
	Size   int64  `json:"size,omitempty"`
	SHA256 string `json:"sha256,omitempty"` // of a file's bytes, or a link's target
}

// listed is a path as the list writes it: JSON holds no bytes that aren't text.
func listed(path string) string {
	if utf8.ValidString(path) {
		return path
	}
	return "quoted " + strconv.QuoteToASCII(path)
}

type kind string

const (
	kindFile kind = "file"
	kindDir  kind = "dir"
	kindLink kind = "link"
)

type contents struct {
	Items []item `json:"items"`
}

// What is wrong with a file, for errors.Is. The errors that carry them are
// sentences that say the remedy.
var (
	ErrNotBackup = errors.New("not a backup of Plane")
	ErrDamaged   = errors.New("damaged backup")
	ErrNewer     = errors.New("written by a newer Plane")
)

// said is an error that reads as its sentence alone.
type said struct {
	kind error
	text string
}

func (s said) Error() string { return s.text }
func (s said) Unwrap() error { return s.kind }

func notBackup(why string) error {
	return said{ErrNotBackup, "it is no backup of Plane (" + why + "); name a file that `plane backup` wrote"}
}

func damaged(format string, args ...any) error {
	return said{ErrDamaged, "it is damaged: " + fmt.Sprintf(format, args...) + "; use another backup"}
}
