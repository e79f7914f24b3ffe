// Package plane holds the words and the rules of Plane: names, keys, specs,
// the states of a backend, leases, routes, token claims and errors.
//
// It uses the standard library only and does no I/O, reads no clock and starts
// no goroutine: every rule is a pure function, so that it can be tested in
// every order and at every instant.
package plane
