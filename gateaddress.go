package plane

import (
	"net"
	"strconv"
	"strings"
)

// GateAddress is the address of a backend that listens in a network namespace
// of its own: whoever stands on the same machine connects to the unix socket of
// its drone's gate, names backend and port, and is handed the connection.
type GateAddress struct {
	Socket  string // path
	Backend BackendID
	Port    int // inside the namespace
}

// gateScheme begins no host name.
const gateScheme = "gate:"

// String is the form in which State.Address and Route.Address carry it.
func (a GateAddress) String() string {
	return gateScheme + string(a.Backend) + ":" + strconv.Itoa(a.Port) + "@" + a.Socket
}

// ParseGateAddress reads what String writes; ok is false for every other
// address, such as host:port.
func ParseGateAddress(s string) (a GateAddress, ok bool) {
	rest, ok := strings.CutPrefix(s, gateScheme)
	if !ok {
		return a, false
	}
	inside, socket, ok := strings.Cut(rest, "@")
	backend, port, err := net.SplitHostPort(inside)
	n, perr := strconv.Atoi(port)
	if !ok || err != nil || perr != nil || socket == "" {
		return a, false
	}
	return GateAddress{Socket: socket, Backend: BackendID(backend), Port: n}, true
}
