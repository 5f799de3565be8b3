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
	lower, bare := strings.ToLower(name), bareName(name)
	for _, c := range candidates {
		if c == name || len(c) >= len(name)+least && !strings.HasPrefix(bareName(c), bare) || len(name) >= len(c)+least {
			continue
		}
		d := 1 // the same but for separators or number, as cache_from and cache-from, tag and tags
		if bareName(c) != bare {
			d = levenshtein.Distance(lower, strings.ToLower(c), nil) // its MaxCost gives wrong distances
		}
		if d < least && d < max(len(name), len(c)) {
			best, least = c, d
		}
		if d == 0 {
			break
		}
	}
	return best
}

// bareName is a name without its separators and the s of a plural.
func bareName(s string) string {
	if strings.ContainsAny(s, "-_") {
		s = strings.ReplaceAll(strings.ReplaceAll(s, "-", ""), "_", "")
	}
	return strings.TrimSuffix(strings.ToLower(s), "s")
}

// near is the sentence that offers the nearest candidate, with a leading
// blank; "" if there is none.
func near(name string, candidates []string) string {
	if c := Nearest(name, candidates); c != "" {
		return fmt.Sprintf(" Did you mean %q?", c)
	}
	return ""
}

// mostNear bounds the problems for which a near name is looked for among all
// that a file declares, lest a file of nothing but mistakes takes minutes.
const mostNear = 100

// near is near among names that are listed only if it is worth it.
func (r *report) near(name string, candidates func() []string) string {
	if r.looked >= mostNear {
		return ""
	}
	r.looked++
	return near(name, candidates())
}
