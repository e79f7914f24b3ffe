package whiteboard

import "encoding/json"

// What a visitor is told. Each message is one JSON object in one frame.
type (
	// hello comes first. Then people, strokes until the last of them says so,
	// and whatever happens.
	hello struct {
		Type       string `json:"type"`
		Key        string `json:"key"`
		Generation int64  `json:"generation"` // another one: another process, which has what was saved
		Durable    bool   `json:"durable"`    // false: kept in memory only
		Restored   bool   `json:"restored"`   // the process found a drawing when it started
		You        int64  `json:"you"`
		Strokes    int    `json:"strokes"` // how many follow
		Limits     limits `json:"limits"`
	}
	strokesMessage struct {
		Type    string    `json:"type"`
		Strokes []*Stroke `json:"strokes"`
		Last    bool      `json:"last"`
	}
	opsMessage struct {
		Type string `json:"type"`
		Ops  []op   `json:"ops"`
	}
	// savedMessage tells an author that those ops are on disk.
	savedMessage struct {
		Type string   `json:"type"`
		IDs  []string `json:"ids"`
	}
	refused struct {
		Type string `json:"type"`
		ID   string `json:"id,omitempty"` // of the op
		Why  string `json:"why"`
	}
	people struct {
		Type   string   `json:"type"`
		People []person `json:"people"`
	}
	person struct {
		ID   int64  `json:"id"`
		Name string `json:"name"`
	}
	beatMessage struct {
		Type    string             `json:"type"`
		Cursors map[int64]*point   `json:"cursors,omitempty"`
		Drawing map[string]*sketch `json:"drawing,omitempty"`
	}
	point [2]int
	// sketch is a stroke that is still being drawn, or a further piece of it.
	sketch struct {
		Who    int64  `json:"who"`
		Color  string `json:"color"`
		Width  int    `json:"width"`
		Points []int  `json:"points"`
	}
)

// said is what a visitor says.
type said struct {
	Type   string  `json:"type"` // name, cursor, draw or op
	Name   string  `json:"name"`
	Cursor *point  `json:"cursor"` // null = left the sheet
	Draw   *Stroke `json:"draw"`   // a further piece of an unfinished stroke
	Op     *op     `json:"op"`
}

func encode(message any) []byte {
	b, err := json.Marshal(message)
	if err != nil {
		panic("whiteboard: a message that is no JSON: " + err.Error()) // texts and numbers only
	}
	return b
}

// pageSize is about how long a message with strokes is, in bytes.
const pageSize = 64 << 10

// pages are the messages that carry strokes; there is at least one.
func pages(strokes []*Stroke) [][]byte {
	var all [][]byte
	for {
		n, size := 0, 0
		for n < len(strokes) && size < pageSize {
			size += len(strokes[n].encoded)
			n++
		}
		all = append(all, encode(strokesMessage{Type: "strokes", Strokes: append([]*Stroke{}, strokes[:n]...), Last: n == len(strokes)}))
		if strokes = strokes[n:]; len(strokes) == 0 {
			return all
		}
	}
}
