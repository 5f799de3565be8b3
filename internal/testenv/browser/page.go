package browser

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// A Page is one HTML file in a tab of its own.
type Page struct {
	t   testing.TB
	ctx context.Context
	url string

	faulty bool // a page of this package's tests, whose complaints are wanted

	mu         sync.Mutex // guards complaints
	complaints []string
}

// Open shows a file, 1280 by 800 pixels large, and waits until it is loaded
// and drawn.
// The page ends with the test; a complaint that Complaints has not returned by
// then is an error of the test.
func (b *Browser) Open(t testing.TB, file string) *Page {
	t.Helper()
	abs, err := filepath.Abs(file)
	if err != nil {
		t.Fatal(err)
	}
	p := &Page{t: t, url: (&url.URL{Scheme: "file", Path: filepath.ToSlash(abs)}).String()}
	ctx, cancel := chromedp.NewContext(b.ctx, chromedp.WithListener(p.listen))
	p.ctx = ctx
	t.Cleanup(func() {
		for _, c := range p.Complaints() {
			if !p.faulty {
				t.Errorf("%s: %s", filepath.Base(file), c)
			}
		}
		cancel()
	})
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("open a tab: %v", err)
	}
	p.Resize(1280, 800)
	p.do("load "+p.url, chromedp.Navigate(p.url))
	p.settle()
	return p
}

// settle waits until the page has drawn what it was about to draw: a frame
// for what an event has changed, and one for what that asked to be called for.
func (p *Page) settle() {
	p.t.Helper()
	Eval[float64](p, "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
}

// listen collects what a page may not do.
func (p *Page) listen(event any) {
	complaint := ""
	switch e := event.(type) {
	case *runtime.EventConsoleAPICalled:
		if e.Type == "error" || e.Type == "assert" {
			complaint = "console: " + words(e.Args)
		}
	case *runtime.EventExceptionThrown:
		d := e.ExceptionDetails
		complaint = fmt.Sprintf("exception at line %d: %s", d.LineNumber+1, d.Text)
		if d.Exception != nil {
			complaint += " " + d.Exception.Description
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError {
			complaint = "log: " + e.Entry.Text + " " + e.Entry.URL
		}
	case *network.EventRequestWillBeSent:
		if asked, _, _ := strings.Cut(e.Request.URL, "#"); asked != p.url && !strings.HasPrefix(asked, "data:") && !strings.HasPrefix(asked, "blob:") {
			complaint = "it asks for " + asked
		}
	}
	if complaint != "" {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.complaints = append(p.complaints, complaint)
	}
}

// words are the arguments of a call of the console.
func words(args []*runtime.RemoteObject) string {
	var out []string
	for _, a := range args {
		if a.Description != "" {
			out = append(out, a.Description)
		} else {
			out = append(out, string(a.Value))
		}
	}
	return strings.Join(out, " ")
}

// Complaints returns what the page has done that it may not, and forgets it:
// errors on the console, exceptions that nothing caught, requests for anything
// but its own file.
func (p *Page) Complaints() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := slices.Clone(p.complaints)
	p.complaints = nil
	return out
}

// within is a context for one step.
func (p *Page) within() (context.Context, context.CancelFunc) {
	return context.WithTimeout(p.ctx, patience)
}

// do runs actions, and ends the test if one fails.
func (p *Page) do(what string, actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := p.within()
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		p.t.Fatalf("%s: %v%s", what, err, p.said())
	}
}

// said repeats the complaints where a step failed: they mostly tell why.
func (p *Page) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.complaints) == 0 {
		return ""
	}
	return "\nthe page complained before:\n  " + strings.Join(p.complaints, "\n  ")
}

// Eval returns the value of a JavaScript expression; of a promise, what it
// comes to. An exception in it ends the test.
func Eval[T any](p *Page, expression string) T {
	p.t.Helper()
	ctx, cancel := p.within()
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise, chromedp.EvalAsValue))
	if err != nil {
		p.t.Fatalf("%s: %v%s", expression, err, p.said())
	}
	return v
}

// Wait waits until a JavaScript expression is true.
func (p *Page) Wait(expression string) {
	p.t.Helper()
	ctx, cancel := p.within()
	defer cancel()
	if _, err := chromedp.Run(ctx, chromedp.Poll[any]("!!("+expression+")", chromedp.WithPollingTimeout(patience))); err != nil {
		p.t.Fatalf("wait for %s: %v%s", expression, err, p.said())
	}
}

// Click clicks the middle of the first element that a CSS selector finds, with
// the mouse: what lies over it gets the click.
func (p *Page) Click(selector string) {
	p.t.Helper()
	p.do("click "+selector, chromedp.Click(chromedp.CSS(selector)))
}

// Type puts the focus on an element and types text there, key by key.
func (p *Page) Type(selector, text string) {
	p.t.Helper()
	p.do("type into "+selector, chromedp.Focus(chromedp.CSS(selector)), press(text))
}

// Press presses keys where the focus is: text, or constants of chromedp's kb
// such as kb.Escape.
func (p *Page) Press(keys string) {
	p.t.Helper()
	p.do(fmt.Sprintf("press %q", keys), press(keys))
}

// press presses keys as a keyboard does: the character comes of the key going
// down, so that a page may prevent it. chromedp's own sends it as an event by
// itself.
func press(keys string) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		for _, r := range keys {
			events := kb.Encode(r)
			if len(events) == 3 { // down, character, up
				events[0].Text, events[0].UnmodifiedText = events[1].Text, events[1].UnmodifiedText
				events = slices.Delete(events, 1, 2)
			}
			for _, e := range events {
				if _, err := cdp.Call(ctx, t, input.DispatchKeyEvent, *e); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// Text returns the visible text of the first element that a CSS selector finds.
func (p *Page) Text(selector string) string {
	p.t.Helper()
	ctx, cancel := p.within()
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Text(chromedp.CSS(selector)))
	if err != nil {
		p.t.Fatalf("text of %s: %v%s", selector, err, p.said())
	}
	return text
}

// Drag presses the left button at one point, in pixels of the window, moves to
// another in as many steps as asked for, and lets go.
func (p *Page) Drag(fromX, fromY, toX, toY float64, steps int) {
	p.t.Helper()
	actions := []chromedp.Action[chromedp.Void]{
		chromedp.MouseEvent(input.DispatchMouseEventTypeMousePressed, fromX, fromY, chromedp.ButtonLeft, chromedp.ClickCount(1)),
	}
	for i := 1; i <= steps; i++ {
		f := float64(i) / float64(steps)
		actions = append(actions, chromedp.MouseEvent(input.DispatchMouseEventTypeMouseMoved, fromX+(toX-fromX)*f, fromY+(toY-fromY)*f, chromedp.ButtonLeft))
	}
	actions = append(actions, chromedp.MouseEvent(input.DispatchMouseEventTypeMouseReleased, toX, toY, chromedp.ButtonLeft, chromedp.ClickCount(1)))
	p.do("drag", actions...)
}

// Scroll turns the wheel over a point by so many pixels, down if positive.
func (p *Page) Scroll(x, y, down float64) {
	p.t.Helper()
	// Not by chromedp.MouseEvent: it leaves out a delta of 0, which the
	// browser insists on.
	p.do("scroll", chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		wheel := map[string]any{"type": "mouseWheel", "x": x, "y": y, "deltaX": 0, "deltaY": down}
		return t.Call(ctx, "Input.dispatchMouseEvent", wheel, nil)
	}))
}

// Resize makes the window so many pixels large, and waits until that is drawn.
func (p *Page) Resize(width, height int64) {
	p.t.Helper()
	p.do("resize", chromedp.EmulateViewport(width, height))
	p.settle()
}

// Media sets a feature that style sheets ask for, such as prefers-color-scheme
// to "dark", prefers-reduced-motion, or forced-colors.
func (p *Page) Media(feature, value string) {
	p.t.Helper()
	p.do("set "+feature, chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: feature, Value: value}},
		})
		return err
	}))
}

// Picture returns what the window shows, as a PNG. With KILN_PICTURES=DIR it
// is written there too, under the given name, for people to look at.
func (p *Page) Picture(name string) []byte {
	p.t.Helper()
	ctx, cancel := p.within()
	defer cancel()
	png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err != nil {
		p.t.Fatalf("take a picture: %v%s", err, p.said())
	}
	if dir := os.Getenv("KILN_PICTURES"); dir != "" {
		if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644); err != nil { //nolint:gosec // a picture
			p.t.Fatal(err)
		}
	}
	return png
}
