package pool

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/graph"
)

// A lostError says that the daemon of a run is gone.
type lostError struct {
	run *run
	err error
}

func (e *lostError) Error() string { return e.err.Error() }
func (e *lostError) Unwrap() error { return e.err }

func isLoss(err error) bool {
	var l *lostError
	return errors.As(err, &l)
}

// dropped reports whether err is the loss of a member. Then its units have
// gone to others, if any are left, and the caller may try again.
func (p *Pool) dropped(err error, sink exec.Sink) bool {
	var l *lostError
	if !errors.As(err, &l) {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for l != nil && l.run.member.lost == nil {
		l.run.member.lost, l.run.member.lostAt = l.err, time.Now()
		l = p.move(l.run.member, sink)
	}
	return true
}

// move places what m had anew and begins runs of it. It returns the loss of a
// member with which none could be begun. The caller holds mu.
func (p *Pool) move(m *member, sink exec.Sink) *lostError {
	moved := slices.DeleteFunc(slices.Clone(p.units), func(u *unit) bool {
		return u.held == 0 || u.at == nil || u.at.member != m
	})
	p.place(moved)
	err := p.open()
	p.tell(m, moved, sink)
	var l *lostError
	errors.As(err, &l)
	return l
}

// tell warns of a loss, at the first node that it concerns.
func (p *Pool) tell(m *member, moved []*unit, sink exec.Sink) {
	if len(moved) == 0 || len(p.alive()) == 0 { // what cannot be built says so itself
		return
	}
	text := fmt.Sprintf("builder %s was lost: %v", m.Name, m.lost)
	first := moved[0].nodes[0]
	for _, to := range p.alive() {
		var nodes []*graph.Node
		for _, u := range moved {
			if u.at != nil && u.at.member == to {
				nodes = append(nodes, u.nodes...)
			}
		}
		if len(nodes) > 0 {
			text += fmt.Sprintf("\n%s now on %s", list(nodes), to.Name)
		}
	}
	sink.Event(exec.Event{Time: time.Now(), Node: first.Name(), Kind: exec.Warning, Log: []byte(text)})
}

// list names nodes, the first few of many.
func list(nodes []*graph.Node) string {
	var names []string
	for _, n := range nodes {
		if !slices.Contains(names, n.Name()) {
			names = append(names, n.Name())
		}
	}
	const most = 5
	verb := " is"
	if len(names) > 1 {
		verb = " are"
	}
	if len(names) > most {
		return fmt.Sprintf("%s and %d more are", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ") + verb
}
