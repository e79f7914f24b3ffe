// Package wire holds the messages between controllers, drones and proxies and
// the connection that carries them: JSON over WebSocket, one message a frame,
//
//	{"type":"renew","body":{…}}
//
// What must arrive is sent again until it is acknowledged, by id; so every
// receiver takes every message twice without harm. Order is kept per
// connection. Durations cross machines, instants never do; times named …_ms
// are Unix milliseconds of the sender and are for people.
package wire

// Version is the protocol's. A peer that speaks another one is refused with a
// sentence; a change that old peers can ignore doesn't change it.
const Version = 1
