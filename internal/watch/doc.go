// Package watch tells when files of a project change. It follows directories
// that come and go, and leaves out what editors, version control and package
// managers write.
package watch
