package config

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// Where variables and groups came from, and who uses what.

// A VariableTrace is how a variable got its value.
type VariableTrace struct {
	Name        string
	Description string
	Type        string          // in words; "" if none is declared
	Value       json.RawMessage // nil if it is null
	Layers      []UsedLayer     // lowest first: blocks, the environment, --var
	Uses        []Use           // where it is referred to
}

// A Use is a place that refers to something.
type Use struct {
	By    string // `target "app"`, `variable "TAG"`, `function "up"`, …
	Attr  string // "tags"; "" outside an attribute
	Range hcl.Range
}

// Variables lists the variables that the files declare, in blocks and outside
// of them, in the order of declaration.
func (tr *Trace) Variables() []string {
	var l nameList
	for _, b := range tr.ev.mod.variables {
		l.add(b.label)
	}
	for _, a := range tr.ev.mod.free {
		l.add(a.name)
	}
	return slices.DeleteFunc(l.list, func(name string) bool { return tr.ev.vars[name] == nil || tr.ev.vars[name].builtin })
}

// Variable traces a variable; nil if there is none of that name.
func (tr *Trace) Variable(name string) *VariableTrace {
	v := tr.ev.vars[name]
	if v == nil || !tr.ev.variable(name) {
		return nil
	}
	out := &VariableTrace{Name: name, Description: v.description, Value: jsonOf(v.val), Uses: tr.Uses()[name]}
	if v.typed {
		out.Type = strings.TrimSuffix(v.typ.FriendlyNameForConstraint(), " type")
	}
	for _, b := range tr.ev.mod.variables {
		if b.label == name && !v.builtin {
			l := &Layer{Kind: LayerDefault, Owner: name, Block: blockName(b), Range: b.rng}
			if a := b.named("default"); a != nil {
				tr.defaultOf(l, a.expr)
			}
			out.Layers = append(out.Layers, UsedLayer{l, ResultCovered})
		}
	}
	for _, a := range tr.ev.mod.free {
		if a.name == name && !v.builtin {
			l := &Layer{Kind: LayerDefault, Owner: name, Block: "attribute " + name, Range: a.rng}
			tr.defaultOf(l, a.expr)
			out.Layers = append(out.Layers, UsedLayer{l, ResultCovered})
		}
	}
	tr.outside(out, v)
	if v.builtin {
		out.Layers = []UsedLayer{{&Layer{Kind: LayerDefault, Owner: name, Block: "built-in", Value: out.Value}, ResultCovered}}
	}
	if n := len(out.Layers); n > 0 {
		out.Layers[n-1].Result = ResultWon
	}
	return out
}

// defaultOf fills in what the expression of a default says.
func (tr *Trace) defaultOf(l *Layer, x *expression) {
	l.Expr = tr.text(x.Range())
	if v, ok := tr.ev.eval(x, nil, whom{kind: "variable", name: l.Owner}); ok {
		l.value, l.Value = v, jsonOf(v)
	}
	if e := tr.fresh(x); e != nil {
		l.Inputs = tr.inputs(e, nil)
	}
}

// outside adds what --var and the environment say, with what won last.
func (tr *Trace) outside(out *VariableTrace, v *variable) {
	if v.block == nil {
		return
	}
	won := tr.ev.overriding(v)
	if won == nil {
		return
	}
	for _, name := range []string{v.name, v.name + "_JSON"} {
		for _, o := range tr.given(name) {
			if o.origin == won.origin || name != v.name && !v.typed {
				continue
			}
			l := &Layer{Kind: LayerOutside, Owner: v.name, Block: o.origin, Range: hcl.Range{Filename: o.origin}}
			l.Value, _ = json.Marshal(o.text)
			out.Layers = append(out.Layers, UsedLayer{l, ResultCovered})
		}
	}
	out.Layers = append(out.Layers, UsedLayer{&Layer{Kind: LayerOutside, Owner: v.name, Block: won.origin, Range: hcl.Range{Filename: won.origin}, Value: out.Value}, ResultWon})
}

// given lists the values from outside under a name, the stronger one last.
func (tr *Trace) given(name string) []*outside {
	var out []*outside
	if s, ok := tr.ev.in.Env[name]; ok {
		out = append(out, &outside{text: s, origin: "environment variable " + name})
	}
	if s, ok := tr.ev.in.Vars[name]; ok {
		out = append(out, &outside{text: s, origin: "--var " + name})
	}
	return out
}

// Uses lists for each name of a variable where it is referred to: in targets,
// groups, variants, functions and other variables, in the order written. What
// a variable's own validation says of it is no use of it.
func (tr *Trace) Uses() map[string][]Use {
	out := map[string][]Use{}
	mod := tr.ev.mod
	for _, blocks := range [][]*block{mod.variables, mod.functions, mod.targets, mod.variants, mod.groups} {
		for _, b := range blocks {
			tr.usesIn(out, b, blockName(b), b.label)
		}
	}
	for _, a := range mod.free {
		tr.note(out, a.expr, Use{By: "attribute " + a.name, Range: a.rng}, "")
	}
	return out
}

func (tr *Trace) usesIn(out map[string][]Use, b *block, by, own string) {
	not := ""
	if b.kind == "validation" {
		not = own
	}
	for _, a := range b.attrs {
		switch {
		case b.kind == "variable" && a.name != "default", b.kind == "function" && a.name != "result":
			continue // types and parameters are no references
		}
		tr.note(out, a.expr, Use{By: by, Attr: a.name, Range: a.rng}, not)
	}
	for _, n := range b.nested {
		tr.usesIn(out, n, by, own)
	}
}

func (tr *Trace) note(out map[string][]Use, x *expression, use Use, not string) {
	x.prepare(tr.ev.meter)
	for _, name := range x.roots {
		if name != not {
			out[name] = append(out[name], use)
		}
	}
	for _, ref := range x.deep {
		if ref.RootName() == "git" && tr.ev.known("git") {
			out["git"] = append(out["git"], use)
		}
	}
}

// References lists for each target whose attributes an expression of another
// refers to, as target.NAME.ATTR, where that is.
func (tr *Trace) References() map[string][]Use {
	out := map[string][]Use{}
	for _, blocks := range [][]*block{tr.ev.mod.targets, tr.ev.mod.variants, tr.ev.mod.groups, tr.ev.mod.functions} {
		for _, b := range blocks {
			for _, a := range b.attrs {
				a.expr.prepare(tr.ev.meter)
				for _, ref := range a.expr.deep {
					if name, ok := step(ref, 1); ok && ref.RootName() == "target" {
						out[name] = append(out[name], Use{By: blockName(b), Attr: a.name, Range: a.rng})
					}
				}
			}
		}
	}
	return out
}

// A GroupTrace is how a group got its members.
type GroupTrace struct {
	*Group
	Expr    string      // its targets as written; "" for a generated group
	Inputs  []Input     // what that refers to
	Covered []hcl.Range // blocks of the same name that it stands in place of
	In      []string    // groups that list it
}

// Group traces a group; nil if there is none of that name.
func (tr *Trace) Group(name string) *GroupTrace {
	g := tr.cfg.Group(name)
	if g == nil {
		return nil
	}
	out := &GroupTrace{Group: g}
	if decl := tr.ev.groups[name]; decl != nil && decl.block != nil {
		if a := decl.block.named("targets"); a != nil {
			out.Expr = tr.text(a.expr.Range())
			if e := tr.fresh(a.expr); e != nil {
				out.Inputs = tr.inputs(e, nil)
			}
		}
		for _, b := range tr.ev.mod.groups {
			if b.label == name && b != decl.block {
				out.Covered = append(out.Covered, b.rng)
			}
		}
	}
	out.In = tr.MemberOf(name)
	return out
}

// MemberOf lists the groups that list a target or group.
func (tr *Trace) MemberOf(name string) []string {
	var out []string
	for _, g := range tr.cfg.Groups {
		if slices.Contains(g.Members, name) {
			out = append(out, g.Name)
		}
	}
	return out
}

// A Redeclared block is one that another of the same kind and name stands in
// place of, as a whole.
type Redeclared struct {
	Kind, Name  string // "group", "variable", "function"
	First, Last hcl.Range
}

// Redeclared lists the blocks that have no effect because of later ones.
func (tr *Trace) Redeclared() []Redeclared {
	var out []Redeclared
	for _, blocks := range [][]*block{tr.ev.mod.groups, tr.ev.mod.variables, tr.ev.mod.functions} {
		last := map[string]*block{}
		for _, b := range blocks {
			last[b.label] = b
		}
		for _, b := range blocks {
			if l := last[b.label]; l != b {
				out = append(out, Redeclared{b.kind, b.label, b.rng, l.rng})
			}
		}
	}
	return out
}
