//go:build !linux

package isolation

// EngineFilter is "": an engine in a machine of its own has the list for that one.
func EngineFilter() (string, error) { return "", nil }
