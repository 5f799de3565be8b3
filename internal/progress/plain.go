package progress

import (
	"fmt"
	"strings"

	"github.com/kilnbuild/kiln/exec"
)

// A plain view writes a line for everything that happens, each with its
// target in front and the number that the step has in it:
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
		p.event(*it.event)
	case it.end && it.outcomes != nil:
		p.b.WriteString("\n" + newSummary(p.o, p.model, it.outcomes).all(0))
	case it.note != "":
		p.b.WriteString(oneLine(it.note) + "\n")
	}
}

func (p *plain) event(e exec.Event) {
	if e.Kind == exec.Finished && e.Outcome != nil {
		p.finished(p.model.target(e.Node), *e.Outcome)
	}
	c := p.model.event(e)
	if c.warning != "" {
		p.line(c.target, palette(p.o.Color).yellow("warning:")+" "+c.warning)
	}
	if c.placed != "" {
		p.line(c.target, c.placed)
	}
	if c.retry != "" {
		p.line(c.target, palette(p.o.Color).yellow(c.retry))
	}
	if c.silence != "" {
		p.line(c.target, p.number(c.step)+palette(p.o.Color).yellow(c.silence))
		return
	}
	if c.step == nil {
		return
	}
	p.step(c)
}

// number is that of a step, to be put in front of what is told of it.
func (p *plain) number(s *step) string {
	if s == nil || s.number == 0 {
		return ""
	}
	return palette(p.o.Color).faint(fmt.Sprintf("#%d", s.number)) + " "
}

// step writes what a step did.
func (p *plain) step(c change) {
	number := p.number(c.step)
	v := c.step.vertex
	show := !v.Internal
	if show && c.begun && c.ended && v.Cached {
		p.line(c.target, number+"CACHED "+c.step.name)
		return
	}
	if show && c.begun {
		p.line(c.target, number+c.step.name)
	}
	for _, l := range c.lines {
		p.line(c.target, number+l)
	}
	if !show || !c.ended {
		return
	}
	switch {
	case v.Error != "":
		p.line(c.target, number+palette(p.o.Color).red("FAILED")+" "+oneLine(v.Error))
	case v.Cached:
		p.line(c.target, number+"CACHED")
	default:
		p.line(c.target, number+"done "+took(v.Completed.Sub(v.Started)))
	}
}

// finished writes the end of a target in a line.
func (p *plain) finished(t *target, o exec.Outcome) {
	for _, c := range t.flush() {
		p.step(c)
	}
	text := t.result(&o)
	switch o.Status {
	case exec.Built:
		text = palette(p.o.Color).green(text) + " in " + took(o.Times.Finished.Sub(o.Times.Started))
		if o.Output.Digest != "" {
			text += " " + o.Output.Digest
		}
	case exec.Failed:
		text = palette(p.o.Color).red(text) + ": " + cause(o)
	default:
		text = palette(p.o.Color).yellow(text) + ": " + cause(o)
	}
	p.line(t, text)
}

// line writes text with its target in front of every line of it.
func (p *plain) line(t *target, text string) {
	for _, l := range strings.Split(text, "\n") {
		if t.name != "" {
			p.b.WriteString(t.name + " | ")
		}
		p.b.WriteString(strings.TrimRight(l, " "))
		p.b.WriteByte('\n')
	}
}
