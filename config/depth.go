package config

import (
	"bytes"
	"fmt"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// Limits on nesting. The parser and the evaluator of HCL are recursive, and
// a stack that overflows cannot be recovered from; so a file that nests
// deeper than any sensible one does is refused before it is parsed.
const (
	maxDepth     = 400  // brackets, templates and blocks inside each other
	maxOperators = 4000 // operators in one expression, which nest as well
)

// tooDeep reports a native file that cannot be parsed safely; nil if it can.
func tooDeep(f File) *hcl.Diagnostic {
	if seemsShallow(f.Data) {
		return nil
	}
	tokens, _ := hclsyntax.LexConfig(f.Data, f.Name, hcl.InitialPos)
	return deepest(tokens)
}

// tooDeepTemplate is tooDeep for a template in a JSON string at rng.
func tooDeepTemplate(s string, rng hcl.Range) *hcl.Diagnostic {
	if seemsShallow([]byte(s)) {
		return nil
	}
	tokens, _ := hclsyntax.LexTemplate([]byte(s), rng.Filename, rng.Start)
	return deepest(tokens)
}

// seemsShallow counts bytes that may nest something, wherever they stand. It
// may be wrong about a file that is all right, never about one that is not.
func seemsShallow(src []byte) bool {
	brackets, operators := 0, 0
	for _, c := range src {
		switch c {
		case '(', '[', '{':
			brackets++
		case '!', '-', '?', '+', '*', '/', '%', '<', '>', '&', '|', '.', '=':
			operators++
		}
	}
	return brackets < maxDepth && brackets+operators < maxOperators
}

// deepest walks the tokens with a stack of open brackets, counting the
// operators of the expression at each level.
func deepest(tokens hclsyntax.Tokens) *hcl.Diagnostic {
	w := nesting{operators: make([]int, 1, 64), opener: make([]hclsyntax.TokenType, 1, 64)}
	for i, t := range tokens {
		if w.controls += control(tokens[i:]); w.controls < 0 {
			w.controls = 0
		}
		w.step(t.Type)
		if len(w.opener)+w.controls > maxDepth || w.operators[len(w.operators)-1] > maxOperators {
			return problem(hcl.DiagError, t.Range, "Nested too deeply",
				"Brackets, templates and operators may be nested %d deep, and one expression may have %d operators; "+
					"this is where the file passes that. Name parts of the expression as variables or free attributes.",
				maxDepth, maxOperators)
		}
	}
	return nil
}

type nesting struct {
	opener    []hclsyntax.TokenType
	operators []int
	controls  int // open %{ if } and %{ for }
}

func (w *nesting) step(t hclsyntax.TokenType) {
	top := len(w.operators) - 1
	switch t {
	case hclsyntax.TokenOBrack, hclsyntax.TokenDot:
		w.operators[top]++ // an index or a step of a traversal
	}
	switch t {
	case hclsyntax.TokenOBrace, hclsyntax.TokenOParen, hclsyntax.TokenOBrack, hclsyntax.TokenTemplateInterp, hclsyntax.TokenTemplateControl:
		w.opener = append(w.opener, t)
		w.operators = append(w.operators, 0)
	case hclsyntax.TokenCBrace, hclsyntax.TokenCParen, hclsyntax.TokenCBrack, hclsyntax.TokenTemplateSeqEnd:
		if top > 0 {
			w.opener, w.operators = w.opener[:top], w.operators[:top]
		}
	case hclsyntax.TokenComma:
		w.operators[top] = 0
	case hclsyntax.TokenNewline:
		if w.opener[top] == 0 || w.opener[top] == hclsyntax.TokenOBrace {
			w.operators[top] = 0
		}
	case hclsyntax.TokenBang, hclsyntax.TokenMinus, hclsyntax.TokenPlus, hclsyntax.TokenStar, hclsyntax.TokenSlash,
		hclsyntax.TokenPercent, hclsyntax.TokenQuestion, hclsyntax.TokenAnd, hclsyntax.TokenOr, hclsyntax.TokenEqualOp,
		hclsyntax.TokenNotEqual, hclsyntax.TokenLessThan, hclsyntax.TokenLessThanEq, hclsyntax.TokenGreaterThan,
		hclsyntax.TokenGreaterThanEq:
		w.operators[top]++
	}
}

// control returns 1 where the tokens begin a %{ if } or %{ for }, -1 at its end.
func control(tokens hclsyntax.Tokens) int {
	if tokens[0].Type != hclsyntax.TokenTemplateControl || len(tokens) < 2 {
		return 0
	}
	switch string(tokens[1].Bytes) {
	case "if", "for":
		return 1
	case "endif", "endfor":
		return -1
	}
	return 0
}

// tooDeepJSON is tooDeep for a JSON file.
func tooDeepJSON(f File) *hcl.Diagnostic {
	depth, inString := 0, false
	for i := 0; i < len(f.Data); i++ {
		switch c := f.Data[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '[' || c == '{':
			depth++
		case c == ']' || c == '}':
			depth--
		}
		if depth > maxDepth {
			line := 1 + bytes.Count(f.Data[:i], []byte("\n"))
			rng := hcl.Range{Filename: f.Name, Start: hcl.Pos{Line: line, Column: 1, Byte: i}, End: hcl.Pos{Line: line, Column: 2, Byte: i + 1}}
			return &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Nested too deeply", Subject: &rng,
				Detail: fmt.Sprintf("Objects and arrays may be nested %d deep; this is where the file passes that.", maxDepth)}
		}
	}
	return nil
}
