package keyboard

import (
	"bytes"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A Keyboard is a terminal to read keys from. Its methods are called from one
// goroutine.
type Keyboard struct {
	tty  *os.File
	keys chan string
	quit chan struct{}
	done chan struct{}
	once sync.Once
}

// New returns a keyboard that is not read from yet. The file is a terminal.
func New(tty *os.File) *Keyboard {
	return &Keyboard{tty: tty, keys: make(chan string), quit: make(chan struct{}), done: make(chan struct{})}
}

// Keys begins to read, and returns the keys by their names as they are
// pressed: a character, or "up", "down", "pgup", "pgdn", "home", "end",
// "enter", "space" or "esc", and Stopping and Resumed. It is called once, before Close. The
// channel is never closed.
func (k *Keyboard) Keys() <-chan string {
	go k.run()
	return k.keys
}

// Close ends reading, and returns when the terminal is as it was.
func (k *Keyboard) Close() error {
	k.once.Do(func() { close(k.quit) })
	<-k.done
	return nil
}

// How long to wait in the background before another look, for the rest of a
// key that comes in pieces, and for being stopped.
const (
	lookAgain    = time.Second
	restOfAKey   = 50 * time.Millisecond
	beingStopped = 200 * time.Millisecond
)

// goingOn is how often as long as for being stopped the signal of going on is
// waited for, which a busy machine may bring late.
const goingOn = 10

// A reading is the state of a keyboard while it is read.
type reading struct {
	*terminal
	*poller
	signals chan os.Signal
	to      chan<- string    // where keys go
	asked   bool             // the poller for an answer
	typed   []byte           // the beginning of a key
	keys    []string         // not yet handed on
	look    <-chan time.Time // when to look for the foreground again
	rest    <-chan time.Time // when typed is all of its key
}

func (k *Keyboard) run() {
	defer close(k.done)
	p, err := newPoller(int(k.tty.Fd()))
	if err != nil {
		return
	}
	defer p.close()
	r := &reading{terminal: &terminal{file: k.tty, fd: int(k.tty.Fd())}, poller: p, signals: make(chan os.Signal, 8), to: k.keys}
	defer r.letGo()
	signal.Notify(r.signals, unix.SIGTSTP, unix.SIGCONT)
	defer signal.Stop(r.signals)
	r.begin()
	for {
		var out chan string
		var key string
		if len(r.keys) > 0 {
			out, key = k.keys, r.keys[0]
		}
		select {
		case <-k.quit:
			return
		case out <- key:
			r.keys = r.keys[1:]
		case s := <-r.signals:
			r.signal(s)
		case <-r.look:
			r.begin()
		case <-r.rest:
			r.decode(nil, true)
		case ok := <-r.ready:
			r.read(ok)
		}
	}
}

// begin waits for keys in the foreground, and for the foreground else.
func (r *reading) begin() {
	r.look = nil
	if !r.take() {
		r.look = time.After(lookAgain)
		return
	}
	if !r.asked {
		r.asked = true
		r.again <- struct{}{}
	}
}

// read takes what was typed; not if the terminal is gone or another's.
func (r *reading) read(ok bool) {
	r.asked = false
	if !ok {
		return
	}
	if r.take() {
		buf := make([]byte, 256)
		n, err := unix.Read(r.fd, buf) // of nothing, if another program was faster
		if err != nil && err != unix.EINTR && err != unix.EAGAIN {
			return
		}
		r.decode(buf[:max(0, n)], false)
	}
	r.begin()
}

func (r *reading) decode(more []byte, whole bool) {
	var keys []string
	keys, r.typed = decode(append(r.typed, more...), whole)
	r.keys = append(r.keys, keys...)
	r.rest = nil
	if len(r.typed) > 0 {
		r.rest = time.After(restOfAKey)
	}
}

// signal stops the program as ctrl-Z asks for, with the terminal as it was,
// or goes on after that.
func (r *reading) signal(s os.Signal) {
	if s == unix.SIGTSTP {
		if orphaned() {
			return
		}
		select {
		case r.to <- Stopping:
		case <-time.After(beingStopped): // nobody listens any more
		}
		r.restore()
		// Go cannot give SIGTSTP back its default once it was caught.
		_ = unix.Kill(unix.Getpid(), unix.SIGSTOP)
		r.awaitContinue()
	}
	r.keys = append(r.keys, Resumed)
	r.begin()
}

// awaitContinue returns when the program was stopped and goes on. It may be
// stopped only a while after it asked for that: the wait that has begun by then
// is over as soon as it goes on, and the signal may come in the next.
func (r *reading) awaitContinue() {
	for range 1 + goingOn {
		select {
		case <-r.signals:
			return
		case <-time.After(beingStopped):
		}
	}
}

// orphaned reports whether there is no shell that would let the program go on
// again: no process of its group has a parent in another group of the session.
// The kernel stops no such group for ctrl-Z either.
func orphaned() bool {
	group := unix.Getpgrp()
	session, err := unix.Getsid(0)
	for pid := unix.Getppid(); err == nil && pid > 0; pid = parent(pid) {
		var g, s int
		if s, err = unix.Getsid(pid); err != nil || s != session {
			return true
		}
		if g, err = unix.Getpgid(pid); err == nil && g != group {
			return false
		}
	}
	return true
}

// parent returns the parent of a process; 0 if it is gone.
func parent(pid int) int {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// "PID (name) state PPID …"; a name may hold anything.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 2 {
		return 0
	}
	ppid, err := strconv.Atoi(fields[1])
	if err != nil {
		return 0
	}
	return ppid
}

// A poller waits for something to read, without reading it.
type poller struct {
	ready chan bool     // there is something; false is an end
	again chan struct{} // wait once more; not before the last answer was taken
	pipe  [2]int        // ends waiting
	done  chan struct{}
}

func newPoller(fd int) (*poller, error) {
	p := &poller{ready: make(chan bool, 1), again: make(chan struct{}, 1), done: make(chan struct{})}
	if err := unix.Pipe2(p.pipe[:], unix.O_CLOEXEC); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.done)
		for range p.again {
			fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}, {Fd: int32(p.pipe[0]), Events: unix.POLLIN}}
			_, err := unix.Poll(fds, -1)
			for err == unix.EINTR {
				_, err = unix.Poll(fds, -1)
			}
			if err != nil || fds[1].Revents != 0 {
				return
			}
			p.ready <- fds[0].Revents == unix.POLLIN // else hung up
		}
	}()
	return p, nil
}

func (p *poller) close() {
	close(p.again)
	unix.Close(p.pipe[1]) // which is a reason to wake
	<-p.done
	unix.Close(p.pipe[0])
}
