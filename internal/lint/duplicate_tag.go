package lint

import (
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/kilnbuild/kiln/config"
)

func duplicateTag() *Rule {
	return &Rule{
		Name: "duplicate-tag", Severity: hcl.DiagWarning,
		Title: "a tag that two targets of one group write",
		Why: `Whichever is exported last has it, which differs from run to run. Targets that are never built together by a group, or
that write no image, are left alone.`,
		Bad: `-- build.hcl --
group "default" { targets = ["a", "b"] }
target "a" { tags = ["app:1"] }
target "b" { tags = ["app:1"] }
-- Dockerfile --
FROM scratch
`,
		Good: `-- build.hcl --
group "default" { targets = ["a", "b"] }
target "a" { tags = ["app:1-a"] }
target "b" { tags = ["app:1-b"] }
-- Dockerfile --
FROM scratch
`,
		check: func(p *pass) {
			d := &duplicates{seen: map[shared]bool{}, at: map[string]*duplicate{}}
			for _, g := range p.s.Config.Groups {
				d.look(p.s.Config, g.Name)
			}
			for _, dup := range d.list {
				all := "all"
				if len(dup.names) == 2 {
					all = "both"
				}
				p.report(attr(dup.second, "tags"), "Targets %s %s write %s, and group %q builds them together: the one that ends last has it. Give each a tag of its own.",
					some(dup.names), all, some(dup.tags), dup.group)
			}
		},
	}
}

// A duplicate is tags that the same targets of a group write.
type duplicate struct {
	group  string
	names  []string
	second *config.Target
	tags   []string
}

// A shared tag is one that two targets have in common.
type shared struct{ a, b, tag string }

type duplicates struct {
	seen map[shared]bool
	at   map[string]*duplicate // by group and targets
	list []*duplicate
}

// look goes through the targets that one group builds.
func (d *duplicates) look(c *config.Config, group string) {
	writers := map[string][]*config.Target{}
	var tags []string
	for _, name := range membersOf(c, group) {
		t := c.Target(name)
		if !writesImage(t) {
			continue
		}
		for _, tag := range t.Tags {
			tag = whole(tag)
			if len(writers[tag]) == 0 {
				tags = append(tags, tag)
			}
			if !slices.Contains(writers[tag], t) {
				writers[tag] = append(writers[tag], t)
			}
		}
	}
	for _, tag := range tags {
		if len(writers[tag]) > 1 {
			d.add(group, tag, writers[tag])
		}
	}
}

// add notes a tag of several targets, unless all that is known.
func (d *duplicates) add(group, tag string, writers []*config.Target) {
	isNew := false
	var names []string
	for _, t := range writers {
		names = append(names, t.Name)
		k := shared{writers[0].Name, t.Name, tag}
		isNew = isNew || !d.seen[k]
		d.seen[k] = true
	}
	if !isNew {
		return
	}
	key := group + " " + strings.Join(names, " ")
	dup := d.at[key]
	if dup == nil {
		dup = &duplicate{group: group, names: names, second: writers[1]}
		d.at[key] = dup
		d.list = append(d.list, dup)
	}
	dup.tags = append(dup.tags, tag)
}

// whole is a tag with what it has if it does not say.
func whole(tag string) string {
	if i := strings.LastIndexAny(tag, ":/"); i < 0 || tag[i] == '/' {
		return tag + ":latest"
	}
	return tag
}

// writesImage reports whether the tags of a target go anywhere.
func writesImage(t *config.Target) bool {
	if t.Call != "" && t.Call != "build" {
		return false
	}
	return len(t.Outputs) == 0 || slices.ContainsFunc(t.Outputs, func(o config.Export) bool {
		return o.Type == "image" || o.Type == "registry" || o.Type == "docker" && o.Dest == ""
	})
}
