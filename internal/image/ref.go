package image

import (
	"fmt"
	"strings"

	"github.com/distribution/reference"
)

// Ref is the full name of an image: registry, repository and tag or digest,
// such as "docker.io/library/redis:latest".
type Ref string

// ParseRef reads a name as Docker does: "redis" is docker.io/library/redis:latest.
// Its errors are sentences.
func ParseRef(s string) (Ref, error) {
	n, err := reference.ParseDockerRef(s)
	if err != nil {
		return "", fmt.Errorf("image %q is no name of an image (%s); write it like redis, redis:7, or registry.example/team/app:1", s, strings.TrimPrefix(err.Error(), "invalid reference format: "))
	}
	return Ref(n.String()), nil
}

// Short is r as people write it.
func (r Ref) Short() string {
	n, err := reference.ParseDockerRef(string(r))
	if err != nil {
		return string(r)
	}
	return strings.TrimSuffix(reference.FamiliarString(n), ":latest")
}

// file is the name of r's file.
func (r Ref) file() string {
	return strings.NewReplacer("%", "%25", "/", "%2F", ":", "%3A").Replace(string(r))
}

func refOfFile(name string) Ref {
	return Ref(strings.NewReplacer("%2F", "/", "%3A", ":", "%25", "%").Replace(name))
}
