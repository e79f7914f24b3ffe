package controller

import (
	"fmt"
	"sync/atomic"
	"testing"

	"plane"
)

func BenchmarkConnectLive(b *testing.B) {
	p := newPlant(b, plantOptions{})
	p.drone("dr-1")
	user := "alice"
	r := keyed("doc")
	r.User, r.Auth = &user, []byte(`{"role":"editor"}`)
	p.until(p.connectTo(r).BackendID, plane.Ready)
	b.ReportAllocs()
	for b.Loop() {
		p.connectTo(r)
	}
}

func BenchmarkConnectNew(b *testing.B) {
	for _, clients := range []int{1, 64} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			p := newPlant(b, plantOptions{})
			p.drone("dr-1", manual)
			var n atomic.Int64
			b.ReportAllocs()
			b.SetParallelism(clients / 2)
			b.ResetTimer()
			if clients == 1 {
				for b.Loop() {
					p.connectTo(keyed(fmt.Sprintf("doc-%d", n.Add(1))))
				}
				return
			}
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					p.connectTo(keyed(fmt.Sprintf("doc-%d", n.Add(1))))
				}
			})
		})
	}
}
