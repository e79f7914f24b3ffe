package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"

	"plane"
)

// Data is the kept data of one key.
type Data struct {
	Volume     string           `json:"volume"`
	Key        plane.Key        `json:"key"`
	App        string           `json:"app"`
	Drone      plane.NodeName   `json:"drone"`
	Reachable  bool             `json:"reachable"` // the drone is
	InUse      bool             `json:"in_use"`    // by a live backend
	Generation plane.Generation `json:"generation"`
	Bytes      *int64           `json:"bytes"`       // nil = not known now
	CreatedAt  int64            `json:"created_at"`  // Unix milliseconds
	AttachedAt int64            `json:"attached_at"` // Unix milliseconds
}

// DataFilter chooses data; zero fields choose all.
type DataFilter struct {
	Namespace *string
	KeyPrefix string
}

// Data yields the kept data that f chooses, page by page. It ends after the
// first error.
func (c *Client) Data(ctx context.Context, f DataFilter) iter.Seq2[Data, error] {
	return func(yield func(Data, error) bool) {
		q := url.Values{"limit": {"1000"}}
		if f.Namespace != nil {
			q.Set("namespace", *f.Namespace)
		}
		if f.KeyPrefix != "" {
			q.Set("key_prefix", f.KeyPrefix)
		}
		for {
			var page struct {
				Data []Data  `json:"data"`
				Next *string `json:"next"`
			}
			if err := c.call(ctx, http.MethodGet, "/ctrl/data", q, nil, &page); err != nil {
				yield(Data{}, err)
				return
			}
			for _, d := range page.Data {
				if !yield(d, nil) {
					return
				}
			}
			if page.Next == nil {
				return
			}
			q.Set("cursor", *page.Next)
		}
	}
}

// Abandon gives up the kept data of a key, so that its next backend begins with
// none. It can't be undone. The answer is what was given up.
func (c *Client) Abandon(ctx context.Context, namespace, name string) (Data, error) {
	var got Data
	err := c.call(ctx, http.MethodDelete, "/ctrl/data", url.Values{"namespace": {namespace}, "name": {name}}, nil, &got)
	return got, err
}
