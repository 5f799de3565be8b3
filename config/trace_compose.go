package config

import (
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"go.yaml.in/yaml/v3"
)

// What Compose files write. Their values come from a loader that keeps neither
// places nor variables; both are found in the text again.

// composeText is what stands for an attribute in a Compose file.
type composeText struct {
	doc   composeDoc
	value *yaml.Node
}

// composed adds to a layer what the Compose file has for the attribute.
func (tr *Trace) composed(l *Layer, attr string) {
	f := tr.ev.mod.files[l.Range.Filename]
	if f == nil {
		return
	}
	places, ok := tr.places[l.Range.Filename]
	if !ok {
		places = newComposePlaces([]File{{Name: l.Range.Filename, Data: f.Bytes}})
		tr.places[l.Range.Filename] = places
	}
	key, value := writtenAt(places.docs[0].root, l.Range.Start.Line, l.Range.Start.Column)
	if key == nil || !slices.Contains([]string{attr, composeKey(attr), imageKey}, key.Value) {
		return // the place of something around it
	}
	l.compose = &composeText{places.docs[0], value}
	l.Expr, l.Inputs = tr.composeExpr(value)
}

// composeKey is the key of a build section that sets an attribute.
func composeKey(attr string) string {
	for _, a := range composeAttrs {
		if a.name == attr {
			return a.key
		}
	}
	return ""
}

// writtenAt finds the entry of a mapping whose key begins at a place.
func writtenAt(n *yaml.Node, line, column int) (key, value *yaml.Node) {
	if n == nil {
		return nil, nil
	}
	for i, c := range n.Content { // those of aliases stand elsewhere
		if n.Kind == yaml.MappingNode && i%2 == 0 && c.Line == line && c.Column == column && i+1 < len(n.Content) {
			return c, n.Content[i+1]
		}
		if key, value = writtenAt(c, line, column); key != nil {
			return key, value
		}
	}
	return nil, nil
}

// composeExpr is what stands in a Compose file for a value, if there are
// variables in it, and those.
func (tr *Trace) composeExpr(n *yaml.Node) (expr string, inputs []Input) {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	inputs = tr.composeInputs(n, nil)
	if n.Kind == yaml.ScalarNode && len(inputs) > 0 {
		expr = n.Value
	}
	return expr, inputs
}

// composeMention matches "$$", "$NAME" and "${NAME".
var composeMention = regexp.MustCompile(`\$(?:\$|\{?([A-Za-z_][A-Za-z0-9_]*))`)

// composeInputs adds the variables that the texts below a node mention, each
// once. Keys have none.
func (tr *Trace) composeInputs(n *yaml.Node, have []Input) []Input {
	if n.Kind == yaml.ScalarNode {
		for _, m := range composeMention.FindAllStringSubmatch(n.Value, -1) {
			if in := tr.composeVariable(m[1]); m[1] != "" && !named(have, m[1]) {
				have = append(have, in)
			}
		}
	}
	for i, c := range n.Content {
		if n.Kind != yaml.MappingNode || i%2 == 1 {
			have = tr.composeInputs(c, have)
		}
	}
	return have
}

func named(in []Input, name string) bool {
	for _, i := range in {
		if i.Name == name {
			return true
		}
	}
	return false
}

// composeVariable says where a Compose file has a variable from.
func (tr *Trace) composeVariable(name string) Input {
	out := Input{Name: name, Origin: "not set"}
	if tr.composeEnv == nil {
		tr.composeEnv, _ = composeEnv(*tr.ev.in) // it was read before without an error
	}
	v, ok := tr.composeEnv[name]
	if !ok {
		return out
	}
	out.Value = jsonOf(cty.StringVal(v))
	if _, given := tr.ev.in.Vars[name]; given {
		out.Origin = "--var " + name
	} else if _, set := tr.ev.in.Env[name]; set {
		out.Origin = "environment variable " + name
	} else {
		out.Origin = ".env"
	}
	return out
}

// part finds what stands for an entry: the value of its key, the element
// "KEY=value", or the element of a list at the place of one.
func (c *composeText) part(list cty.Value, e *Entry, want []byte) (*yaml.Node, hcl.Range) {
	n := c.value
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	elems := elementsOf(list)
	switch {
	case n.Kind == yaml.MappingNode:
		if k, v := entry(n, e.Key); k != nil {
			return v, c.doc.rangeOf(k)
		}
	case n.Kind == yaml.SequenceNode && e.Key != "":
		for _, item := range n.Content {
			if key, value, ok := strings.Cut(item.Value, "="); ok && key == e.Key {
				return &yaml.Node{Kind: yaml.ScalarNode, Value: value}, c.doc.rangeOf(item)
			}
		}
	case n.Kind == yaml.SequenceNode && len(elems) == len(n.Content):
		for i, v := range elems {
			if string(jsonOf(v)) == string(want) {
				return n.Content[i], c.doc.rangeOf(n.Content[i])
			}
		}
	}
	return nil, hcl.Range{}
}

// composeDetail is detail for a layer of a Compose file.
func (tr *Trace) composeDetail(l *Layer, e *Entry, of *EntryLayer) {
	if n, rng := l.compose.part(l.value, e, of.Value); n != nil {
		of.Range = rng
		of.Expr, of.Inputs = tr.composeExpr(n)
	}
}
