package proxy

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// typed is a host name as people typed it: browsers write letters beyond ASCII
// as xn--… (RFC 3492).
func typed(host string) string {
	labels := strings.Split(host, ".")
	for i, l := range labels {
		if coded, ok := strings.CutPrefix(l, "xn--"); ok {
			if s, ok := decodePunycode(coded); ok {
				labels[i] = s
			}
		}
	}
	return strings.Join(labels, ".")
}

func decodePunycode(s string) (string, bool) {
	var out []rune
	if i := strings.LastIndexByte(s, '-'); i >= 0 {
		out, s = []rune(s[:i]), s[i+1:]
	}
	n, at, bias := 128, 0, 72
	for first := true; s != ""; first = false {
		from, weight := at, 1
		for k := 36; ; k += 36 {
			if s == "" {
				return "", false
			}
			digit := punycodeDigit(s[0])
			s = s[1:]
			limit := min(max(k-bias, 1), 26)
			if at += digit * weight; digit < 0 || at > 1<<26 {
				return "", false
			}
			if digit < limit {
				break
			}
			if weight *= 36 - limit; weight > 1<<26 {
				return "", false
			}
		}
		count := len(out) + 1
		bias = punycodeBias(at-from, count, first)
		n += at / count
		at %= count
		if n > utf8.MaxRune || !utf8.ValidRune(rune(n)) {
			return "", false
		}
		out = slices.Insert(out, at, rune(n))
		at++
	}
	return string(out), true
}

func punycodeDigit(c byte) int {
	switch {
	case 'a' <= c && c <= 'z':
		return int(c - 'a')
	case '0' <= c && c <= '9':
		return int(c-'0') + 26
	}
	return -1
}

func punycodeBias(delta, count int, first bool) int {
	if delta /= 2; first {
		delta /= 350
	}
	delta += delta / count
	k := 0
	for ; delta > 455; k += 36 {
		delta /= 35
	}
	return k + 36*delta/(delta+38)
}
