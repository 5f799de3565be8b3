package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/kilnbuild/kiln/internal/image"
)

// A moving shows how images are moved: on a terminal a line that changes, else
// nothing but what is out of the ordinary.
type moving struct {
	verb  string // "pushing"
	live  bool
	width int
	began time.Time

	mu    sync.Mutex // guards what follows, and the writing
	out   io.Writer
	total int64 // bytes to be moved
	sent  int64 // of them, those that were
	there int64 // of them, those that did not have to be
	ended int   // images
	shown bool  // the line is on the screen
	stop  chan struct{}
	done  chan struct{}
}

// redrawEvery is how often the line is drawn anew.
const redrawEvery = 100 * time.Millisecond

// moving begins to show; finish ends it.
func (a *app) moving(verb string) *moving {
	m := &moving{verb: verb, out: a.Err, live: isTerminal(a.Err) && a.env["TERM"] != "dumb", width: a.width(a.Err), began: time.Now(), stop: make(chan struct{}), done: make(chan struct{})}
	go m.draw()
	return m
}

// draw shows the line until it is told to stop.
func (m *moving) draw() {
	defer close(m.done)
	if !m.live {
		return
	}
	tick := time.NewTicker(redrawEvery)
	defer tick.Stop()
	for {
		select {
		case <-m.stop:
			return
		case <-tick.C:
			m.mu.Lock()
			m.show(m.line())
			m.mu.Unlock()
		}
	}
}

// line says how far it is.
func (m *moving) line() string {
	text := fmt.Sprintf("%s %s of %s", m.verb, humanSize(m.sent+m.there), humanSize(m.total))
	if m.there > 0 {
		text += fmt.Sprintf(", %s of it there already", humanSize(m.there))
	}
	return fmt.Sprintf("%s, %.0fs", text, time.Since(m.began).Seconds())
}

// show puts text in the place of the line; "" takes it away.
func (m *moving) show(text string) {
	if m.width > 0 {
		text = ansi.Truncate(text, m.width-1, "…")
	}
	if m.shown || text != "" {
		fmt.Fprint(m.out, "\r"+ansi.EraseLineRight+text)
	}
	m.shown = text != ""
}

// event is an [image.Tell].
func (m *moving) event(e image.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch e.Kind {
	case image.Found:
		m.total += e.Bytes
	case image.Sent:
		m.sent += e.Bytes
	case image.Skipped:
		m.there += e.Bytes
	case image.Ended:
		m.ended++
	case image.Retrying:
		m.say("%s: %s; trying again in %s (%d of %d)", e.Ref, e.Retry.Cause, e.Retry.After.Round(100*time.Millisecond), e.Retry.Number, e.Retry.Of)
	}
}

// say prints a line of its own. The caller holds mu.
func (m *moving) say(format string, args ...any) {
	if m.shown {
		m.show("")
	}
	fmt.Fprintf(m.out, format+"\n", args...)
}

// note prints a line of its own.
func (m *moving) note(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.say(format, args...)
}

// finish takes the line away.
func (m *moving) finish() {
	close(m.stop)
	<-m.done
	m.show("")
}

// sum says what was moved, after finish: "pushed 2 images in 1.2s: 12MB sent,
// 30MB there already".
func (m *moving) sum(done, sent string) string {
	text := fmt.Sprintf("%s %d image%s in %.1fs", done, m.ended, plural(m.ended), time.Since(m.began).Seconds())
	var parts []string
	if m.sent > 0 || m.there == 0 {
		parts = append(parts, humanSize(m.sent)+" "+sent)
	}
	if m.there > 0 {
		parts = append(parts, humanSize(m.there)+" there already")
	}
	return text + ": " + strings.Join(parts, ", ")
}

// moveError is the error of moving images: one of what the user asked for
// has its own code already.
func moveError(err error) error {
	var known *exitError
	if err == nil || errors.As(err, &known) {
		return err
	}
	return &exitError{code: codeFailed, err: err}
}
