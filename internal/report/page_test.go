package report_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/internal/report"
	"github.com/kilnbuild/kiln/internal/runs"
	"github.com/kilnbuild/kiln/internal/testenv/browser"
)

// page writes the report of a run to a file.
func page(t *testing.T, r, before *runs.Run) string {
	t.Helper()
	var b bytes.Buffer
	if err := report.New(r, before).WriteHTML(&b); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "report.html")
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// The page is used as people do: it opens without network and complaints,
// is searched, clicked and sorted.
func TestPage(t *testing.T) {
	b := browser.Start(t)
	t.Run("small", func(t *testing.T) { smallPage(t, b) })
	t.Run("large", func(t *testing.T) { largePage(t, b) })
	t.Run("hostile", func(t *testing.T) { hostilePage(t, b) })
}

// shown is what the rows of the timeline say.
func shown(p *browser.Page) string {
	return browser.Eval[string](p, `[...document.querySelectorAll("#rows .label")].map((e) => e.textContent.trim()).join("|")`)
}

func smallPage(t *testing.T, b *browser.Browser) {
	p := b.Open(t, page(t, sample(), earlier()))
	p.Picture("report")
	for selector, want := range map[string]string{
		"#head":       "kiln build failed",
		"#failures":   "web failed at Dockerfile:3",
		"#advice":     "First to speed up: api [build 1/2] RUN make | tee log, which takes 8.0s; without it the run would be 8.0s shorter",
		"#slowest":    "[build 1/2] RUN make | tee log",
		"#changes":    "api\t4.0s\t11.0s\t+7.0s",
		"#difference": "Not in this run: old.",
		"#count":      "5 of 5 targets",
	} {
		if got := p.Text(selector); !strings.Contains(got, want) {
			t.Errorf("%s says %q, which lacks %q", selector, got, want)
		}
	}
	if got, want := shown(p), "▸ base|▸ docs|▸ api|▸ web|site"; got != want {
		t.Errorf("rows %q, want %q", got, want)
	}
	p.Click(`[data-target="api"]`)
	if got, want := shown(p), "▸ base|▸ docs|▾ api|[build 1/2] RUN make | tee log|[build 2/2] RUN strip|▸ web|site"; got != want {
		t.Errorf("with api open the rows are %q, want %q", got, want)
	}
	if got := p.Text("#detail"); !strings.Contains(got, "registry.example/api:1") || !strings.Contains(got, "JSONArgsRecommended") {
		t.Errorf("the detail says %q", got)
	}
	p.Press("\x1b")
	p.Wait(`document.getElementById("detail").hidden`)
	p.Type("#search", "npm")
	p.Wait(`document.getElementById("count").textContent === "1 of 5 targets"`)
	if got := shown(p); got != "▸ web|[1/1] RUN npm ci" {
		t.Errorf("a search for npm finds %q", got)
	}
	browser.Eval[bool](p, `(() => { const s = document.getElementById("search"); s.value = ""; s.dispatchEvent(new Event("input")); return true })()`)
	browser.Eval[bool](p, `(() => { const s = document.getElementById("filter"); s.value = "cached"; s.dispatchEvent(new Event("change")); return true })()`)
	p.Wait(`document.getElementById("count").textContent === "1 of 5 targets"`)
	if got := shown(p); got != "▸ docs" {
		t.Errorf("cached targets: %q", got)
	}
	p.Click("#targets th:nth-child(3) button") // took
	if got := p.Text("#targets tbody tr:first-child td:first-child"); got != "api" {
		t.Errorf("the target that took longest is %q", got)
	}
	width := func() float64 { return browser.Eval[float64](p, `document.getElementById("rows").offsetWidth`) }
	before := width()
	p.Click("#in")
	if after := width(); after < 1.5*before {
		t.Errorf("zooming in: %v and then %v pixels", before, after)
	}
	p.Click("#fit")
	if after := width(); after != before {
		t.Errorf("fitting again: %v and then %v pixels", before, after)
	}
	p.Media("prefers-color-scheme", "dark")
	p.Picture("dark")
	p.Resize(420, 800)
	if over := browser.Eval[float64](p, `document.documentElement.scrollWidth - window.innerWidth`); over > 0 {
		t.Errorf("on a narrow screen the page is %v pixels too wide", over)
	}
	p.Picture("narrow")
}

// A thousand targets are drawn, and found, while somebody waits.
func largePage(t *testing.T, b *browser.Browser) {
	p := b.Open(t, page(t, large(1000), nil))
	p.Picture("large")
	if got := browser.Eval[int](p, `document.querySelectorAll("#rows .target").length`); got != 1005 {
		t.Errorf("%d rows", got)
	}
	p.Type("#search", "0777")
	p.Wait(`document.getElementById("count").textContent === "1 of 1005 targets"`)
	p.Click(`[data-target="target-0777"]`)
	if got := p.Text("#detail h2"); got != "target-0777" {
		t.Errorf("the detail is of %q", got)
	}
}

// What users name things does not become a part of the page.
func hostilePage(t *testing.T, b *browser.Browser) {
	r := sample()
	evil := `</script><script>document.title="owned"</script><img src=x onerror=document.title="owned">`
	r.Targets[1].Name, r.Targets[1].Steps[0].Name, r.Targets[3].Failure.Text, r.Definition, r.ID = evil, evil, evil, evil, evil
	p := b.Open(t, page(t, r, nil))
	if title := browser.Eval[string](p, "document.title"); title == "owned" {
		t.Error("a target's name was run as a script")
	}
	if n := browser.Eval[int](p, `document.images.length`); n != 0 {
		t.Errorf("%d images on the page", n)
	}
	browser.Eval[bool](p, `(() => { document.querySelectorAll(".row.target")[2].click(); return true })()`)
	if got := p.Text("#detail h2"); got != evil {
		t.Errorf("the name is shown as %q", got)
	}
}
