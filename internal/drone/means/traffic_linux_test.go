package means

import "testing"

func TestTrafficCountsLoopbackOnce(t *testing.T) {
	in, out := traffic("Inter-|\n face |\n    lo:     100       0    0    0    0     0          0         0      100       0\n  eth0:      10       0    0    0    0     0          0         0        7       0\n")
	if in != 110 || out != 7 {
		t.Errorf("%d, %d", in, out)
	}
}
