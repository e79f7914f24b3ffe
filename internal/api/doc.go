// Package api is the controller's HTTP API: it lets in who may come in, reads
// requests strictly, calls the controller and writes its answers. It decides
// nothing about backends.
//
// The shapes are those of Plane 0.5, and additions to them. All routes stand in
// routes.go, all statuses of errors in errors.go.
package api
