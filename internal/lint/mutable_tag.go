package lint

import (
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/kilnbuild/kiln/config"
)

func mutableTag() *Rule {
	return &Rule{
		Name: "mutable-tag", Severity: note,
		Title: "an image all of whose tags are such as are moved from build to build",
		Why: `Nobody can say which image a machine runs, or go back to the one before. Tags that are made with variables
are left alone, as who builds a release may set them.`,
		Bad: `-- build.hcl --
target "default" { tags = ["app:latest"] }
-- Dockerfile --
FROM scratch
`,
		Good: `-- build.hcl --
variable "VERSION" { default = "1.0" }
target "default" { tags = ["app:latest", "app:${VERSION}"] }
-- Dockerfile --
FROM scratch
`,
		check: func(p *pass) {
			seen := map[place]bool{}
			for _, t := range p.s.Config.Targets {
				if p.templates[t.Name] || len(t.Tags) == 0 || !writesImage(t) || slices.ContainsFunc(t.Tags, func(tag string) bool { return !isMutable(tag) }) {
					continue
				}
				at := attr(t, "tags")
				k := place{at.Filename, at.Start.Byte, ""}
				if seen[k] || !written(p.s.Trace.Attribute(t.Name, "tags")) {
					continue
				}
				seen[k] = true
				p.report(at, "Target %q is known as %s only, which the next build moves to another image. Add a tag that stays, such as a version or a commit (git.short).", t.Name, some(t.Tags))
			}
		},
	}
}

// written reports whether a value is written out in a file, without anything
// that could change it.
func written(a *config.AttributeTrace) bool {
	return a != nil && !slices.ContainsFunc(a.Layers, func(l config.UsedLayer) bool {
		return l.Result != config.ResultCovered && (len(l.Inputs) > 0 || l.Expr == "")
	})
}

var movingTags = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^(?:latest|edge|nightly|stable|main|master|develop|development|dev|test|testing|staging|snapshot|canary|current|local|prod|production|release)$`)
})

// isMutable reports whether a tag is one that moves.
func isMutable(tag string) bool {
	tag = whole(tag)
	return movingTags().MatchString(tag[strings.LastIndexByte(tag, ':')+1:])
}
