package lint

import (
	"fmt"

	"github.com/hashicorp/hcl/v2"

	"github.com/kilnbuild/kiln/config"
)

func shadowedAttribute() *Rule {
	return &Rule{
		Name: "shadowed-attribute", Severity: hcl.DiagWarning,
		Title: "an attribute, or a key of one, that another block of the same target in the same file covers in any case",
		Why: `What is written there is never built, whatever the variant. What a target inherits, a later file or --set covers is
not meant: that is what these are for.`,
		Bad: `-- build.hcl --
target "default" {
  tags = ["app:1"]
  variant "prod" { tags = ["app:1-prod"] }
  variant "dev"  { tags = ["app:1-dev"] }
}
-- Dockerfile --
FROM scratch
`,
		Good: `-- build.hcl --
target "default" {
  variant "prod" { tags = ["app:1-prod"] }
  variant "dev"  { tags = ["app:1-dev"] }
}
-- Dockerfile --
FROM scratch
`,
		check: func(p *pass) {
			s := &shadows{p: p, at: map[place]*shadow{}}
			for _, t := range p.s.Config.Targets {
				if p.severalBlocks(t) {
					s.target(t)
				}
			}
			for _, key := range s.order {
				if sh := s.at[key]; !sh.won {
					p.report(sh.rng, "%s is never built: %s at %s always stands in its place. Remove one of them.", sh.what, sh.by, line(sh.byAt))
				}
			}
		},
	}
}

// severalBlocks reports whether more than one block of a file may say
// something of a target itself.
func (p *pass) severalBlocks(t *config.Target) bool {
	return t.Variant != "" || p.s.Trace.Blocks(t.Name) > 1
}

// A place is where something is written.
type place struct {
	file string
	byte int
	key  string
}

// A shadow is something that may be covered wherever it counts.
type shadow struct {
	rng, byAt hcl.Range
	what, by  string
	won       bool
}

type shadows struct {
	p     *pass
	at    map[place]*shadow
	order []place
}

// note adds what became of something in one target. By is nil if it won, or
// if what covers it is no block of the target in the same file.
func (s *shadows) note(key string, rng hcl.Range, what string, by *config.Layer) {
	k := place{rng.Filename, rng.Start.Byte, key}
	sh := s.at[k]
	if sh == nil {
		sh = &shadow{rng: rng, what: what}
		s.at[k] = sh
		s.order = append(s.order, k)
	}
	if by == nil || by.Range.Filename != rng.Filename {
		sh.won = true
		return
	}
	sh.by, sh.byAt = by.Block, by.Range
}

func (s *shadows) target(t *config.Target) {
	for _, a := range s.p.s.Trace.Attributes(t.Name) {
		if a.Rule == "" {
			continue
		}
		var top *config.Layer // what wins as a whole
		for _, l := range a.Layers {
			if l.Result == config.ResultWon {
				top = l.Layer
			}
		}
		for _, l := range a.Layers {
			if !isOwn(l.Layer, t) || len(a.Entries) > 0 && isMap(a) {
				continue
			}
			by := own(top, t)
			if l.Result != config.ResultCovered || a.Rule != "replace" {
				by = nil
			}
			s.note("", l.Range, fmt.Sprintf("Attribute %q of %s", a.Name, l.Block), by)
		}
		if isMap(a) {
			s.entries(t, a)
		}
	}
}

func isMap(a *config.AttributeTrace) bool { return a.Rule == "merge by key" }

func (s *shadows) entries(t *config.Target, a *config.AttributeTrace) {
	for _, e := range a.Entries {
		last := len(e.Layers) - 1
		for i, el := range e.Layers {
			l := a.Layers[el.Layer].Layer
			if !isOwn(l, t) {
				continue
			}
			var by *config.Layer
			if i < last {
				if by = own(a.Layers[e.Layers[last].Layer].Layer, t); by != nil {
					copied := *by
					copied.Range = e.Layers[last].Range
					by = &copied
				}
			}
			s.note(e.Key, el.Range, fmt.Sprintf("%q in %s of %s", e.Key, a.Name, l.Block), by)
		}
	}
}

// isOwn reports whether a layer is a block of the target itself.
func isOwn(l *config.Layer, t *config.Target) bool {
	return l != nil && l.Owner == t.Name && (l.Kind == config.LayerTarget || l.Kind == config.LayerVariant)
}

func own(l *config.Layer, t *config.Target) *config.Layer {
	if isOwn(l, t) {
		return l
	}
	return nil
}
