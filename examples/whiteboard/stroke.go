package whiteboard

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
)

// The sheet has a fixed size, so that everybody sees the same; coordinates are
// tenths of a unit.
const (
	sheetWidth  = 16000
	sheetHeight = 10000
)

// limits keep a whiteboard bounded, whatever its visitors send.
type limits struct {
	Strokes  int `json:"strokes"`  // on the sheet
	Numbers  int `json:"numbers"`  // of all points on the sheet, two each
	Points   int `json:"points"`   // of one stroke
	Visitors int `json:"visitors"` // at a time
	Message  int `json:"message"`  // bytes that a visitor may send at once
	Name     int `json:"name"`     // letters of a visitor's name
}

var bounds = limits{Strokes: 10_000, Numbers: 1_000_000, Points: 1000, Visitors: 200, Message: 32 << 10, Name: 24}

// Stroke is one line of the pen. Once it is on a board it isn't changed.
type Stroke struct {
	ID     string `json:"id"`
	By     string `json:"by"`    // who drew it: can undo it
	Color  string `json:"color"` // a name: the page knows its shade in dark and light
	Width  int    `json:"width"` // in tenths
	Points []int  `json:"points"`

	encoded json.RawMessage
}

var (
	colors   = []string{"ink", "red", "orange", "green", "teal", "blue", "violet", "pink"}
	idFormat = regexp.MustCompile(`^[A-Za-z0-9_-]{8,40}$`)
)

// check reports what is wrong with a stroke that came from a visitor.
func (s Stroke) check() error {
	if err := s.checkPen(); err != nil {
		return err
	}
	if len(s.Points) < 2 {
		return fmt.Errorf("a stroke needs a point")
	}
	return nil
}

// checkPen is check for a stroke that is still being drawn.
func (s Stroke) checkPen() error {
	switch {
	case !idFormat.MatchString(s.ID) || !idFormat.MatchString(s.By):
		return fmt.Errorf("a stroke's id and author are 8 to 40 letters")
	case !slices.Contains(colors, s.Color):
		return fmt.Errorf("there is no colour %.20q", s.Color)
	case s.Width < 10 || s.Width > 400:
		return fmt.Errorf("a width is from 10 to 400")
	case len(s.Points)%2 != 0 || len(s.Points) > 2*bounds.Points:
		return fmt.Errorf("a stroke has at most %d points of two numbers", bounds.Points)
	}
	for i, v := range s.Points {
		if most := [2]int{sheetWidth, sheetHeight}[i%2]; v < 0 || v > most {
			return fmt.Errorf("a point lies outside the sheet")
		}
	}
	return nil
}

// MarshalJSON encodes a stroke once, however many visitors come.
func (s *Stroke) MarshalJSON() ([]byte, error) {
	if s.encoded != nil {
		return s.encoded, nil
	}
	type plain Stroke
	return json.Marshal((*plain)(s))
}
