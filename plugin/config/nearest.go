package config

// Nearest is the word that a misspelt one most likely means, or "" when none is near: at most a
// third of its letters, and at most three, may be wrong, missing, too many or exchanged with their
// neighbour. Of equally near ones the first.
func Nearest(misspelt string, words []string) string {
	best, least := "", min(3, len(misspelt)/3)+1
	for _, word := range words {
		if d := distance(misspelt, word); d < least {
			best, least = word, d
		}
	}
	return best
}

// didYouMean is the end of a message about a misspelt name; "" when no word is near.
func didYouMean(misspelt string, words []string) string {
	if word := Nearest(misspelt, words); word != "" {
		return ", did you mean " + word + "?"
	}
	return ""
}

// distance counts the letters to change, insert, remove, or exchange with their neighbour, that
// make b of a. Names further apart than three letters in length are not compared: their distance is
// more.
func distance(a, b string) int {
	if d := len(a) - len(b); d > 3 || d < -3 {
		return 4
	}
	var before []int // the row before last
	last := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			changed := last[j-1]
			if a[i-1] != b[j-1] {
				changed++
			}
			row[j] = min(changed, last[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
