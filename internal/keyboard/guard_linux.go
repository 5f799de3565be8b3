package keyboard

import (
	"io"
	"os"
	osexec "os/exec"
	"syscall"
)

// A guard is a shell that does nothing but wait for the program to end. If
// that was sudden, by a panic or kill -9, and the terminal is still as the
// program had made it, the guard restores it. Shells do so themselves for a
// job that was killed, but not after a panic, and not all of them.
//
// A nil guard is one that could not be started: there may be no shell, or no
// stty, where containers are built.
type guard struct {
	cmd  *osexec.Cmd
	pipe io.WriteCloser
	told bool // that the terminal is taken
}

// guardScript reads a line when the terminal is taken, and one when it is
// given back; an end without that is the program's. It is a background
// process, which may set the terminal only while it ignores SIGTTOU.
const guardScript = `trap "" INT QUIT TERM HUP TSTP TTOU
theirs=$(stty -g <&3) && echo && read -r _ && ours=$(stty -g <&3) || exit
read -r _ && exit
[ "$(stty -g <&3)" = "$ours" ] && stty "$theirs" <&3
`

// newGuard returns when the guard knows how the terminal is.
func newGuard(tty *os.File) *guard {
	c := osexec.Command("sh", "-c", guardScript, "kiln-keyboard-guard")
	c.ExtraFiles = []*os.File{tty}
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // not to get the keyboard's signals
	in, err := c.StdinPipe()
	if err != nil {
		return nil
	}
	out, err := c.StdoutPipe()
	if err != nil || c.Start() != nil {
		in.Close()
		return nil
	}
	g := &guard{cmd: c, pipe: in}
	if n, _ := out.Read(make([]byte, 1)); n == 0 {
		g.dismiss()
		return nil
	}
	return g
}

// taken says that the terminal gives keys from now on.
func (g *guard) taken() {
	if g != nil && !g.told {
		g.told = true
		_, _ = io.WriteString(g.pipe, "\n")
	}
}

// dismiss ends the guard; the terminal is as it was.
func (g *guard) dismiss() {
	if g == nil {
		return
	}
	_, _ = io.WriteString(g.pipe, "\n\n")
	g.pipe.Close()
	_ = g.cmd.Wait()
}
