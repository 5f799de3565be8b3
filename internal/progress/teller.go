package progress

import (
	"fmt"
	"strings"

	"github.com/kilnbuild/kiln/exec"
)

// A teller words what happens to a target, in lines that do not name it:
//
//	#2 [build 2/3] RUN make
//	#2 cc -o app app.c
//	#2 done 3.2s
//	built in 4.0s
//
// The number is that of the step in its target, in the order of beginning.
type teller struct{ palette }

// event takes an event into the model, and returns what is to be told of it
// and of whom.
func (w teller) event(m *model, e exec.Event) (*target, []string) {
	var out []string
	if e.Kind == exec.Finished && e.Outcome != nil {
		out = w.finished(m.target(e.Node), *e.Outcome)
	}
	c := m.event(e)
	return c.target, append(out, w.change(c)...)
}

// change words what an event did to the model.
func (w teller) change(c change) []string {
	var out []string
	if c.warning != "" {
		out = append(out, strings.Split(w.yellow("warning:")+" "+c.warning, "\n")...)
	}
	if c.placed != "" {
		out = append(out, c.placed)
	}
	if c.retry != "" {
		out = append(out, w.yellow(c.retry))
	}
	if c.silence != "" {
		return append(out, w.number(c.step)+w.yellow(c.silence))
	}
	if c.step == nil {
		return out
	}
	return append(out, w.step(c)...)
}

// number is that of a step, to be put in front of what is told of it.
func (w teller) number(s *step) string {
	if s == nil || s.number == 0 {
		return ""
	}
	return w.faint(fmt.Sprintf("#%d", s.number)) + " "
}

// step words what a step did.
func (w teller) step(c change) []string {
	number := w.number(c.step)
	v := c.step.vertex
	show := !v.Internal
	if show && c.begun && c.ended && v.Cached {
		return []string{number + "CACHED " + c.step.name}
	}
	var out []string
	if show && c.begun {
		out = append(out, number+c.step.name)
	}
	for _, l := range c.lines {
		out = append(out, number+l)
	}
	if !show || !c.ended {
		return out
	}
	switch {
	case v.Error != "":
		out = append(out, number+w.red("FAILED")+" "+oneLine(v.Error))
	case v.Cached:
		out = append(out, number+"CACHED")
	default:
		out = append(out, number+"done "+took(v.Completed.Sub(v.Started)))
	}
	return out
}

// finished words the end of a target, after what is left of its logs.
func (w teller) finished(t *target, o exec.Outcome) []string {
	var out []string
	for _, c := range t.flush() {
		out = append(out, w.step(c)...)
	}
	text := w.ending(t, o)
	if o.Status == exec.Built && o.Output.Digest != "" {
		text += " " + o.Output.Digest
	}
	return append(out, text)
}

// ending tells in a line how a target came out: "built in 4.0s".
func (w teller) ending(t *target, o exec.Outcome) string {
	text := t.result(&o)
	switch o.Status {
	case exec.Built:
		return w.green(text) + " in " + took(o.Times.Finished.Sub(o.Times.Started))
	case exec.Failed:
		return w.red(text) + ": " + cause(o)
	}
	return w.yellow(text) + ": " + cause(o)
}
