package main

import (
	"context"
	"strings"

	"plane/internal/drone/offer"
)

// images is what could run images here: a finding for each runtime, and one for
// their ways out. Who runs commands only needs none of it.
func (d doctor) images(ctx context.Context) []finding {
	var all []finding
	for _, x := range offer.Examine(ctx, d.home) {
		all = append(all, ofImages(x))
	}
	return all
}

func ofImages(x offer.Examined) finding {
	switch {
	case len(x.Missing) > 0:
		text, remedy := remedies(x.Missing)
		return warned(x.Name, text, remedy)
	case len(x.Lacks) > 0:
		text, remedy := remedies(x.Lacks)
		return warned(x.Name, x.About+" "+text, remedy)
	}
	return fine(x.Name, "%s", x.About)
}

// remedies takes sentences apart, which say what is wrong and, behind the last
// semicolon, what to do.
func remedies(sentences []string) (wrong, todo string) {
	var texts, ways []string
	for _, s := range sentences {
		if at := strings.LastIndex(s, "; "); at >= 0 {
			way := s[at+2:]
			texts, ways = append(texts, s[:at]+"."), append(ways, strings.ToUpper(way[:1])+way[1:])
			continue
		}
		texts = append(texts, s)
	}
	if len(ways) == 0 {
		ways = []string{"Nothing need be done, unless an app has an image."}
	}
	return strings.Join(texts, " "), strings.Join(ways, " ")
}
