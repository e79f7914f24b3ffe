package whiteboard

import (
	"bytes"
	"flag"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"os"
	"testing"

	"plane/internal/clustertest"
)

var update = flag.Bool("update", false, "write the picture of the README")

const (
	readmePicture = "../../docs/images/whiteboard.png"
	pictureSize   = 200 << 10 // bytes at most
)

// picture puts two windows beside each other.
func picture(t *testing.T, left, right []byte) {
	t.Helper()
	const gap = 24
	var windows [2]image.Image
	for i, raw := range [][]byte{left, right} {
		var err error
		if windows[i], err = png.Decode(bytes.NewReader(raw)); err != nil {
			t.Fatal(err)
		}
	}
	size := windows[0].Bounds().Size()
	whole := image.NewRGBA(image.Rect(0, 0, 2*size.X+3*gap, size.Y+2*gap))
	draw.Draw(whole, whole.Bounds(), image.NewUniform(color.RGBA{0x2a, 0x31, 0x44, 0xff}), image.Point{}, draw.Src)
	for i, w := range windows {
		at := image.Rect(0, 0, size.X, size.Y).Add(image.Pt(gap+i*(size.X+gap), gap))
		draw.Draw(whole, at, w, w.Bounds().Min, draw.Src)
	}
	var out bytes.Buffer
	e := png.Encoder{CompressionLevel: png.BestCompression}
	if err := e.Encode(&out, whole); err != nil {
		t.Fatal(err)
	}
	clustertest.Artefact(t, "together.png", out.Bytes())
	if *update {
		if err := os.WriteFile(readmePicture, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestThePictureOfTheREADMEIsThereAndSmall(t *testing.T) {
	info, err := os.Stat(readmePicture)
	if err != nil || info.Size() > pictureSize {
		t.Errorf("%v %v; go test ./examples/whiteboard -run Together -update makes it", info, err)
	}
}
