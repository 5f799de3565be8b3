package config

import (
	"strings"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// Reading, quickly, what large files are mostly made of: blocks and
// attributes with strings, templates, lists, objects, references and calls.
// hclsyntax first makes a list of all tokens, which is most of its time and
// memory; this makes the same tree, to the last range, straight from the text.
// What it is not sure of (operators, heredocs, escapes, text beyond ASCII) it
// gives up, and hclsyntax parses it. FuzzQuick holds the two equal.

// quickDepth bounds how deep expressions may be nested here.
const quickDepth = 100

// A quick is a place in a text, and the tree so far.
type quick struct {
	src   string // ends where the piece ends
	name  string // of the file
	i     int    // the next byte
	base  int    // where src begins in the file
	line  int
	bol   int // where the line begins, in src
	depth int
}

// readQuickly returns nil for what only hclsyntax can read.
func readQuickly(p piece, name string) *hclsyntax.Body {
	q := &quick{src: string(p.text), name: name, base: p.start.Byte, line: p.start.Line}
	body, ok := q.body(hcl.Range{})
	if !ok {
		return nil
	}
	return body
}

func (q *quick) peek() byte {
	if q.i < len(q.src) {
		return q.src[q.i]
	}
	return 0
}

func (q *quick) pos() hcl.Pos {
	return hcl.Pos{Line: q.line, Column: q.i - q.bol + 1, Byte: q.base + q.i}
}

// since is the range from a place to here.
func (q *quick) since(start hcl.Pos) hcl.Range {
	return hcl.Range{Filename: q.name, Start: start, End: q.pos()}
}

// read steps over c, if that comes next.
func (q *quick) read(c byte) (hcl.Range, bool) {
	if q.peek() != c {
		return hcl.Range{}, false
	}
	start := q.pos()
	q.i++
	return q.since(start), true
}

// space steps over blanks, and line breaks if they mean nothing.
func (q *quick) space(lines bool) {
	for q.i < len(q.src) {
		switch q.src[q.i] {
		case ' ', '\t':
			q.i++
		case '\n':
			if !lines {
				return
			}
			q.i++
			q.line++
			q.bol = q.i
		default:
			return
		}
	}
}

// between steps over what may stand between the items of a body.
func (q *quick) between() bool {
	for {
		q.space(true)
		if q.peek() != '#' && !strings.HasPrefix(q.src[q.i:], "//") {
			return true
		}
		if !q.comment() {
			return false
		}
	}
}

// comment steps over the rest of the line. It fails where hclsyntax might not
// find the end of the line where it is.
func (q *quick) comment() bool {
	n := strings.IndexByte(q.src[q.i:], '\n')
	if n < 0 {
		n = len(q.src) - q.i
	}
	text := q.src[q.i : q.i+n]
	q.i += n
	return utf8.ValidString(text) && strings.IndexByte(text, '\r') < 0
}

// endLine reports whether an item of a body ends here.
func (q *quick) endLine() bool {
	q.space(false)
	switch c := q.peek(); {
	case c == '#', c == '/' && strings.HasPrefix(q.src[q.i:], "//"):
		return q.comment()
	case c == '\n':
		return true
	}
	return q.i >= len(q.src)
}

func letter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' }

func digit(c byte) bool { return c >= '0' && c <= '9' }

// ident reads a name.
func (q *quick) ident() (string, hcl.Range, bool) {
	if !letter(q.peek()) {
		return "", hcl.Range{}, false
	}
	start, from := q.pos(), q.i
	for c := q.peek(); letter(c) || digit(c) || c == '-'; c = q.peek() {
		q.i++
	}
	return q.src[from:q.i], q.since(start), q.peek() < 0x80
}

// body reads up to the brace that closes the one at open, or to the end of
// the text if there is none.
func (q *quick) body(open hcl.Range) (*hclsyntax.Body, bool) {
	b := &hclsyntax.Body{Attributes: hclsyntax.Attributes{}, Blocks: hclsyntax.Blocks{}}
	nested := open != hcl.Range{}
	for {
		if !q.between() {
			return nil, false
		}
		if q.i >= len(q.src) {
			return b, !nested
		}
		if end, ok := q.read('}'); ok {
			b.SrcRange = hcl.RangeBetween(open, end)
			b.EndRange = hcl.Range{Filename: q.name, Start: end.End, End: end.End}
			return b, nested
		}
		name, rng, ok := q.ident()
		q.space(false)
		switch {
		case !ok:
			return nil, false
		case q.peek() == '=':
			a, ok := q.attribute(name, rng)
			if !ok || b.Attributes[name] != nil || !q.endLine() {
				return nil, false
			}
			b.Attributes[name] = a
		default:
			n, ok := q.block(name, rng)
			if !ok || !q.endLine() {
				return nil, false
			}
			b.Blocks = append(b.Blocks, n)
		}
	}
}

// attribute reads on from the equals sign.
func (q *quick) attribute(name string, rng hcl.Range) (*hclsyntax.Attribute, bool) {
	equals, _ := q.read('=')
	q.space(false)
	x, ok := q.expr()
	if !ok {
		return nil, false
	}
	return &hclsyntax.Attribute{Name: name, Expr: x, SrcRange: hcl.RangeBetween(rng, x.Range()), NameRange: rng, EqualsRange: equals}, true
}

// block reads on from what follows its type.
func (q *quick) block(name string, rng hcl.Range) (*hclsyntax.Block, bool) {
	b := &hclsyntax.Block{Type: name, TypeRange: rng}
	for q.peek() != '{' {
		label, at, ok := q.label()
		if !ok {
			return nil, false
		}
		b.Labels, b.LabelRanges = append(b.Labels, label), append(b.LabelRanges, at)
		q.space(false)
	}
	q.depth++
	if q.depth > quickDepth {
		return nil, false
	}
	b.OpenBraceRange, _ = q.read('{')
	q.space(false)
	var ok bool
	if c := q.peek(); c == '\n' || c == '}' {
		b.Body, ok = q.body(b.OpenBraceRange)
		b.CloseBraceRange = lastByte(b.Body)
	} else {
		b.Body, b.CloseBraceRange, ok = q.oneLine()
	}
	q.depth--
	return b, ok
}

// lastByte is the range of the brace that closes a body.
func lastByte(b *hclsyntax.Body) hcl.Range {
	if b == nil {
		return hcl.Range{}
	}
	rng := b.EndRange
	rng.Start.Byte--
	rng.Start.Column--
	return rng
}

// oneLine reads a body of one attribute, and the brace that closes it.
func (q *quick) oneLine() (*hclsyntax.Body, hcl.Range, bool) {
	name, rng, ok := q.ident()
	q.space(false)
	if !ok || q.peek() != '=' {
		return nil, hcl.Range{}, false
	}
	a, ok := q.attribute(name, rng)
	if !ok {
		return nil, hcl.Range{}, false
	}
	q.space(false)
	end, ok := q.read('}')
	return &hclsyntax.Body{
		Attributes: hclsyntax.Attributes{name: a},
		SrcRange:   a.SrcRange,
		EndRange:   hcl.Range{Filename: q.name, Start: a.SrcRange.End, End: a.SrcRange.End},
	}, end, ok
}

// label reads a name of a block.
func (q *quick) label() (string, hcl.Range, bool) {
	if q.peek() != '"' {
		return q.ident()
	}
	start := q.pos()
	q.i++
	text := q.plain()
	_, ok := q.read('"')
	return text, q.since(start), ok
}

// plain reads the part of a string that stands for itself.
func (q *quick) plain() string {
	from := q.i
	for ; q.i < len(q.src); q.i++ {
		if c := q.src[q.i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '$' || c == '%' {
			break
		}
	}
	return q.src[from:q.i]
}

// expr reads an expression that begins here. What follows it is left to the
// caller, who gives up if that is not what may follow an expression.
func (q *quick) expr() (hclsyntax.Expression, bool) {
	q.depth++
	defer func() { q.depth-- }()
	if q.depth > quickDepth {
		return nil, false
	}
	switch c := q.peek(); {
	case c == '"':
		return q.template()
	case c == '[':
		return q.tuple()
	case c == '{':
		return q.object()
	case letter(c):
		return q.word()
	case digit(c):
		return q.number()
	}
	return nil, false
}

// number reads a whole number.
func (q *quick) number() (hclsyntax.Expression, bool) {
	start, from := q.pos(), q.i
	for digit(q.peek()) {
		q.i++
	}
	if c := q.peek(); c == '.' || letter(c) || c >= 0x80 {
		return nil, false
	}
	v, err := cty.ParseNumberVal(q.src[from:q.i])
	return &hclsyntax.LiteralValueExpr{Val: v, SrcRange: q.since(start)}, err == nil
}

// word reads what begins with a name: a constant, a call, a reference.
func (q *quick) word() (hclsyntax.Expression, bool) {
	name, rng, ok := q.ident()
	if !ok {
		return nil, false
	}
	c := q.peek()
	if c == '(' {
		return q.call(name, rng)
	}
	v, constant := cty.NullVal(cty.DynamicPseudoType), true
	switch name {
	case "true":
		v = cty.True
	case "false":
		v = cty.False
	case "null":
	default:
		constant = false
	}
	if constant {
		return &hclsyntax.LiteralValueExpr{Val: v, SrcRange: rng}, c != '.' && c != '['
	}
	return q.reference(name, rng)
}

// reference reads the steps that follow a name.
func (q *quick) reference(name string, rng hcl.Range) (hclsyntax.Expression, bool) {
	steps := hcl.Traversal{hcl.TraverseRoot{Name: name, SrcRange: rng}}
	for q.peek() == '.' {
		start := q.pos()
		q.i++
		attr, _, ok := q.ident()
		if !ok {
			return nil, false
		}
		steps = append(steps, hcl.TraverseAttr{Name: attr, SrcRange: q.since(start)})
	}
	return &hclsyntax.ScopeTraversalExpr{Traversal: steps, SrcRange: q.since(rng.Start)}, q.peek() != '['
}

// call reads on from the open parenthesis.
func (q *quick) call(name string, rng hcl.Range) (hclsyntax.Expression, bool) {
	x := &hclsyntax.FunctionCallExpr{Name: name, NameRange: rng}
	x.OpenParenRange, _ = q.read('(')
	var ok bool
	x.Args, x.CloseParenRange, ok = q.list(')')
	return x, ok && q.ends()
}

// tuple reads a list, or a for expression that makes one.
func (q *quick) tuple() (hclsyntax.Expression, bool) {
	open, _ := q.read('[')
	q.space(true)
	if q.keyword("for") {
		return q.loop(open)
	}
	exprs, end, ok := q.list(']')
	return &hclsyntax.TupleConsExpr{Exprs: exprs, SrcRange: hcl.RangeBetween(open, end), OpenRange: open}, ok && q.ends()
}

// ends reports that no step follows that would go into what was read.
func (q *quick) ends() bool { return q.peek() != '.' && q.peek() != '[' }

// list reads expressions up to the closing bracket.
func (q *quick) list(closing byte) ([]hclsyntax.Expression, hcl.Range, bool) {
	var exprs []hclsyntax.Expression
	for {
		q.space(true)
		if end, ok := q.read(closing); ok {
			return exprs, end, true
		}
		x, ok := q.expr()
		if !ok {
			return nil, hcl.Range{}, false
		}
		exprs = append(exprs, x)
		q.space(true)
		if _, ok := q.read(','); !ok && q.peek() != closing {
			return nil, hcl.Range{}, false
		}
	}
}

// keyword reports whether that word comes next.
func (q *quick) keyword(word string) bool {
	rest := q.src[q.i:]
	if !strings.HasPrefix(rest, word) {
		return false
	}
	if len(rest) == len(word) {
		return true
	}
	c := rest[len(word)]
	return !letter(c) && !digit(c) && c != '-' && c < 0x80
}

// loop reads a for expression from its first word on.
func (q *quick) loop(open hcl.Range) (hclsyntax.Expression, bool) {
	q.i += len("for")
	q.space(true)
	key, val := "", ""
	name, _, ok := q.ident()
	q.space(true)
	if _, comma := q.read(','); comma && ok {
		q.space(true)
		key = name
		name, _, ok = q.ident()
		q.space(true)
	}
	val = name
	if !ok || !q.keyword("in") {
		return nil, false
	}
	q.i += len("in")
	q.space(true)
	coll, ok := q.expr()
	q.space(true)
	if _, colon := q.read(':'); !ok || !colon || q.peek() == ':' {
		return nil, false
	}
	q.space(true)
	item, ok := q.expr()
	if !ok {
		return nil, false
	}
	q.space(true)
	end, ok := q.read(']')
	return &hclsyntax.ForExpr{
		KeyVar: key, ValVar: val, CollExpr: coll, ValExpr: item,
		SrcRange: hcl.RangeBetween(open, end), OpenRange: open, CloseRange: end,
	}, ok && q.ends()
}

// object reads an object whose keys are names or strings.
func (q *quick) object() (hclsyntax.Expression, bool) {
	open, _ := q.read('{')
	x := &hclsyntax.ObjectConsExpr{OpenRange: open}
	q.space(true)
	if q.keyword("for") {
		return nil, false
	}
	for {
		q.space(true)
		if end, ok := q.read('}'); ok {
			x.SrcRange = hcl.RangeBetween(open, end)
			return x, q.ends()
		}
		item, ok := q.item()
		if !ok {
			return nil, false
		}
		x.Items = append(x.Items, item)
		q.space(false)
		switch q.peek() {
		case ',':
			q.i++
		case '\n', '}':
		default:
			return nil, false
		}
	}
}

// item reads a key and its value.
func (q *quick) item() (hclsyntax.ObjectConsItem, bool) {
	var none hclsyntax.ObjectConsItem
	if c := q.peek(); c != '"' && !letter(c) {
		return none, false
	}
	key, ok := q.expr()
	if !ok {
		return none, false
	}
	q.space(false)
	if c := q.peek(); c != '=' && c != ':' {
		return none, false
	}
	q.i++
	if c := q.peek(); c == '=' || c == '>' || c == ':' {
		return none, false
	}
	q.space(false)
	value, ok := q.expr()
	return hclsyntax.ObjectConsItem{KeyExpr: &hclsyntax.ObjectConsKeyExpr{Wrapped: key}, ValueExpr: value}, ok
}

// template reads a string.
func (q *quick) template() (hclsyntax.Expression, bool) {
	start := q.pos()
	q.i++
	parts := make([]hclsyntax.Expression, 0, 1)
	wrapped := false
	for {
		at := q.pos()
		if text := q.plain(); text != "" {
			parts = append(parts, &hclsyntax.LiteralValueExpr{Val: cty.StringVal(text), SrcRange: q.since(at)})
			continue
		}
		if _, ok := q.read('"'); ok {
			break
		}
		x, ok := q.interpolation()
		if !ok {
			return nil, false
		}
		parts = append(parts, x)
		wrapped = len(parts) == 1
	}
	wrapped = wrapped && len(parts) == 1
	rng := q.since(start)
	switch {
	case !q.ends():
		return nil, false
	case wrapped:
		return &hclsyntax.TemplateWrapExpr{Wrapped: parts[0], SrcRange: rng}, true
	case len(parts) == 0: // hclsyntax puts it behind the string
		empty := hcl.Range{Filename: q.name, Start: rng.End, End: rng.End}
		parts = append(parts, &hclsyntax.LiteralValueExpr{Val: cty.StringVal(""), SrcRange: empty})
	}
	return &hclsyntax.TemplateExpr{Parts: parts, SrcRange: rng}, true
}

// interpolation reads ${ … } on one line.
func (q *quick) interpolation() (hclsyntax.Expression, bool) {
	if !strings.HasPrefix(q.src[q.i:], "${") {
		return nil, false
	}
	q.i += 2
	q.space(false)
	x, ok := q.expr()
	q.space(false)
	if !ok || q.peek() != '}' {
		return nil, false
	}
	q.i++
	return x, true
}
