package main

import (
	"bytes"
	"strings"
	"testing"

	"plane"
	"plane/client"
)

func TestFiguresAreShownInPeoplesUnitsWhereThereAreAny(t *testing.T) {
	measured := client.Backend{
		BackendID: "a", Key: plane.Key{Name: "k"}, Status: plane.Ready, CPUMS: 1500, MemoryBytes: 5 << 20, Digest: "sha256:1",
		Pids: 3, Received: 2048, Sent: 3 << 20, Disk: 1 << 20, Data: 1 << 20,
	}
	var out bytes.Buffer
	if err := table(&out, topTable([]topRow{{Backend: measured, CPUPercent: 12}, {Backend: client.Backend{Key: plane.Key{Name: "new"}}}})); err != nil {
		t.Fatal(err)
	}
	like(t, out.String(), `KEY +STATUS +AGE +CONNS +CPU % +MEMORY +PROCS +IN +OUT +DISK +HOLDS\nk +ready +\w+ +0 +12\.0 +5\.0 MiB +3 +2 KiB +3\.0 MiB +2\.0 MiB\nnew .* - +- +- +- +- +-\n`)
	if got := usesText(measured); got != "5.0 MiB of memory, 1.5s of CPU so far, 3 processes, 2.0 MiB of disk, 2 KiB in and 3.0 MiB out" {
		t.Error(got)
	}
	out.Reset()
	if err := printBackend(&out, measured, ""); err != nil {
		t.Fatal(err)
	}
	like(t, out.String(), `.*processes +3\nnetwork +2 KiB in and 3\.0 MiB out\nown files +1\.0 MiB\ndata +1\.0 MiB\nimage +sha256:1\n`)

	rows := nodeRows(client.ClusterState{Drones: []client.Drone{
		{Host: &client.Host{CPUs: 2, CPUPercent: 41.6, Memory: 4 << 30, MemoryUsed: 1 << 30, Disk: 100 << 30, DiskUsed: 25 << 30}}, {},
	}})
	if got := strings.Join(rows[1][6:], "|"); got != "42 % of 2 CPUs|1.0 GiB of 4.0 GiB|25.0 GiB of 100.0 GiB" {
		t.Error(got)
	}
	if got := strings.Join(rows[2][6:], "|"); got != "-|-|-" {
		t.Error(got)
	}
	if bare := nodeRows(client.ClusterState{Drones: []client.Drone{{}}}); len(bare[0]) != 6 {
		t.Error(bare)
	}
}

func TestNodesTellWhatTheyRunAndWhatTheyMiss(t *testing.T) {
	lacking := client.Drone{
		Runtimes: []string{"process"}, Missing: map[string]string{"oci": "Neither crun nor runc is installed; install crun.", "docker": "No engine."},
		Node: client.Node{Name: map[string]plane.NodeName{"Drone": "dr-1"}},
	}
	other := lacking
	other.Missing = map[string]string{"docker": "No engine."}
	other.Runtimes = []string{"oci", "process"}
	state := client.ClusterState{Drones: []client.Drone{lacking, other, {Missing: map[string]string{"oci": "None."}, Node: client.Node{Name: map[string]plane.NodeName{"Drone": "dr-3"}}}}}
	var out bytes.Buffer
	if err := table(&out, nodeRows(state)); err != nil {
		t.Fatal(err)
	}
	if err := printMissing(&out, state); err != nil {
		t.Fatal(err)
	}
	like(t, out.String(), `NODE [^\n]+ VERSION +RUNS\n[^\n]+process \(not docker, oci\)\n[^\n]+oci, process \(not docker\)\n[^\n]+nothing \(not oci\)\n\n`+
		`2 drones can't offer docker: No engine\.\ndr-1 can't offer oci: Neither crun nor runc is installed; install crun\.\ndr-3 can't offer oci: None\.\n`)
}
