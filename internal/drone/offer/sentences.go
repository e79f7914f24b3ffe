package offer

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Sentences are what a check found, each thing in a sentence of its own, on one
// line.
func Sentences(err error) string { return strings.Join(Each(err), " ") }

// Each are what a check found, a sentence for each thing; none for nil.
func Each(err error) []string {
	var all []string
	for _, e := range apart(err) {
		s := strings.Join(strings.Fields(e.Error()), " ")
		first, _, _ := strings.Cut(s, " ")
		if r, n := utf8.DecodeRuneInString(s); !strings.ContainsAny(first, `/_."-`) { // a name stays as it is
			s = string(unicode.ToUpper(r)) + s[n:]
		}
		if !strings.HasSuffix(s, ".") {
			s += "."
		}
		all = append(all, s)
	}
	return all
}

// apart undoes errors.Join. What fmt.Errorf wraps is one sentence.
func apart(err error) []error {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	var lines []string
	for _, e := range joined.Unwrap() {
		all = append(all, apart(e)...)
		lines = append(lines, e.Error())
	}
	if strings.Join(lines, "\n") != err.Error() {
		return []error{err}
	}
	return all
}
