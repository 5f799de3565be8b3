package config

import (
	"cmp"
	"slices"

	"github.com/hashicorp/hcl/v2"
	hcljson "github.com/hashicorp/hcl/v2/json"
)

// The JSON profile of HCL: the same blocks, as nested objects.

func (p *parser) parseJSON(f File) {
	if d := tooDeepJSON(f); d != nil {
		p.mod.files[f.Name] = &hcl.File{Bytes: f.Data}
		p.rep.add(d)
		return
	}
	file, diags := hcljson.Parse(withoutBOM(f.Data), f.Name)
	p.rep.addAll(diags)
	if file == nil || diags.HasErrors() {
		p.mod.files[f.Name] = &hcl.File{Bytes: f.Data}
		return
	}
	p.mod.files[f.Name] = file
	u := p.unit(f)
	content, rest, diags := file.Body.PartialContent(topSchema)
	p.rep.addAll(diags)
	for _, b := range content.Blocks {
		if len(b.Labels) == 1 {
			p.declare(p.profile(b, forms[b.Type], u))
		}
	}
	attrs, diags := rest.JustAttributes()
	p.rep.addAll(diags)
	n := 0
	for _, a := range attrs {
		p.mod.free = append(p.mod.free, &freeAttribute{a.Name, a.NameRange, newExpression(a.Expr), u})
		n++
	}
	p.sortFree(n)
}

// profile reads a block of the JSON profile.
func (p *parser) profile(b *hcl.Block, form *bodyForm, u *unit) *block {
	out := &block{kind: b.Type, rng: b.DefRange, labelRange: b.TypeRange, file: u}
	if len(b.Labels) > 0 {
		out.label, out.labelRange = b.Labels[0], b.LabelRanges[0]
	}
	body := b.Body
	if len(form.blocks) > 0 {
		content, rest, diags := body.PartialContent(&hcl.BodySchema{Blocks: form.blocks})
		p.rep.addAll(diags)
		for _, n := range content.Blocks {
			out.nested = append(out.nested, p.profile(n, forms[n.Type], u))
		}
		body = rest
	}
	attrs, diags := body.JustAttributes()
	p.rep.addAll(diags)
	for _, a := range attrs {
		if i, ok := form.attrs(a.Name); ok {
			out.attrs = append(out.attrs, attrExpr{index: i, name: a.Name, rng: a.Range, expr: newExpression(a.Expr)})
		} else {
			p.unknown(out, form, "attribute", a.Name, a.NameRange)
		}
	}
	slices.SortFunc(out.attrs, func(a, b attrExpr) int { return cmp.Compare(a.index, b.index) })
	return out
}
