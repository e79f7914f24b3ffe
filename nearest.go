package plane

import "strings"

// Nearest is the candidate that word was probably meant to be, or "" if none is
// like it. Of several it is the first.
func Nearest(word string, candidates []string) string {
	const longest = 64 // bytes; no word that people type by hand
	if word == "" || len(word) > longest {
		return ""
	}
	word = strings.ToLower(word)
	best, distance := "", len(word)/2+1
	for _, c := range candidates {
		if d := editDistance(word, c); d < distance {
			best, distance = c, d
		}
	}
	return best
}

// editDistance is how many bytes must be put in, left out or changed.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
