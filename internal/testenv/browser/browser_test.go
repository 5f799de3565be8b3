package browser

import (
	"bytes"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp/kb"
)

const whole = `<!doctype html><meta charset="utf-8"><title>whole</title>
<style>body { margin: 0; background: white } @media (prefers-color-scheme: dark) { body { background: black } }</style>
<input id="in"><button id="more">more</button><p id="said">nothing</p>
<div id="pad" style="width: 400px; height: 300px"></div>
<script>
const said = document.getElementById("said"), pad = document.getElementById("pad");
document.getElementById("more").onclick = () => said.textContent = "clicked";
document.getElementById("in").oninput = e => said.textContent = "typed " + e.target.value;
document.onkeydown = e => { if (e.key === "Escape") said.textContent = "escaped"; if (e.key === "z") e.preventDefault() };
let moves = 0;
pad.onpointermove = e => { if (e.buttons === 1) moves++ };
pad.onpointerup = () => said.textContent = "moved " + moves;
pad.onwheel = e => said.textContent = "wheel " + e.deltaY;
</script>`

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a page#1.html")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPage(t *testing.T) {
	b := Start(t)
	t.Run("whole", func(t *testing.T) {
		p := b.Open(t, write(t, whole))
		p.Click("#more")
		p.Wait(`said.textContent === "clicked"`)
		p.Type("#in", "abzc") // the page prevents the z
		if got := p.Text("#said"); got != "typed abc" {
			t.Errorf("after typing: %q", got)
		}
		p.Press(kb.Escape)
		p.Wait(`said.textContent === "escaped"`)
		p.Drag(50, 150, 200, 250, 5)
		p.Wait(`said.textContent.startsWith("moved ") && said.textContent !== "moved 0"`)
		p.Scroll(100, 200, 120)
		p.Wait(`said.textContent === "wheel 120"`)
		p.Resize(500, 400)
		if got := Eval[[]int](p, "[innerWidth, innerHeight]"); !slices.Equal(got, []int{500, 400}) {
			t.Errorf("the window is %v", got)
		}
		p.Media("prefers-color-scheme", "dark")
		if got := Eval[string](p, "Promise.resolve(getComputedStyle(document.body).backgroundColor)"); got != "rgb(0, 0, 0)" {
			t.Errorf("the background in the dark is %s", got)
		}
		img, err := png.Decode(bytes.NewReader(p.Picture("browser-dark")))
		if err != nil || img.Bounds().Dx() != 500 {
			t.Fatalf("the picture: %v, %v", err, img)
		}
		if r, g, bl, _ := img.At(490, 390).RGBA(); r+g+bl != 0 {
			t.Errorf("the picture's corner is not black: %d %d %d", r, g, bl)
		}
		if got := p.Complaints(); got != nil {
			t.Errorf("a page with nothing wrong: %q", got)
		}
	})
	for name, c := range map[string]struct{ page, want string }{
		"console":   {`<script>console.error("oh", {a: 1}.a)</script>`, "console: "},
		"exception": {`<script>nothing.there()</script>`, "nothing is not defined"},
		"rejection": {`<script>Promise.reject(new Error("lost"))</script>`, "lost"},
		"image":     {`<img src="http://example.invalid/a.png">`, "it asks for http://example.invalid/a.png"},
		"file":      {`<script src="other.js"></script>`, "other.js"},
		"fetch":     {`<script>fetch("https://example.invalid/x").catch(() => {})</script>`, "it asks for https://example.invalid/x"},
	} {
		t.Run(name, func(t *testing.T) {
			p := b.Open(t, write(t, "<!doctype html><title>x</title>"+c.page))
			p.faulty = true
			p.Wait(`document.readyState === "complete"`)
			got := ""
			for end := time.Now().Add(patience); !strings.Contains(got, c.want) && time.Now().Before(end); got += strings.Join(p.Complaints(), "\n") {
				Eval[float64](p, "new Promise(requestAnimationFrame)")
			}
			if !strings.Contains(got, c.want) {
				t.Errorf("complaints are %q, want %q among them", got, c.want)
			}
		})
	}
}
