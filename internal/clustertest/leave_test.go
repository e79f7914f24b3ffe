package clustertest

import (
	"fmt"
	"net"
	"testing"
	"time"
)

func TestDevEndsAtOnceThoughSomebodyWaitsForAProgram(t *testing.T) {
	t.Parallel()
	d := StartDev(t, nil, Build(t).Echo, "--never-listen")
	visitor, err := net.Dial("tcp", d.Proxy)
	if err != nil {
		t.Fatal(err)
	}
	defer visitor.Close()
	fmt.Fprintf(visitor, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", d.host("mute")) // held
	if _, err := d.Await(pageTimeout, func(e Event) bool { return e.Event == "started" && e.Key == "mute" }); err != nil {
		t.Fatal(err)
	}
	const soon = 8 * time.Second // less than a proxy elsewhere lets requests end
	if err := d.Stop(soon); err != nil {
		t.Error(err)
	}
}
