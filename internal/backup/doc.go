// Package backup is the file that `plane backup` writes: a compressed tar that
// begins with what it is, ends with a list of its contents and their checksums,
// and is read into a directory only as a whole. It knows neither the store nor
// drones: only names and files.
package backup
