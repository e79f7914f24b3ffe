package oci

import (
	"bufio"
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// user is whom a backend's program runs as, by the numbers that it sees.
type user struct {
	uid, gid uint32
	groups   []uint32
	home     string
}

// mapped is how many users a sandbox has: 0 to 65535.
const mapped = 65536

// resolve finds the user that word names (UID, NAME, UID:GID, NAME:GROUP, "" =
// root) in an image's /etc/passwd and /etc/group.
func resolve(word string, passwd, group []byte) (user, error) {
	name, groupName, withGroup := strings.Cut(word, ":")
	if name == "" {
		name = "0"
	}
	u := user{home: "/"}
	number, err := strconv.ParseUint(name, 10, 32)
	isNumber := err == nil
	known := ""
	for f := range records(passwd, 6) {
		uid, err := strconv.ParseUint(f[2], 10, 32)
		if err != nil || f[0] != name && !(isNumber && uid == number) {
			continue
		}
		gid, _ := strconv.ParseUint(f[3], 10, 32)
		known, u.uid, u.gid, u.home = f[0], uint32(uid), uint32(gid), f[5]
		break
	}
	switch {
	case known == "" && !isNumber:
		return user{}, fmt.Errorf("user %q is not in the image's /etc/passwd; use one of its names, or a number", name)
	case known == "":
		u.uid = uint32(number)
	}
	if u.home == "" {
		u.home = "/"
	}
	if withGroup {
		if u.gid, err = groupNumber(groupName, group); err != nil {
			return user{}, err
		}
	} else if known != "" {
		u.groups = supplementary(known, u.gid, group)
	}
	for _, n := range append([]uint32{u.uid, u.gid}, u.groups...) {
		if n >= mapped {
			return user{}, fmt.Errorf("user %q has the number %d; a sandbox has users 0 to %d", word, n, mapped-1)
		}
	}
	return u, nil
}

func groupNumber(name string, group []byte) (uint32, error) {
	if n, err := strconv.ParseUint(name, 10, 32); err == nil {
		return uint32(n), nil
	}
	for f := range records(group, 3) {
		if f[0] == name {
			n, err := strconv.ParseUint(f[2], 10, 32)
			return uint32(n), err
		}
	}
	return 0, fmt.Errorf("group %q is not in the image's /etc/group; use one of its names, or a number", name)
}

func supplementary(name string, own uint32, group []byte) []uint32 {
	var all []uint32
	for f := range records(group, 4) {
		n, err := strconv.ParseUint(f[2], 10, 32)
		if err == nil && uint32(n) != own && slices.Contains(strings.Split(f[3], ","), name) {
			all = append(all, uint32(n))
		}
	}
	return all
}

// records are the lines of such a file with at least that many fields.
func records(file []byte, least int) func(yield func([]string) bool) {
	return func(yield func([]string) bool) {
		for s := bufio.NewScanner(bytes.NewReader(file)); s.Scan(); {
			if f := strings.Split(strings.TrimSpace(s.Text()), ":"); len(f) >= least && !yield(f) {
				return
			}
		}
	}
}
