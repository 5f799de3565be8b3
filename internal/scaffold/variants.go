package scaffold

import (
	"slices"
	"strings"
)

// A variant is one flavour of a target.
type variant struct {
	name       string
	stage      string // "" is the last
	dockerfile string // relative to the context; "" is the target's own
}

// variantNames are the variants, in the order in which they are written, and
// what stages and files of each are called.
var variantNames = []struct {
	name  string
	words []string
}{
	{"prod", []string{"prod", "production", "release"}},
	{"dev", []string{"dev", "devel", "develop", "development"}},
	{"debug", []string{"debug"}},
	{"test", []string{"test", "tests", "testing"}},
}

// variantOf returns the variant that a word means; "" if none.
func variantOf(word string) string {
	for _, v := range variantNames {
		if slices.Contains(v.words, strings.ToLower(word)) {
			return v.name
		}
	}
	return ""
}

// stageVariants finds the variants that the stages of a Dockerfile suggest:
// none, unless there is one to develop, debug or test with beside another.
// What is built without variants is the last stage, as everywhere.
func stageVariants(stages []string) []variant {
	found := map[string]string{}
	for _, s := range stages {
		if v := variantOf(s); v != "" && found[v] == "" {
			found[v] = s
		}
	}
	if _, ok := found["prod"]; !ok && variantOf(stages[len(stages)-1]) == "" {
		found["prod"] = "" // the last stage, whatever its name
	}
	if len(found) < 2 {
		return nil
	}
	var out []variant
	for _, v := range variantNames {
		if s, ok := found[v.name]; ok {
			out = append(out, variant{name: v.name, stage: s})
		}
	}
	return out
}

// inOrder sorts variants as they are written.
func inOrder(list []variant) []variant {
	place := func(v variant) int {
		for i, known := range variantNames {
			if known.name == v.name {
				return i
			}
		}
		return len(variantNames)
	}
	slices.SortStableFunc(list, func(a, b variant) int { return place(a) - place(b) })
	return list
}
