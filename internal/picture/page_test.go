package picture

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp/kb"

	"github.com/kilnbuild/kiln/internal/testenv/browser"
)

// html writes the page of a picture to a file of its own.
func html(t *testing.T, p Picture) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "graph.html")
	if err := os.WriteFile(path, draw(t, p, HTML), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func draw(t testing.TB, p Picture, f Format) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Draw(&b, p, Options{Format: f}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// The page is used as people do, in a browser. It complains of nothing and
// asks for nothing: the harness sees to that.
func TestPage(t *testing.T) {
	b := browser.Start(t)
	classes := `(c => [...document.querySelectorAll("#boxes ." + c + " text")].map(e => e.textContent).sort().join(" "))`
	has := func(t *testing.T, p *browser.Page, class, want string) {
		t.Helper()
		if got := browser.Eval[string](p, classes+`("`+class+`")`); got != want {
			t.Errorf("%s: %q, want %q", class, got, want)
		}
	}
	t.Run("click", func(t *testing.T) {
		p := b.Open(t, html(t, shop()))
		if got := p.Text("#panel"); !strings.Contains(got, "6 targets, 1 image, 9 edges.") || !strings.Contains(got, "all that is sold") {
			t.Errorf("at first the panel says:\n%s", got)
		}
		p.Picture("graph-first")
		p.Click(`[data-node="4"]`)
		p.Wait(`document.querySelector("#panel h2")?.textContent === "api"`)
		has(t, p, "self", "api")
		has(t, p, "need", "base db docker.io/library/alpine:3.22 tools")
		has(t, p, "needer", "tests")
		for _, want := range []string{"the shop's API", "declared at build.hcl:20", "asked for", "in apps", "Needs, 4 in all", "context runtime, build.hcl:23", "depends-on, build.hcl:24", "dockerfile", "api.Dockerfile"} {
			if got := p.Text("#panel"); !strings.Contains(got, want) {
				t.Errorf("the panel of api lacks %q:\n%s", want, got)
			}
		}
		p.Picture("graph-chosen")
		p.Click("#panel li:nth-child(3) button") // of what it needs: db
		p.Wait(`document.querySelector("#panel h2")?.textContent === "db"`)
		has(t, p, "need", "")
		if got := browser.Eval[string](p, "location.hash"); got != "#db" {
			t.Errorf("the address ends in %q", got)
		}
		browser.Eval[any](p, "history.back(), 1")
		p.Wait(`document.querySelector("#panel h2")?.textContent === "api"`)
		p.Press(kb.Escape)
		p.Wait(`!document.querySelector("#panel h2")`)
		has(t, p, "self", "")
	})
	t.Run("search", func(t *testing.T) {
		p := b.Open(t, html(t, shop()))
		p.Press("/")
		p.Type("#find", "BAS")
		p.Wait(`document.getElementById("count").textContent === "1 of 7"`)
		has(t, p, "hit", "base")
		p.Picture("graph-search")
		p.Press(kb.Enter)
		p.Wait(`document.querySelector("#panel h2")?.textContent === "base"`)
		p.Press(kb.ArrowRight)
		p.Wait(`document.querySelector("#panel h2")?.textContent === "docker.io/library/alpine:3.22"`)
		p.Press(kb.ArrowLeft)
		p.Wait(`document.querySelector("#panel h2")?.textContent === "tools"`)
		p.Press("/")
		p.Type("#find", "xyz")
		p.Wait(`document.getElementById("count").textContent === "nothing found"`)
		p.Press(kb.Escape)
		p.Wait(`document.getElementById("count").textContent === "" && document.activeElement.id === "stage"`)
	})
	t.Run("move", func(t *testing.T) {
		p := b.Open(t, html(t, shop()))
		transform := func() string { return browser.Eval[string](p, `world.getAttribute("transform")`) }
		p.Wait(`world.getAttribute("transform") !== null`)
		first := transform()
		p.Drag(300, 600, 400, 640, 4)
		p.Wait(fmt.Sprintf(`world.getAttribute("transform") !== %q`, first))
		dragged := transform()
		p.Scroll(300, 400, -200)
		p.Wait(fmt.Sprintf(`world.getAttribute("transform") !== %q`, dragged))
		p.Click("#fit")
		p.Wait(fmt.Sprintf(`world.getAttribute("transform") === %q`, first))
		p.Press("+")
		p.Wait(fmt.Sprintf(`world.getAttribute("transform") !== %q`, first))
		p.Press("0")
		p.Wait(fmt.Sprintf(`world.getAttribute("transform") === %q`, first))
		p.Click(`[data-node="3"]`) // db: it, api and tests are lit
		p.Wait(`document.querySelector("#panel h2")?.textContent === "db"`)
		p.Press("f")
		p.Wait(fmt.Sprintf(`world.getAttribute("transform") !== %q`, first))
		if got := browser.Eval[bool](p, `["3", "4", "6"].every(i => {
			const b = document.querySelector("[data-node='" + i + "']").getBoundingClientRect(), s = stage.getBoundingClientRect();
			return b.left >= s.left && b.right <= s.right && b.top >= s.top && b.bottom <= s.bottom;
		})`); !got {
			t.Error("not all that is lit can be seen")
		}
	})
	t.Run("dark and narrow", func(t *testing.T) {
		p := b.Open(t, html(t, shop()))
		p.Media("prefers-color-scheme", "dark")
		if got := browser.Eval[string](p, "getComputedStyle(document.body).backgroundColor"); got != "rgb(20, 24, 29)" {
			t.Errorf("in the dark the page is %s", got)
		}
		p.Resize(600, 700)
		p.Click(`[data-node="4"]`)
		p.Wait(`document.querySelector("#panel h2")?.textContent === "api"`)
		p.Picture("graph-dark-narrow")
		if wide := browser.Eval[int](p, "document.documentElement.scrollWidth"); wide > 600 {
			t.Errorf("a window of 600 pixels has to be scrolled: the page is %d wide", wide)
		}
	})
	t.Run("what could break out", func(t *testing.T) {
		p := b.Open(t, html(t, nasty()))
		if got := browser.Eval[int](p, `document.querySelectorAll("b, img").length + (window.broken || 0)`); got != 0 {
			t.Error("text of the definition became elements of the page")
		}
		p.Press("/")
		p.Type("#find", "</script>")
		p.Wait(`document.getElementById("count").textContent === "1 of 2"`)
		p.Press(kb.Enter)
		p.Wait(`document.querySelector("#panel h2")?.textContent === "evil"`)
		if got := p.Text("#panel"); !strings.Contains(got, `<img src=x onerror="broken=1">`) {
			t.Errorf("the panel says:\n%s", got)
		}
	})
	t.Run("svg", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "graph.svg")
		if err := os.WriteFile(path, draw(t, shop(), SVG), 0o600); err != nil {
			t.Fatal(err)
		}
		p := b.Open(t, path)
		if got := browser.Eval[int](p, `document.querySelectorAll(".node").length`); got != 7 {
			t.Errorf("the drawing has %d nodes", got)
		}
		p.Picture("graph-svg")
	})
	t.Run("thousand", func(t *testing.T) { testThousand(t, b) })
}

// A thousand targets stay usable. The times are told and only bounded so that
// what would take minutes fails.
func testThousand(t *testing.T, b *browser.Browser) {
	start := time.Now()
	file := html(t, thousand())
	drawn := time.Since(start)
	start = time.Now()
	p := b.Open(t, file)
	p.Wait(`document.querySelectorAll("#boxes .node").length === 1000 && world.getAttribute("transform") !== null`)
	browser.Eval[any](p, "new Promise(requestAnimationFrame)")
	open := time.Since(start)
	// Drag, and measure the time from frame to frame.
	browser.Eval[any](p, `(() => {
		window.frames_ = [];
		let last = performance.now();
		const tick = now => { frames_.push(now - last); last = now; if (!window.enough) requestAnimationFrame(tick); };
		requestAnimationFrame(tick);
		return 1;
	})()`)
	p.Drag(300, 300, 700, 600, 40)
	frame := browser.Eval[float64](p, `(window.enough = true, frames_.sort((a, b) => a - b)[Math.floor(frames_.length / 2)])`)
	p.Picture("graph-thousand")
	start = time.Now()
	p.Type("#find", "t500")
	p.Press(kb.Enter)
	p.Wait(`document.querySelector("#panel h2")?.textContent === "t500"`)
	search := time.Since(start)
	p.Picture("graph-thousand-chosen")
	t.Logf("a thousand targets: drawn in %v, open after %v, a frame of dragging takes %.0f ms, a search %v", drawn, open, frame, search)
	if frame > 20_000 {
		t.Errorf("a frame of dragging takes %.0f ms", frame)
	}
}

// The data of the page is JSON, and whole.
func TestPageData(t *testing.T) {
	var d pageData
	text, err := json.Marshal(dataOf(shop()))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &d); err != nil || len(d.Nodes) != 7 || len(d.Edges) != 9 || len(d.Groups) != 2 {
		t.Errorf("%v, %d nodes, %d edges, %d groups", err, len(d.Nodes), len(d.Edges), len(d.Groups))
	}
	if page := string(draw(t, nasty(), HTML)); strings.Count(page, "</script>") != 2 || strings.Contains(page, "{{style}}") {
		t.Error("the page has an element of the definition's, or a place that was not filled")
	}
}
