package progress

import "strings"

// A plain view writes a line for everything that happens, each with its
// target in front:
//
//	api | #2 [build 2/3] RUN make
//	api | #2 cc -o app app.c
//	api | #2 done 3.2s
//	api | built in 4.0s
type plain struct {
	o     Options
	model *model
	b     strings.Builder
}

func (p *plain) text(bool) string {
	s := p.b.String()
	p.b.Reset()
	return s
}

func (p *plain) take(it item) {
	switch {
	case it.event != nil:
		t, lines := teller{palette(p.o.Color)}.event(p.model, *it.event)
		for _, l := range lines {
			p.line(t, l)
		}
	case it.end && it.outcomes != nil:
		p.b.WriteString("\n" + newSummary(p.o, p.model, it.outcomes).all(0))
	case it.note != "":
		p.b.WriteString(oneLine(it.note) + "\n")
	}
}

// line writes a line with its target in front.
func (p *plain) line(t *target, text string) {
	if t.name != "" {
		p.b.WriteString(t.name + " | ")
	}
	p.b.WriteString(strings.TrimRight(text, " ") + "\n")
}
