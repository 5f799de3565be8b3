package cli

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/charmbracelet/x/ansi"

	"github.com/kilnbuild/kiln/config"
)

// print writes e for people. Lines are as long as what they say; only words
// are wrapped, to width, where 0 is that of a page.
func (e *explained) print(w io.Writer, width int) error {
	p := &explainPrinter{w: bufio.NewWriter(w), width: width}
	for i := range e.Targets {
		p.part()
		p.target(&e.Targets[i])
	}
	for i := range e.Groups {
		p.part()
		p.group(&e.Groups[i])
	}
	for i := range e.Variables {
		p.part()
		p.variable(&e.Variables[i])
	}
	return p.w.Flush()
}

// An explainPrinter writes lines.
type explainPrinter struct {
	w     *bufio.Writer
	width int
	some  bool
}

// part begins something new, with a blank line after what came before.
func (p *explainPrinter) part() {
	if p.some {
		p.line("")
	}
	p.some = true
}

func (p *explainPrinter) line(format string, args ...any) {
	fmt.Fprintln(p.w, strings.TrimRight(fmt.Sprintf(format, args...), " "))
}

func (w where) String() string {
	if w.Line == 0 {
		return w.File
	}
	return fmt.Sprintf("%s:%d", w.File, w.Line)
}

func (p *explainPrinter) target(t *explainedTarget) {
	head := fmt.Sprintf("target %q  %s", t.Name, t.where)
	if t.Label != t.Name {
		head += fmt.Sprintf(", made of target %q", t.Label)
	}
	if t.Variant != "" {
		head += ", variant " + t.Variant
	}
	p.line("%s", head)
	if len(t.Inherits) > 0 {
		p.line("inherits %s", strings.Join(t.Inherits, ", "))
	}
	if len(t.Groups) > 0 {
		p.line("in the group %s", strings.Join(t.Groups, ", "))
	}
	set := map[string]bool{}
	for i := range t.Attributes {
		p.line("")
		p.attribute(&t.Attributes[i])
		set[t.Attributes[i].Name] = true
	}
	if t.whole {
		p.unset(set)
	}
}

// unset lists what nothing sets, with what holds then.
func (p *explainPrinter) unset(set map[string]bool) {
	var names []string
	for _, d := range config.Attributes() {
		switch {
		case set[d.Name] || d.Rule == "":
		case d.Default != "":
			names = append(names, fmt.Sprintf("%s (%s)", d.Name, d.Default))
		default:
			names = append(names, d.Name)
		}
	}
	text := "not set: " + strings.Join(names, ", ")
	p.line("")
	width := p.width
	if width <= 0 {
		width = 100
	}
	for l := range strings.SplitSeq(ansi.Wordwrap(text, width, ""), "\n") {
		p.line("%s", l)
	}
}

func (p *explainPrinter) attribute(a *explainedAttribute) {
	kind := a.Type
	if a.Rule != "" {
		kind += "; " + a.Rule
	}
	switch {
	case !a.Set && len(a.Layers) == 0 && a.Default != "":
		p.line("%s is not set: %s  (%s)", a.Name, a.Default, kind)
		return
	case !a.Set && len(a.Layers) == 0:
		p.line("%s is not set  (%s)", a.Name, kind)
		return
	case len(a.Entries) > 0 && a.Value[0] == '{':
		p.line("%s  (%s)", a.Name, kind)
	case !a.Set:
		p.line("%s is null, as if it were not set  (%s)", a.Name, kind)
	default:
		p.line("%s = %s  (%s)", a.Name, a.Value, kind)
	}
	if a.Resolved != "" {
		p.line("  which is %s from here", a.Resolved)
	}
	if len(a.Entries) == 0 {
		p.layers(a.Layers, "  ")
		return
	}
	for i := range a.Entries {
		p.entry(a, &a.Entries[i])
	}
	var rest []explainedLayer
	for _, l := range a.Layers {
		if (l.Result == string(config.ResultCovered) || l.Result == string(config.ResultNull)) && !a.told(l) {
			rest = append(rest, l)
		}
	}
	p.layers(rest, "  ")
}

// told reports whether a layer is named with an entry.
func (e *explainedAttribute) told(l explainedLayer) bool {
	for _, entry := range e.Entries {
		for _, el := range entry.Layers {
			if o := e.Layers[el.Layer]; o.By == l.By && o.where == l.where && o.Of == l.Of {
				return true
			}
		}
	}
	return false
}

// A row is one layer on the screen.
type row struct {
	mark, place, by, what string
	inputs                []explainedInput
}

func (p *explainPrinter) layers(layers []explainedLayer, indent string) {
	var rows []row
	for _, l := range layers {
		r := row{" ", l.where.String(), l.By, saying(l.Expression, l.Value), l.Inputs}
		switch config.Result(l.Result) {
		case config.ResultWon:
			r.mark = "*"
		case config.ResultPart:
			r.mark = "*"
			r.what += "  (in part)"
		case config.ResultNull:
			r.what += "  (null sets nothing)"
		case config.ResultCovered:
			r.what += "  (covered)"
		}
		rows = append(rows, r)
	}
	p.rows(rows, indent)
}

func (p *explainPrinter) entry(a *explainedAttribute, e *explainedEntry) {
	if e.Key != "" {
		from := ""
		if e.Resolved != "" {
			from = fmt.Sprintf("  which is %s from here", e.Resolved)
		}
		p.line("  %s = %s%s", e.Key, e.Value, from)
	} else {
		p.line("  %s", e.Value)
	}
	var rows []row
	for i, l := range e.Layers {
		r := row{" ", l.where.String(), a.Layers[l.Layer].By, saying(l.Expression, l.Value), l.Inputs}
		if i == len(e.Layers)-1 {
			r.mark = "*"
		} else if e.Key != "" {
			r.what += "  (covered)"
		} else {
			r.what += "  (a repeat)"
		}
		rows = append(rows, r)
	}
	p.rows(rows, "    ")
}

// rows writes layers under each other, in columns.
func (p *explainPrinter) rows(rows []row, indent string) {
	const widest = 48 // no column pushes the next further
	place, by := 0, 0
	for _, r := range rows {
		place, by = max(place, min(len(r.place), widest)), max(by, min(len(r.by), widest))
	}
	for _, r := range rows {
		if r.place == "" {
			p.line("%s%s %s  %s", indent, r.mark, pad(r.by, place+by+2), r.what)
		} else {
			p.line("%s%s %s  %s  %s", indent, r.mark, pad(r.place, place), pad(r.by, by), r.what)
		}
		p.inputs(r.inputs, indent+"      ")
	}
}

func pad(s string, n int) string { return s + strings.Repeat(" ", max(0, n-ansi.StringWidth(s))) }

func (p *explainPrinter) inputs(in []explainedInput, indent string) {
	for _, i := range in {
		text := i.Name
		if i.Value != nil {
			text += " = " + string(i.Value)
		}
		switch {
		case i.Origin == "function", i.Origin == "default", i.Origin == "no default":
			text += "  " + i.Origin
			if i.Line > 0 {
				text += ", " + i.where.String()
			}
		case i.Line > 0:
			text += fmt.Sprintf("  %s (declared at %s)", i.Origin, i.where)
		default:
			text += "  " + i.Origin
		}
		p.line("%s%s", indent, text)
		p.inputs(i.Inputs, indent+"  ")
	}
}

// saying is an expression with its value, where that says more.
func saying(expr string, value json.RawMessage) string {
	expr = strings.Join(strings.Fields(expr), " ")
	switch {
	case expr == "":
		return string(value)
	case value == nil, expr == hiddenValue, strings.ReplaceAll(expr, " ", "") == strings.ReplaceAll(string(value), " ", ""):
		return expr
	}
	return expr + "  → " + string(value)
}

func (p *explainPrinter) group(g *explainedGroup) {
	head := fmt.Sprintf("group %q  %s", g.Name, g.where)
	if g.Generated {
		head += ", the instances of a target"
	}
	p.line("%s", head)
	if g.Description != "" {
		p.line("%s", g.Description)
	}
	if len(g.Groups) > 0 {
		p.line("in the group %s", strings.Join(g.Groups, ", "))
	}
	p.line("")
	for _, m := range g.Members {
		p.line("  %s  %s", m.Name, m.where)
	}
	if len(g.Members) == 0 {
		p.line("  nothing")
	}
	p.inputs(g.Inputs, "      ")
	for _, c := range g.Covered {
		p.line("The block at %s has no effect: the last one of a name stands alone.", c)
	}
}

func (p *explainPrinter) variable(v *explainedVariable) {
	head := fmt.Sprintf("variable %q = %s", v.Name, v.Value)
	if v.Type != "" {
		head += "  (" + v.Type + ")"
	}
	p.line("%s", head)
	if v.Description != "" {
		p.line("%s", v.Description)
	}
	p.line("")
	p.layers(v.Layers, "  ")
	if len(v.Uses) == 0 {
		p.line("\nnothing uses it")
		return
	}
	p.line("\nused by")
	var rows []row
	for _, u := range v.Uses {
		rows = append(rows, row{" ", u.where.String(), u.By, u.Attribute, nil})
	}
	p.rows(rows, "  ")
}
