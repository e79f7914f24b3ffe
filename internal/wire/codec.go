package wire

import (
	"encoding/json"
	"fmt"
)

type envelope struct {
	Type string          `json:"type"`
	Body json.RawMessage `json:"body"`
}

// Encode gives the bytes of one message.
func Encode(m Message) ([]byte, error) {
	body, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", m.kind(), err)
	}
	out := make([]byte, 0, len(body)+32)
	out = append(out, `{"type":"`...)
	out = append(out, m.kind()...)
	out = append(out, `","body":`...)
	out = append(out, body...)
	return append(out, '}'), nil
}

// Decode reads one message. A type that this version doesn't know gives
// (nil, nil): newer peers may say more.
func Decode(b []byte) (Message, error) {
	var e envelope
	if err := json.Unmarshal(b, &e); err != nil {
		return nil, fmt.Errorf("decode message: %w", err)
	}
	decode, ok := decoders[e.Type]
	if !ok {
		return nil, nil
	}
	m, err := decode(e.Body)
	if err != nil {
		return nil, fmt.Errorf("decode %s: %w", e.Type, err)
	}
	return m, nil
}
