package graph

import "github.com/agext/levenshtein"

// nearest returns the name that a mistyped one most likely means, or "".
func nearest(name string, among []string) string {
	best, dist := "", len(name)/2+1
	for _, n := range among {
		if d := levenshtein.Distance(name, n, nil); d < dist {
			best, dist = n, d
		}
	}
	return best
}
