//go:build !linux

package volume

func abilityOf(string) ability { return cannot }

func setBound(string, int64) error { return ErrNoQuota }

func countedBytes(string) (int64, bool) { return 0, false }
