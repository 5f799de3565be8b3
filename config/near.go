package config

import (
	"fmt"
	"strings"

	"github.com/agext/levenshtein"
)

// Nearest returns the candidate that name was most likely meant to be, or ""
// if none is near. Of several equally near the first is taken.
func Nearest(name string, candidates []string) string {
	best, least := "", len(name)/3+2
	for _, c := range candidates {
		if c == name {
			continue
		}
		d := levenshtein.Distance(strings.ToLower(name), strings.ToLower(c), nil)
		if related(name, c) {
			d = min(d, 1)
		}
		if d < least && d < max(len(name), len(c)) {
			best, least = c, d
		}
	}
	return best
}

// related reports whether two names differ only in their separators or in
// number: cache_from and cache-from, tag and tags.
func related(a, b string) bool {
	plain := func(s string) string {
		return strings.TrimSuffix(strings.ToLower(strings.NewReplacer("_", "", "-", "").Replace(s)), "s")
	}
	return plain(a) == plain(b)
}

// near is the sentence that offers the nearest candidate, with a leading
// blank; "" if there is none.
func near(name string, candidates []string) string {
	if c := Nearest(name, candidates); c != "" {
		return fmt.Sprintf(" Did you mean %q?", c)
	}
	return ""
}
