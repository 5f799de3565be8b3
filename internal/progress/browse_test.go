package progress

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/google/go-cmp/cmp"

	"github.com/kilnbuild/kiln/exec"
)

// crowd is a run of n targets: a tenth of them is cached, three have failed, as
// many as six are being built, and the others wait.
func crowd(sink exec.Sink, n int, pause func(seconds float64)) *scene {
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf("service-%03d", i))
	}
	s := newScene(sink, names...)
	for i, name := range names[:n/2] {
		s.start(name)
		step := fmt.Sprintf("[build %d/9] RUN go build ./services/%d", i%9+1, i)
		switch {
		case i%10 == 0:
			s.step(name, step, cached)
			s.finish(name, exec.Built, nil)
		case i < 4:
			s.step(name, step)
			s.log(name, step, fmt.Sprintf("first line of %d\nlast line of %d\n", i, i))
			s.step(name, step, failed("exit code: 1"))
			s.finish(name, exec.Failed, fmt.Errorf("exit code: 1"))
		case i >= n/2-6:
			s.step(name, step)
			for l := range 30 {
				s.log(name, step, fmt.Sprintf("line %d of %s\n", l, name))
			}
		default:
			s.step(name, step)
			pause(0.25)
			s.step(name, step, done)
			s.finish(name, exec.Built, nil)
		}
	}
	return s
}

// A pressed screen is a screen with a terminal that keys are pressed in.
type pressed struct {
	*screenSink
	width, height int
}

func newPressed(t *testing.T, width, height int) *pressed {
	p := &pressed{width: width, height: height}
	o := Options{Width: func() int { return p.width }, Height: func() int { return p.height }, Keyboard: noKeys{}}
	s := newScreen(o, newModel(time.Now()))
	s.listening()
	p.screenSink = &screenSink{t, s, newTerminal(width, height)}
	return p
}

// noKeys is a keyboard that nobody is at.
type noKeys struct{}

func (noKeys) Keys() <-chan string { return nil }
func (noKeys) Close() error        { return nil }

// see presses keys and returns what is then on the screen.
func (p *pressed) see(keys ...string) string {
	for _, k := range keys {
		p.s.press(k)
	}
	fmt.Fprint(p.term, p.s.text(true))
	return strings.TrimRight(strings.Join(p.term.rows(), "\n"), "\n") + "\n"
}

// What a person sees of 5 and of 500 targets, and comes to with the keys.
func TestBrowseGolden(t *testing.T) {
	for _, n := range []int{10, 500} {
		for _, size := range []struct{ w, h int }{{80, 24}, {200, 50}, {20, 5}} {
			name := fmt.Sprintf("browse-%d-%dx%d", n, size.w, size.h)
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p := newPressed(t, size.w, size.h)
					crowd(sinkOf(p.s.model), n, second) // without the logs that were before
					p.s.logs.add(p.s.model.targets[1], []string{"first line", strings.Repeat("0123456789", 10) + "end", "日本語"})
					var got strings.Builder
					for _, keys := range []string{"", "?", "q down", "down", "end", "pgup", "g", "j j j j j j j", "q", "enter", "up", "q q"} {
						fmt.Fprintf(&got, "-- %s\n%s", keys, p.see(strings.Fields(keys)...))
					}
					golden(t, name, got.String())
				})
			})
		}
	}
}

// The log follows what is printed, until a person looks elsewhere in it, and
// again from its end.
func TestLogFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPressed(t, 40, 6) // three rows of log
		s := newScene(sinkOf(p.s.model), "a")
		say := func(from, to int) {
			for i := from; i < to; i++ {
				p.s.event(exec.Event{Node: "a", Kind: exec.Log, Log: fmt.Appendf(nil, "line %d\n", i)})
			}
		}
		s.start("a")
		seen := func(keys ...string) string {
			rows := strings.Split(p.see(keys...), "\n")
			return strings.Join(slices.DeleteFunc(rows, func(r string) bool { return !strings.HasPrefix(r, "line") }), " ")
		}
		say(0, 10)
		for _, step := range []struct {
			keys string
			want string
		}{
			{"enter", "line 7 line 8 line 9"},
			{"", "line 17 line 18 line 19"},
			{"up", "line 16 line 17 line 18"},
			{"", "line 16 line 17 line 18"},
			{"g", "line 0 line 1 line 2"},
			{"pgup", "line 0 line 1 line 2"},
			{"down", "line 1 line 2 line 3"},
			{"pgdn", "line 3 line 4 line 5"},
			{"G", "line 87 line 88 line 89"},
			{"", "line 97 line 98 line 99"},
			{"up", "line 96 line 97 line 98"},
			{"down", "line 97 line 98 line 99"},
		} {
			n := len(p.s.logs.page(p.s.model.targets[0]).lines)
			if got := seen(strings.Fields(step.keys)...); got != step.want {
				t.Errorf("%q: got %q, want %q", step.keys, got, step.want)
			}
			say(n, n+10)
		}
	})
}

// Whatever happens, is pressed and is resized: the screen shows what a screen
// shows that is drawn from nothing, no row is too long, and the keys never
// lead nowhere.
func TestScreenIsTheFrame(t *testing.T) {
	keys := []string{"up", "down", "j", "k", "enter", "q", "esc", "?", "pgup", "pgdn", "home", "end", "g", "G", "space", "x"}
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			width, height := 10+r.IntN(90), 3+r.IntN(30)
			p := newPressed(t, width, height)
			i := 0
			play(sinkFunc(func(e exec.Event) {
				p.s.take(item{event: &e})
				for range r.IntN(3) {
					p.s.press(keys[r.IntN(len(keys))])
				}
				if i++; i%7 == 0 {
					p.s.take(item{note: fmt.Sprintf("note %d", i)})
				}
				fmt.Fprint(p.term, p.s.text(true))
				p.compare()
			}), nothing)
		})
	}
}

type sinkFunc func(exec.Event)

func (f sinkFunc) Event(e exec.Event) { f(e) }

// compare holds the rows at the end of the terminal against the frame.
func (p *pressed) compare() {
	p.t.Helper()
	rows, shown, cursor := p.term.rows(), p.s.shown, p.term.Cursor()
	want := make([]string, len(shown))
	for i, l := range shown {
		want[i] = strings.TrimRight(l, " ")
		if w := ansi.StringWidth(l); w >= p.width {
			p.t.Errorf("%d columns of %d: %q", w, p.width, l)
		}
	}
	if len(shown) >= p.height {
		p.t.Fatalf("%d rows of %d", len(shown), p.height)
	}
	if diff := cmp.Diff(want, rows[cursor.Y-len(shown):cursor.Y]); diff != "" {
		p.t.Errorf("on the screen is not the frame: %s", diff)
	}
	if below := strings.TrimSpace(strings.Join(rows[cursor.Y:], "")); below != "" {
		p.t.Errorf("below the frame is %q", below)
	}
}

// A keyboard is asked for keys only when a run lasts, and is closed at the
// end whatever happens.
func TestKeyboardIsClosed(t *testing.T) {
	for _, tt := range []struct {
		lasts float64
		want  string
	}{{0.1, ""}, {1, "keys close "}} {
		synctest.Test(t, func(t *testing.T) {
			var out locked
			board := &toldKeys{keys: make(chan string)}
			d := New(Options{Mode: TTY, Out: &out, Keyboard: board})
			s := newScene(d, "a")
			s.start("a")
			s.log("a", "", "the log of a\n")
			second(tt.lasts)
			synctest.Wait()
			if tt.want != "" {
				board.keys <- "enter"
				synctest.Wait()
				if !strings.Contains(out.String(), "the log of a") {
					t.Errorf("enter shows no log: %q", out.String())
				}
				board.keys <- stopping
				before := out.String()
				s.log("a", "", "more of it\n")
				second(1)
				synctest.Wait()
				if more := out.String()[len(before):]; more != "" {
					t.Errorf("while the program is being stopped it writes %q", more)
				}
				board.keys <- resumed
				synctest.Wait()
				if more := out.String()[len(before):]; !strings.Contains(more, "the log of a") || !strings.Contains(more, "more of it") || strings.Contains(more, "\x1b[1A") {
					t.Errorf("after it was stopped it draws %q", more)
				}
			}
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			if board.told != tt.want {
				t.Errorf("after %vs: %q, want %q", tt.lasts, board.told, tt.want)
			}
		})
	}
}

type toldKeys struct {
	keys chan string
	told string
}

func (k *toldKeys) Keys() <-chan string { k.told += "keys "; return k.keys }
func (k *toldKeys) Close() error        { k.told += "close "; return nil }

// What is kept of logs is bounded, for each target and for all; what is kept
// is the end.
func TestBookIsBounded(t *testing.T) {
	b := newBook()
	line := strings.Repeat("x", 1000)
	var targets []*target
	for i := range 20 {
		targets = append(targets, &target{name: fmt.Sprint(i)})
		for range 3000 {
			b.add(targets[i], []string{line, line})
		}
		b.add(targets[i], []string{"the end"})
	}
	all := 0
	for _, p := range b.pages {
		n := 0
		for _, l := range p.lines {
			n += len(l)
		}
		if n != p.bytes || n > maxPage || len(p.lines)+p.lost != 6001 || p.lines[len(p.lines)-1] != "the end" {
			t.Errorf("%d bytes, said to be %d, in %d lines and %d lost", n, p.bytes, len(p.lines), p.lost)
		}
		all += n
	}
	if all != b.bytes || all > maxBook {
		t.Errorf("%d bytes, said to be %d", all, b.bytes)
	}
	var none *book
	none.add(targets[0], []string{"x"})
	if p := none.page(targets[0]); len(p.lines) != 0 {
		t.Error("a book that is none keeps lines")
	}
}
