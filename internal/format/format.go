// Package format writes build files in one canonical layout. Bytes go in and
// bytes come out; only what lies between the tokens of the language changes,
// so that a file means the same before and after:
//
//   - indentation by two blanks, equals signs and comments aligned, one blank
//     between tokens, as HCL's own formatter has it;
//   - no blank lines at the beginning and end of a file or a body, and never
//     two together; no blanks at the end of a line;
//   - one line break at the end of the file.
//
// The text of heredocs and of strings stays as it is, byte for byte. A file
// with Windows' line breaks keeps them, and one with a byte order mark keeps
// that. Comments stay where they are.
package format

import (
	"bytes"
	"errors"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
)

// ErrUnsafe says that formatting would have changed more than the layout. It
// is a mistake of the formatter, and the file has to stay as it is.
var ErrUnsafe = errors.New("formatting would change more than the layout; please report this file")

// ErrUnsettled says that formatting what is formatted changes it once more.
var ErrUnsettled = errors.New("no layout is stable; please report this file")

// mostRounds bounds how often the layout is gone over until it is stable.
const mostRounds = 8

var bom = []byte("\xef\xbb\xbf")

// Source returns src in the canonical layout. It has to be the text of a
// build file without errors in its syntax. The errors are ErrUnsafe and
// ErrUnsettled.
func Source(src []byte) ([]byte, error) {
	text, marked := bytes.CutPrefix(src, bom)
	text = unbroken(text)
	out := text
	for range mostRounds {
		next := squeeze(hclwrite.Format(squeeze(out)))
		if bytes.Equal(next, out) {
			return finish(src, out, marked)
		}
		out = next
	}
	return nil, ErrUnsettled
}

// finish sees to it that nothing but the layout differs, and puts the byte
// order mark back.
func finish(src, out []byte, marked bool) ([]byte, error) {
	if !sameTokens(src, out) {
		return nil, ErrUnsafe
	}
	if marked {
		out = append(bytes.Clone(bom), out...)
	}
	return out, nil
}

// unbroken returns the text with its line breaks, outside of strings and long
// comments, all like the first one.
func unbroken(text []byte) []byte {
	first := bytes.IndexByte(text, '\n')
	end := []byte("\n")
	if first > 0 && text[first-1] == '\r' {
		end = []byte("\r\n")
	}
	var out bytes.Buffer
	at := 0
	for _, t := range lex(text) {
		out.Write(text[at:t.Range.Start.Byte])
		at = t.Range.End.Byte
		if line, ok := bytes.CutSuffix(t.Bytes, []byte("\n")); ok && (t.Type == hclsyntax.TokenNewline || t.Type == hclsyntax.TokenComment) {
			out.Write(bytes.TrimSuffix(line, []byte("\r")))
			out.Write(end)
			continue
		}
		out.Write(t.Bytes)
	}
	out.Write(text[at:])
	return out.Bytes()
}

func lex(text []byte) hclsyntax.Tokens {
	tokens, _ := hclsyntax.LexConfig(text, "", hcl.InitialPos)
	return tokens
}

// squeeze takes out blank lines that are too many, and blanks at the ends of
// lines.
func squeeze(text []byte) []byte {
	s := &squeezer{text: text, end: []byte("\n")}
	if bytes.Contains(text, []byte("\r\n")) {
		s.end = []byte("\r\n")
	}
	tokens := lex(text)
	s.fresh, s.opened = true, true
	last := closing(tokens)
	for i, t := range tokens {
		s.token(t, last[i])
	}
	return s.finished()
}

// closing tells of each token whether nothing but line breaks comes between
// it and the end of a body or of the file.
func closing(tokens hclsyntax.Tokens) []bool {
	out := make([]bool, len(tokens))
	last := true
	for i := len(tokens) - 1; i >= 0; i-- {
		out[i] = last
		if t := tokens[i].Type; t != hclsyntax.TokenNewline {
			last = t == hclsyntax.TokenCBrace || t == hclsyntax.TokenEOF
		}
	}
	return out
}

// A squeezer copies tokens, and what is between them.
type squeezer struct {
	text   []byte
	end    []byte // a line break
	out    bytes.Buffer
	at     int
	fresh  bool // a line begins
	blank  bool // the line before is a blank one
	opened bool // the line before opened a body, or there is none
}

// token copies a token; last says that a body or the file closes after it.
func (s *squeezer) token(t hclsyntax.Token, last bool) {
	gap := s.text[s.at:t.Range.Start.Byte]
	s.at = t.Range.End.Byte
	switch {
	case t.Type == hclsyntax.TokenEOF:
		return
	case t.Type == hclsyntax.TokenNewline:
		if s.fresh && (s.blank || s.opened || last) {
			return
		}
		s.out.Write(s.end)
		s.blank, s.fresh = s.fresh, true
		return
	}
	s.out.Write(gap)
	body := t.Bytes
	endsLine := t.Type == hclsyntax.TokenComment && bytes.HasSuffix(body, []byte("\n"))
	if endsLine {
		body = append(bytes.TrimRight(body, " \t\r\n"), s.end...)
	} else if t.Type == hclsyntax.TokenComment && !bytes.HasPrefix(body, []byte("/*")) {
		body = bytes.TrimRight(body, " \t\r") // the last of a file that does not end its line
	}
	s.out.Write(body)
	s.fresh, s.blank = endsLine, false
	s.opened = t.Type == hclsyntax.TokenOBrace
}

// finished returns the text with one line break at its end; nothing for
// nothing.
func (s *squeezer) finished() []byte {
	s.out.Write(s.text[s.at:])
	if out := s.out.Bytes(); !s.fresh && len(out) > 0 {
		s.out.Write(s.end)
	}
	return s.out.Bytes()
}

// sameTokens reports whether two texts differ in their layout alone: they
// have the same tokens but for line breaks, with the same bytes but for the
// ends of comments.
func sameTokens(a, b []byte) bool {
	x, y := solid(a), solid(b)
	if len(x) != len(y) {
		return false
	}
	for i := range x {
		if x[i].Type != y[i].Type || !bytes.Equal(x[i].Bytes, y[i].Bytes) {
			return false
		}
	}
	return true
}

// solid lists the tokens that count. Where a closing marker of a heredoc
// stands in its line does not.
func solid(text []byte) hclsyntax.Tokens {
	var out hclsyntax.Tokens
	for _, t := range lex(bytes.TrimPrefix(text, bom)) {
		switch t.Type {
		case hclsyntax.TokenNewline, hclsyntax.TokenEOF:
			continue
		case hclsyntax.TokenComment:
			if !bytes.HasPrefix(t.Bytes, []byte("/*")) {
				t.Bytes = bytes.TrimRight(t.Bytes, " \t\r\n")
			}
		case hclsyntax.TokenCHeredoc:
			t.Bytes = bytes.TrimSpace(t.Bytes)
		}
		out = append(out, t)
	}
	return out
}
