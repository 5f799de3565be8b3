// Package progress shows a run to people while it goes on, and sums it up at
// the end.
//
//	model.go    events → what each target and step is at
//	late.go     the end of a target after the last of its steps
//	transfer.go how much of a step's bytes has moved, and how fast
//	teller.go   events → lines
//	plain.go    for a log: every line begins with its target
//	folds.go    for a CI service: every target's lines together
//	frame.go    one screenful for a terminal
//	browse.go   what the keys lead to: the targets, their logs
//	screen.go   frames drawn over each other, in place
//	events.go   an object a line, for programs
//	summary.go  the table at the end
//	glance.go   the same on one screen
//	failure.go  each failure in full
//
// A display never holds a build up: events go into a queue that has no end,
// and one goroutine makes text of them. It asks the terminal nothing and
// leaves signals and the cursor's look alone, so that there is nothing to put
// back when the program ends in mid-frame; what reading keys takes is the
// Keyboard's.
package progress

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec"
)

// A Mode is a way to show progress.
type Mode string

// The modes, as the flag has them.
const (
	Auto    Mode = "auto"    // TTY on a terminal, else Plain
	TTY     Mode = "tty"     // one row a target, redrawn in place
	CI      Mode = "ci"      // a target's lines together when it ends, as a fold where the CI service has folds
	Plain   Mode = "plain"   // a line for everything that happens
	Quiet   Mode = "quiet"   // failures only, at the end
	JSON    Mode = "json"    // an object a line for everything that happens: docs/json.md
	RawJSON Mode = "rawjson" // nothing: BuildKit's own stream is written elsewhere
)

// Modes are all modes, for help and completion.
var Modes = []Mode{Auto, CI, JSON, Plain, Quiet, RawJSON, TTY}

// ParseMode reads the value of the flag; "" is Auto.
func ParseMode(s string) (Mode, error) {
	if s == "" {
		return Auto, nil
	}
	var names []string
	for _, m := range Modes {
		if string(m) == s {
			return m, nil
		}
		names = append(names, string(m))
	}
	hint := ""
	if n := config.Nearest(s, names); n != "" {
		hint = fmt.Sprintf(" (did you mean %q?)", n)
	}
	return "", fmt.Errorf("unknown progress mode %q%s: use auto, ci, json, plain, quiet, rawjson or tty", s, hint)
}

// Options say where and how to show progress.
type Options struct {
	Out      io.Writer
	Mode     Mode       // "" is Auto
	Terminal bool       // Out is a terminal: what Auto asks
	Color    bool       // decided by the caller, house-style §8
	Width    func() int // of the terminal, asked before every frame; nil or 0 is 80 for TTY, and no limit for Plain
	Height   func() int // likewise; nil or 0 is 24
	// Kept says where the images of targets without an output are: "in the
	// image store"; "" if they are kept nowhere.
	Kept     string
	Header   string   // first line: which builder, and which version; "" for none
	Keyboard Keyboard // for TTY: where a person asks for logs; nil is none
	Service  Service  // for CI: whose marks to write; "" is none
	// Place returns the path by which the CI service knows a file, "" if it
	// doesn't; nil leaves names as they are.
	Place func(file string) string
}

// A Keyboard reads the keys of the person who watches.
type Keyboard interface {
	// Keys begins to read, and returns the keys by their names as they are
	// pressed: a character, or "up", "down", "pgup", "pgdn", "home", "end",
	// "enter", "space" or "esc". "stopping" and "resumed" are no keys: the
	// program will be stopped, and nothing is drawn until it goes on; by then
	// the screen may hold anything.
	Keys() <-chan string
	// Close ends that and leaves the terminal as it was.
	Close() error
}

// What a Keyboard sends before and after the program is stopped.
const (
	stopping = "stopping"
	resumed  = "resumed"
)

// A Display is a Sink that shows what it is told.
type Display struct {
	out   io.Writer
	view  view
	model *model // the view's, which has none if it shows nothing
	late  []item // ends of targets that wait for their last words
	began time.Time
	board Keyboard
	mu    sync.Mutex // guards queue and ended
	queue []item
	ended bool
	wake  chan struct{} // one token: there is something in the queue
	done  chan struct{} // closed when the last of it is written
	err   error         // the first of writing; to be read after done
}

// An item is what a view is told: an event, or else a note, or the end.
type item struct {
	at       time.Time
	event    *exec.Event
	note     string
	header   bool // the note is the first line
	end      bool
	outcomes []exec.Outcome // at the end; nil if there is none to tell
}

// A view makes text of items. Its methods are called from one goroutine.
type view interface {
	take(item)
	// text returns what is to be written after some items. On a tick, time
	// has passed.
	text(tick bool) string
}

// A presser is a view that a person can ask for something.
type presser interface {
	press(key string)
	// listening says that keys are read from now on.
	listening()
}

// interval is the time between two frames.
const interval = 100 * time.Millisecond

// unhurried is how long a run has to last for its keys to be read: what is
// done before anybody could press one leaves the terminal alone.
const unhurried = 300 * time.Millisecond

// New begins a display. It must be ended by Finish or Close.
func New(o Options) *Display {
	m := newModel(time.Now())
	d := &Display{out: o.Out, view: newView(o, m), model: m, began: time.Now(), board: o.Keyboard, wake: make(chan struct{}, 1), done: make(chan struct{})}
	if o.Header != "" {
		d.put(item{note: o.Header, header: true})
	}
	go d.run()
	return d
}

func newView(o Options, m *model) view {
	if o.Mode == Auto || o.Mode == "" {
		o.Mode = Plain
		if o.Terminal {
			o.Mode = TTY
		}
	}
	switch o.Mode {
	case TTY:
		return newScreen(o, m)
	case CI:
		return newFolds(o, m)
	case Plain:
		return &plain{o: o, model: m}
	case JSON:
		return &events{model: m}
	case Quiet:
		return &quiet{o: o, model: m}
	}
	return silent{}
}

// Event takes an event. It does not wait for the output.
func (d *Display) Event(e exec.Event) { d.put(item{event: &e}) }

// Note shows a line that belongs to no target, such as what a signal has
// begun. Quiet and rawjson displays drop it.
func (d *Display) Note(text string) { d.put(item{note: text}) }

// Finish shows how the run came out, and returns when all is written: a table
// of the targets, each failure in full, and the totals with the root cause at
// the very end. What comes after it is dropped. The error is the first of
// writing to Out.
func (d *Display) Finish(outcomes []exec.Outcome) error {
	d.put(item{end: true, outcomes: outcomes})
	<-d.done
	return d.err
}

// Close ends the display without a summary; what it shows stays. After Finish
// it does nothing, so that it can be deferred.
func (d *Display) Close() error { return d.Finish(nil) }

func (d *Display) put(it item) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ended {
		return
	}
	d.ended = it.end
	it.at = time.Now()
	d.queue = append(d.queue, it)
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// run gives the view what is in the queue, and writes what it makes of that,
// until the end.
func (d *Display) run() {
	defer close(d.done)
	tick := time.NewTicker(interval)
	defer tick.Stop()
	var keys <-chan string
	for {
		ticked := false
		select {
		case <-d.wake:
		case key := <-keys:
			d.view.(presser).press(key)
			ticked = true // to be seen at once
		case <-tick.C:
			ticked = true
			if p, ok := d.view.(presser); ok && d.board != nil && keys == nil && time.Since(d.began) >= unhurried {
				keys = d.board.Keys()
				defer d.board.Close()
				p.listening()
			}
		}
		items := d.taken()
		for _, it := range items {
			d.give(it)
		}
		d.letGo(func(l item) bool { return time.Since(l.at) >= lastWords })
		if text := d.view.text(ticked); text != "" && d.err == nil {
			_, d.err = io.WriteString(d.out, text)
		}
		if len(items) > 0 && items[len(items)-1].end {
			return
		}
	}
}

// taken empties the queue.
func (d *Display) taken() []item {
	d.mu.Lock()
	defer d.mu.Unlock()
	items := d.queue
	d.queue = nil
	return items
}

// A silent view shows nothing.
type silent struct{}

func (silent) take(item)        {}
func (silent) text(bool) string { return "" }

// A quiet view shows failures, at the end.
type quiet struct {
	o     Options
	model *model
	end   string
}

func (q *quiet) take(it item) {
	switch {
	case it.event != nil:
		q.model.event(*it.event)
	case it.end:
		q.end = newSummary(q.o, q.model, it.outcomes).failures()
	}
}

func (q *quiet) text(bool) string { return q.end }
