package progress

import "slices"

// maxPage and maxBook bound the bytes of log that are kept of a target, and of
// all, for a person who may ask for them.
const (
	maxPage = 1 << 20
	maxBook = 8 << 20
)

// A book keeps the logs of the targets. Of what is too long the older half
// goes. A nil book keeps nothing.
type book struct {
	pages []*page
	of    map[*target]*page
	bytes int
}

// A page is the log of a target.
type page struct {
	lines []string
	lost  int // lines that went
	bytes int
}

func newBook() *book { return &book{of: map[*target]*page{}} }

func (b *book) add(t *target, lines []string) {
	if b == nil || len(lines) == 0 {
		return
	}
	p := b.of[t]
	if p == nil {
		p = &page{}
		b.of[t] = p
		b.pages = append(b.pages, p)
	}
	n := p.bytes
	for _, l := range lines {
		p.bytes += len(l)
	}
	p.lines = append(p.lines, lines...)
	b.bytes += p.bytes - n
	for p.bytes > maxPage && len(p.lines) > 1 {
		b.bytes -= p.halve()
	}
	for b.bytes > maxBook {
		b.bytes -= slices.MaxFunc(b.pages, func(x, y *page) int { return x.bytes - y.bytes }).halve()
	}
}

// halve drops the older half of a page's lines, and returns how many bytes
// that was.
func (p *page) halve() int {
	n := (len(p.lines) + 1) / 2
	bytes := 0
	for _, l := range p.lines[:n] {
		bytes += len(l)
	}
	p.lines = slices.Clone(p.lines[n:])
	p.lost += n
	p.bytes -= bytes
	return bytes
}

// page returns the log of a target; an empty one if there is none.
func (b *book) page(t *target) *page {
	if b == nil || b.of[t] == nil {
		return &page{}
	}
	return b.of[t]
}
