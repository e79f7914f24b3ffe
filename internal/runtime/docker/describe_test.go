package docker

import (
	"reflect"
	"testing"

	"github.com/moby/moby/api/types/container"

	"plane"
)

func TestGPUsAreAskedForByNumber(t *testing.T) {
	for gpus, want := range map[string][]container.DeviceRequest{
		"":    nil,
		"2":   {{Count: 2, Capabilities: [][]string{{"gpu"}}}},
		"all": {{Count: -1, Capabilities: [][]string{{"gpu"}}}},
	} {
		if got := resources(plane.Executable{GPUs: gpus}).DeviceRequests; !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v", gpus, got)
		}
	}
}
