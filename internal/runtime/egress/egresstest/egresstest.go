// Package egresstest has a machine for tests of what containers reach: a network
// namespace with a world around it, which has public, private and metadata
// addresses. Its own tests are about containers of every runtime.
package egresstest
