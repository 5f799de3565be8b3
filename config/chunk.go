package config

import (
	"bytes"
	"runtime"
	"sync"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// Large files are parsed in pieces of whole items, side by side. The lexer
// keeps all tokens of what it is given, so that a file of megabytes would
// take a hundred times its size, and most of the time to move them about.

const (
	wholeSize = 2 << 10 // files up to this size are parsed in one piece
	pieceSize = 2 << 10
)

// parseNative parses a file of the native syntax into one or more bodies, in
// the order of the file.
func parseNative(f File) ([]*hclsyntax.Body, hcl.Diagnostics) {
	if len(f.Data) > wholeSize {
		if bodies := parsePieces(f); bodies != nil {
			return bodies, nil
		}
	}
	if d := tooDeep(f); d != nil {
		return nil, hcl.Diagnostics{d}
	}
	file, diags := hclsyntax.ParseConfig(f.Data, f.Name, hcl.InitialPos)
	body, ok := file.Body.(*hclsyntax.Body)
	if !ok {
		return nil, diags
	}
	return []*hclsyntax.Body{body}, diags
}

// parsePieces returns nil if the file has an error, or cannot be cut into
// pieces; then it has to be parsed as a whole, which tells what is wrong.
func parsePieces(f File) []*hclsyntax.Body {
	pieces, ok := cut(f)
	if !ok {
		return nil
	}
	bodies := make([]*hclsyntax.Body, len(pieces))
	next := make(chan int, len(pieces))
	for i := range pieces {
		next <- i
	}
	close(next)
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(pieces)) {
		workers.Go(func() {
			for i := range next {
				bodies[i] = readPiece(pieces[i], f.Name)
			}
		})
	}
	workers.Wait()
	names := map[string]bool{}
	for _, b := range bodies {
		if b == nil {
			return nil
		}
		for name := range b.Attributes {
			if names[name] { // an error that only the whole file shows
				return nil
			}
			names[name] = true
		}
	}
	return bodies
}

// readPiece returns nil for a piece with an error.
func readPiece(p piece, name string) *hclsyntax.Body {
	if body := readQuickly(p, name); body != nil {
		return body
	}
	file, diags := hclsyntax.ParseConfig(p.text, name, p.start)
	if diags.HasErrors() {
		return nil
	}
	body, _ := file.Body.(*hclsyntax.Body)
	return body
}

// A piece is a run of whole items of a file.
type piece struct {
	text  []byte
	start hcl.Pos
}

// cut divides a file between its items. It fails if an item may be nested
// too deep to be parsed safely.
func cut(f File) ([]piece, bool) {
	var pieces []piece
	s := scanner{src: f.Data}
	begin, line, item := 0, 1, 0
	for item < len(f.Data) {
		end := s.item(item)
		if !seemsShallow(f.Data[item:end]) && !shallow(f.Data[item:end], f.Name) {
			return nil, false
		}
		item = end
		if end-begin >= pieceSize || end == len(f.Data) {
			text := f.Data[begin:end]
			pieces = append(pieces, piece{text, hcl.Pos{Line: line, Column: 1, Byte: begin}})
			line += bytes.Count(text, []byte("\n"))
			begin = end
		}
	}
	return pieces, true
}

func shallow(src []byte, name string) bool {
	tokens, _ := hclsyntax.LexConfig(src, name, hcl.InitialPos)
	return deepest(tokens) == nil
}

// A scanner finds the ends of items. It knows just enough of the syntax for
// that: brackets, strings, templates in them, heredocs and comments. Where it
// is wrong, a piece does not parse, and the file is parsed as a whole.
type scanner struct {
	src   []byte
	stack []byte // what is open: ( [ { or " for a string, $ for a template in one
}

// item returns the end of the item that begins at i: after the first line
// break at which nothing is open.
func (s *scanner) item(i int) int {
	s.stack = s.stack[:0]
	for i < len(s.src) {
		if s.top() == '"' {
			i = s.quoted(i)
			continue
		}
		c := s.src[i]
		if c == '\n' && len(s.stack) == 0 {
			return i + 1
		}
		i = s.code(i, c)
	}
	return len(s.src)
}

func (s *scanner) top() byte {
	if len(s.stack) == 0 {
		return 0
	}
	return s.stack[len(s.stack)-1]
}

func (s *scanner) pop() {
	if len(s.stack) > 0 {
		s.stack = s.stack[:len(s.stack)-1]
	}
}

// quoted steps over one character of a string.
func (s *scanner) quoted(i int) int {
	switch c := s.src[i]; c {
	case '\\':
		return i + 2
	case '"':
		s.pop()
	case '\n': // no string: leave it to the parser to say so
		s.pop()
	case '$', '%':
		if s.at(i+1) == c && s.at(i+2) == '{' {
			return i + 3
		}
		if s.at(i+1) == '{' {
			s.stack = append(s.stack, '$')
			return i + 2
		}
	}
	return i + 1
}

func (s *scanner) at(i int) byte {
	if i >= len(s.src) {
		return 0
	}
	return s.src[i]
}

// code steps over one character outside strings, or a comment, or a heredoc.
func (s *scanner) code(i int, c byte) int {
	switch c {
	case '"', '(', '[', '{':
		s.stack = append(s.stack, c)
	case ')', ']', '}':
		s.pop()
	case '#':
		return s.find(i, "\n", 0)
	case '/':
		switch s.at(i + 1) {
		case '/':
			return s.find(i, "\n", 0)
		case '*':
			return s.find(i+2, "*/", 2)
		}
	case '<':
		if s.at(i+1) == '<' {
			return s.heredoc(i + 2)
		}
	}
	return i + 1
}

// find returns where the next end is, or, with skip, after it.
func (s *scanner) find(i int, end string, skip int) int {
	if i >= len(s.src) {
		return len(s.src)
	}
	n := bytes.Index(s.src[i:], []byte(end))
	if n < 0 {
		return len(s.src)
	}
	return i + n + skip
}

// heredoc steps over a heredoc up to the line that ends it.
func (s *scanner) heredoc(i int) int {
	if s.at(i) == '-' {
		i++
	}
	eol := s.find(i, "\n", 0)
	mark := bytes.TrimSpace(s.src[i:eol])
	if len(mark) == 0 {
		return i
	}
	for eol < len(s.src) {
		next := s.find(eol+1, "\n", 0)
		if bytes.Equal(bytes.TrimSpace(s.src[min(eol+1, next):next]), mark) {
			return next
		}
		eol = next
	}
	return len(s.src)
}
