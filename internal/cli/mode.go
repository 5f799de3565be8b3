package cli

import (
	"os"

	"golang.org/x/term"

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
	case mode == progress.Auto:
		return progress.Plain, nil
	case mode == progress.TTY && !terminal:
		return "", usagef("%s=tty: standard error is not a terminal; use plain", from)
	}
	return mode, nil
}

// display begins to show a run.
func (a *app) display(mode progress.Mode, header string) *progress.Display {
	return progress.New(progress.Options{
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
