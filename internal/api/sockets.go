package api

import (
	"context"
	"net/http"

	"plane"
	"plane/internal/controller"
	"plane/internal/wire"
)

// droneSocket takes a drone's connection and serves it until it ends.
func (a *API) droneSocket(w http.ResponseWriter, r *http.Request, who controller.Actor) error {
	q, err := parseQuery(r, "pool")
	if err != nil {
		return err
	}
	return a.socket(w, r, who, func(ctx context.Context, c *wire.Conn, cluster plane.ClusterName) error {
		return a.ctrl.ServeDrone(ctx, c, cluster, q.text("pool"))
	})
}

// proxySocket takes a proxy's connection and serves it until it ends.
func (a *API) proxySocket(w http.ResponseWriter, r *http.Request, who controller.Actor) error {
	return a.socket(w, r, who, a.ctrl.ServeProxy)
}

func (a *API) socket(w http.ResponseWriter, r *http.Request, who controller.Actor, serve func(context.Context, *wire.Conn, plane.ClusterName) error) error {
	if _, ok := r.Header["Origin"]; ok { // also of pages that may call the rest
		return plane.NewError(plane.Forbidden, "Sockets of nodes are not for web pages.")
	}
	if err := who.May(controller.VerbNode, controller.Everywhere); err != nil {
		return err
	}
	cluster := plane.ClusterName(r.PathValue("cluster"))
	if err := cluster.Check(); err != nil {
		return plane.NewError(plane.InvalidClusterName, "Invalid cluster name")
	}
	conn, err := wire.Accept(w, r)
	if err != nil {
		a.log.Warn("socket refused", "route", r.Pattern, "request_id", who.RequestID, "error", err)
		return nil // it has been answered
	}
	defer conn.Close("the controller has ended this connection")
	if err := serve(r.Context(), conn, cluster); err != nil && r.Context().Err() == nil {
		a.log.Info("socket ended", "route", r.Pattern, "cluster", cluster, "peer", r.RemoteAddr, "error", err)
	}
	return nil
}
