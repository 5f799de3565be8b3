package cli

import (
	"os"
	"path/filepath"

	"golang.org/x/term"

	"github.com/kilnbuild/kiln/internal/keyboard"
	"github.com/kilnbuild/kiln/internal/progress"
)

// progressMode weighs the flag, then BUILDKIT_PROGRESS, then what stderr is.
func (a *app) progressMode(flag string) (progress.Mode, error) {
	value, from := flag, "--progress"
	if value == "auto" && a.env["BUILDKIT_PROGRESS"] != "" {
		value, from = a.env["BUILDKIT_PROGRESS"], "BUILDKIT_PROGRESS"
	}
	mode, err := progress.ParseMode(value)
	if err != nil {
		return "", usagef("%s: %w", from, err)
	}
	terminal := isTerminal(a.Err)
	switch {
	case mode == progress.Auto && terminal && a.env["TERM"] != "dumb":
		return progress.TTY, nil
	case mode == progress.Auto && a.service() != "":
		return progress.CI, nil
	case mode == progress.Auto:
		return progress.Plain, nil
	case mode == progress.TTY && !terminal:
		return "", usagef("%s=tty: standard error is not a terminal; use plain", from)
	}
	return mode, nil
}

// service is the CI service that kiln runs in, of those whose logs have folds.
func (a *app) service() progress.Service {
	switch {
	case a.env["GITHUB_ACTIONS"] == "true":
		return progress.GitHub
	case a.env["GITLAB_CI"] == "true":
		return progress.GitLab
	}
	return ""
}

// placeInWorkspace returns a file's path in the repository that GitHub checked
// out, by which it is known there; "" if it is not in it.
func (a *app) placeInWorkspace(file string) string {
	path := file
	if !filepath.IsAbs(path) {
		path = filepath.Join(a.dir, path)
	}
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return ""
	}
	root := a.env["GITHUB_WORKSPACE"]
	if root == "" {
		return file
	}
	rel, err := filepath.Rel(root, path)
	if err != nil || !filepath.IsLocal(rel) {
		return ""
	}
	return filepath.ToSlash(rel)
}

// keyboard is where a person asks a display for something; nil if standard
// input is not one.
func (a *app) keyboard(mode progress.Mode) progress.Keyboard {
	in, ok := a.In.(*os.File)
	if mode != progress.TTY || !ok || !isTerminal(in) || a.env["TERM"] == "dumb" {
		return nil
	}
	return keyboard.New(in)
}

// display begins to show a run.
func (a *app) display(p *plan, header string) *progress.Display {
	mode := p.display
	return progress.New(progress.Options{
		Keyboard: a.keyboard(mode),
		Service:  a.service(),
		Place:    a.placeInWorkspace,
		Kept:     keptBy(p),
		Out:      a.Err,
		Mode:     mode,
		Terminal: isTerminal(a.Err),
		Color:    a.colored(a.Err),
		Width:    func() int { return a.width(a.Err) },
		Height:   func() int { _, h := terminalSize(a.Err); return h },
		Header:   header,
	})
}

// width is that of the terminal that w is, or 0.
func (a *app) width(w any) int {
	width, _ := terminalSize(w)
	return width
}

func terminalSize(w any) (width, height int) {
	f, ok := w.(*os.File)
	if !ok {
		return 0, 0
	}
	width, height, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0, 0
	}
	return width, height
}

// summarised reports whether the person who would read the results on standard
// output has them on the screen already, in the summary.
func (a *app) summarised(p *plan) bool {
	return p.json == jsonNone && p.display == progress.TTY && isTerminal(a.Out)
}

// keptBy says where the builder of a plan keeps the images of targets without
// an output; "" if it does not, or there are several.
func keptBy(p *plan) string {
	switch {
	case len(p.connected) != 1 || len(p.builders) != 1:
		return ""
	case p.connected[0].own:
		return "in the image store (kiln images)"
	case p.builders[0].docker != nil:
		return "in Docker"
	}
	return ""
}
