package watch

import (
	"path/filepath"
	"slices"
	"strings"
)

// Ignored reports whether a path below a watched directory, relative to it, is
// none that people mean: hidden, of a package manager or a cache, or a file
// that an editor has beside the real one.
func Ignored(rel string) bool {
	return slices.ContainsFunc(strings.Split(filepath.ToSlash(rel), "/"), ignoredName)
}

func ignoredName(name string) bool {
	switch {
	case name == ".", name == "..":
		return false
	case name == "node_modules", name == "__pycache__":
		return true
	case name == "4913": // vim tries with it whether it may write
		return true
	case strings.HasPrefix(name, "."), strings.HasPrefix(name, "#") && strings.HasSuffix(name, "#"):
		return true
	}
	for _, suffix := range []string{"~", ".swp", ".swx", ".tmp", ".temp", ".pyc", ".crdownload", ".part"} {
		if strings.HasSuffix(name, suffix) {
			return true
		}
	}
	return strings.Contains(name, ".tmp.") // as in page.html.tmp.1234
}
