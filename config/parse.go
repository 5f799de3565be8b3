package config

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	hcljson "github.com/hashicorp/hcl/v2/json"
)

// Parsing: bytes to blocks. Nothing is evaluated here.

// A module is what all files together declare, in the order of files.
type module struct {
	files     map[string]*hcl.File
	targets   []*block
	groups    []*block
	variables []*block
	functions []*block
	variants  []*block
	includes  []*block
	free      []*freeAttribute
	composed  *composed // nil without Compose files
	native    bool      // there are files other than Compose files
}

// A block is one block as it is written in a file.
type block struct {
	kind       string // "target", "group", …
	label      string
	labelRange hcl.Range
	rng        hcl.Range // of the header
	file       *unit
	attrs      []attrExpr // in a target and variant: known ones, by their place in the table
	nested     []*block   // variant blocks of a target, validation blocks of a variable
}

// An attrExpr is an attribute of a block.
type attrExpr struct {
	index  int    // in the table of attributes, for a target and variant
	name   string // for other blocks
	rng    hcl.Range
	expr   *expression
	fitted any // its value, if that is known ahead; see ahead.go
}

// attr returns the attribute at that place of the table; nil if it is not set.
func (b *block) attr(index int) *attrExpr {
	for i := range b.attrs {
		if b.attrs[i].index == index {
			return &b.attrs[i]
		}
	}
	return nil
}

// named returns the attribute of that name; nil if it is not set.
func (b *block) named(name string) *attrExpr {
	for i := range b.attrs {
		if b.attrs[i].name == name {
			return &b.attrs[i]
		}
	}
	return nil
}

// A freeAttribute is an attribute outside all blocks.
type freeAttribute struct {
	name string
	rng  hcl.Range // of the name
	expr *expression
	file *unit
}

// A unit is where a block came from.
type unit struct {
	name     string
	base     *pathBase
	included bool // came from an include block, so its names must be new
	compose  bool
}

// A bodyForm is what a block may hold.
type bodyForm struct {
	what   string                        // in warnings
	attrs  func(name string) (int, bool) // place in a table; whether the attribute is known
	names  []string                      // for near misses
	blocks []hcl.BlockHeaderSchema
	strict bool // unknown attributes and blocks are errors, as in bake
}

func targetAttr(name string) (int, bool) {
	i, ok := attributeIndex[name]
	return i, ok
}

func oneOf(names ...string) func(string) (int, bool) {
	return func(name string) (int, bool) { i := slices.Index(names, name); return i, i >= 0 }
}

// forms are the blocks that a file may hold at the top.
var forms = map[string]*bodyForm{
	"target": {what: "targets", attrs: targetAttr, names: attributeNames,
		blocks: []hcl.BlockHeaderSchema{{Type: "variant", LabelNames: []string{"name"}}}},
	"variant": {what: "variants", attrs: targetAttr, names: attributeNames},
	"group": {what: "groups", attrs: oneOf("targets", "description", "name", "matrix"),
		names: []string{"targets", "description"}},
	"variable": {what: "variables", attrs: oneOf("type", "default", "description"),
		names:  []string{"type", "default", "description", "validation"},
		blocks: []hcl.BlockHeaderSchema{{Type: "validation"}}},
	"validation": {what: "validations", attrs: oneOf("condition", "error_message"), strict: true,
		names: []string{"condition", "error_message"}},
	"function": {what: "functions", attrs: oneOf("params", "variadic_params", "result"), strict: true,
		names: []string{"params", "variadic_params", "result"}},
	"include": {what: "includes", attrs: oneOf("optional"), names: []string{"optional"}},
}

// topBlocks lists them in a fixed order.
var topBlocks = []string{"target", "group", "variable", "function", "variant", "include"}

var topSchema = func() *hcl.BodySchema {
	s := &hcl.BodySchema{}
	for _, name := range topBlocks {
		s.Blocks = append(s.Blocks, hcl.BlockHeaderSchema{Type: name, LabelNames: []string{"name"}})
	}
	return s
}()

type parser struct {
	mod *module
	rep *report
}

// parseFiles parses all files that are not Compose files.
func (p *parser) parseFiles(files []File, in Inputs) {
	var compose []File
	for _, f := range files {
		switch format := formatOf(f, in); format {
		case "compose":
			compose = append(compose, f)
		case "json":
			p.mod.native = true
			p.parseJSON(f)
		default:
			p.mod.native = true
			p.parseHCL(f)
		}
	}
	if len(compose) > 0 {
		c, diags := parseCompose(compose, in)
		p.mod.composed = &c
		p.rep.addAll(diags)
		for _, f := range compose {
			p.mod.files[f.Name] = &hcl.File{Bytes: f.Data}
		}
	}
}

// formatOf tells the format of a file by its name, and of one with another
// name by which parser takes it: Compose first, as bake does it.
func formatOf(f File, in Inputs) string {
	switch lower := strings.ToLower(f.Name); {
	case strings.HasSuffix(lower, ".yml"), strings.HasSuffix(lower, ".yaml"):
		return "compose"
	case strings.HasSuffix(f.Name, ".json"):
		return "json"
	case strings.HasSuffix(f.Name, ".hcl"):
		return "hcl"
	}
	if isCompose(f, in) {
		return "compose"
	}
	if tooDeep(f) != nil {
		return "hcl"
	}
	if _, diags := hclsyntax.ParseConfig(f.Data, f.Name, hcl.InitialPos); !diags.HasErrors() {
		return "hcl"
	}
	if tooDeepJSON(f) == nil {
		if _, diags := hcljson.Parse(withoutBOM(f.Data), f.Name); !diags.HasErrors() {
			return "json"
		}
	}
	if first := bytes.TrimLeft(withoutBOM(f.Data), " \t\r\n"); len(first) > 0 && first[0] == '{' {
		return "json"
	}
	return "hcl"
}

func withoutBOM(b []byte) []byte { return bytes.TrimPrefix(b, []byte("\xef\xbb\xbf")) }

func (p *parser) unit(f File) *unit {
	u := &unit{name: f.Name, included: f.Included}
	if f.ContextsOnly || f.Base != "" && f.Base != "." {
		u.base = &pathBase{dir: f.Base, contexts: f.ContextsOnly}
	}
	return u
}

func (p *parser) parseHCL(f File) {
	p.mod.files[f.Name] = &hcl.File{Bytes: f.Data}
	bodies, diags := parseNative(f)
	p.rep.addAll(diags)
	u := p.unit(f)
	for _, body := range bodies {
		p.body(body, u)
	}
}

func (p *parser) body(body *hclsyntax.Body, u *unit) {
	for _, a := range body.Attributes {
		p.mod.free = append(p.mod.free, &freeAttribute{a.Name, a.NameRange, newExpression(a.Expr), u})
	}
	p.sortFree(len(body.Attributes))
	for _, b := range body.Blocks {
		form, ok := forms[b.Type]
		if !ok || b.Type == "validation" {
			p.rep.warnf(b.TypeRange, "Unknown block", "Blocks of type %q have no meaning; it is ignored with all that is in it.%s", b.Type, near(b.Type, topBlocks))
			continue
		}
		if label, rng, ok := p.label(b); ok {
			p.declare(p.native(b, label, rng, form, u))
		}
	}
}

// sortFree puts the last n free attributes, which come from a map, in the
// order in which they are written.
func (p *parser) sortFree(n int) {
	slices.SortFunc(p.mod.free[len(p.mod.free)-n:], func(a, b *freeAttribute) int {
		return cmp.Compare(a.rng.Start.Byte, b.rng.Start.Byte)
	})
}

// label returns the one label that every block at the top has.
func (p *parser) label(b *hclsyntax.Block) (string, hcl.Range, bool) {
	switch len(b.Labels) {
	case 1:
		return b.Labels[0], b.LabelRanges[0], true
	case 0:
		p.rep.errorf(b.OpenBraceRange, "Missing name", "A %s block needs a name: %s \"NAME\" { … }.", b.Type, b.Type)
	default:
		p.rep.errorf(b.LabelRanges[1], "More than one name", "A %s block has one name, but this one has %d.", b.Type, len(b.Labels))
	}
	return "", hcl.Range{}, false
}

// native reads a block of the native syntax.
func (p *parser) native(b *hclsyntax.Block, label string, labelRange hcl.Range, form *bodyForm, u *unit) *block {
	out := &block{kind: b.Type, label: label, labelRange: labelRange, rng: b.DefRange(), file: u}
	out.attrs = make([]attrExpr, 0, len(b.Body.Attributes))
	for _, a := range b.Body.Attributes {
		if i, ok := form.attrs(a.Name); ok {
			out.attrs = append(out.attrs, attrExpr{index: i, name: a.Name, rng: a.SrcRange, expr: newExpression(a.Expr)})
		} else {
			p.unknown(out, form, "attribute", a.Name, a.NameRange)
		}
	}
	slices.SortFunc(out.attrs, func(a, b attrExpr) int { return cmp.Compare(a.index, b.index) })
	for _, n := range b.Body.Blocks {
		p.nativeNested(out, n, form)
	}
	return out
}

func (p *parser) nativeNested(out *block, n *hclsyntax.Block, form *bodyForm) {
	for _, s := range form.blocks {
		if s.Type != n.Type {
			continue
		}
		label, rng, ok := "", n.TypeRange, true
		if len(s.LabelNames) > 0 {
			label, rng, ok = p.label(n)
		} else if len(n.Labels) > 0 {
			p.rep.errorf(n.LabelRanges[0], "Unexpected name", "A %s block has no name.", n.Type)
		}
		if ok {
			out.nested = append(out.nested, p.native(n, label, rng, forms[s.Type], out.file))
		}
		return
	}
	p.unknown(out, form, "block", n.Type, n.TypeRange)
}

// unknown tells of an attribute or block that has no meaning where it stands.
// bake passes over most of them, so that they cannot be errors.
func (p *parser) unknown(b *block, form *bodyForm, what, name string, rng hcl.Range) {
	whose := b.kind
	if b.label != "" {
		whose += ` "` + b.label + `"`
	}
	if form.strict {
		p.rep.errorf(rng, "Unknown "+what, "%s %q of %s has no meaning: %s have %s.%s",
			strings.ToUpper(what[:1])+what[1:], name, whose, form.what, list(form.names), near(name, form.names))
		return
	}
	p.rep.warnf(rng, "Unknown "+what, "%s %q of %s has no meaning for %s and is ignored.%s",
		strings.ToUpper(what[:1])+what[1:], name, whose, form.what, near(name, form.names))
}

// declare adds a block to the module.
func (p *parser) declare(b *block) {
	m := p.mod
	switch b.kind {
	case "target":
		m.targets = append(m.targets, b)
	case "group":
		m.groups = append(m.groups, b)
	case "variable":
		m.variables = append(m.variables, b)
	case "function":
		m.functions = append(m.functions, b)
	case "variant":
		m.variants = append(m.variants, b)
	case "include":
		m.includes = append(m.includes, b)
	}
}
