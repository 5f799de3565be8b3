package buildkit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"github.com/moby/buildkit/client"

	"github.com/kilnbuild/kiln/exec"
)

// A watchedWriter remembers the first error of what kiln writes itself. The
// daemon, which sends the bytes, learns of it too, but what comes back from
// there often is no more than "EOF".
type watchedWriter struct {
	io.WriteCloser
	trouble *trouble
}

func (w watchedWriter) Write(p []byte) (int, error) {
	n, err := w.WriteCloser.Write(p)
	w.trouble.wrote.Store(w.trouble.wrote.Load() || n > 0)
	w.trouble.note(err)
	return n, err
}

func (w watchedWriter) Close() error {
	err := w.WriteCloser.Close()
	w.trouble.note(err)
	return err
}

// A trouble is the first error that was noted. Goroutines may share it.
type trouble struct {
	mu    sync.Mutex // guards err
	err   error
	wrote atomic.Bool // a part of it is out
}

func (t *trouble) note(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err == nil {
		t.err = err
	}
}

func (t *trouble) first() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// failed ends outputs whose export failed with err, and returns what to tell:
// what went wrong on this machine, if something did, else the daemon's words.
func (o *outputs) failed(ctx context.Context, err error) error {
	here := o.blame()
	o.discard()
	if here == nil || ctx.Err() != nil {
		return o.final(o.s.explain(ctx, o.j, err))
	}
	return here
}

// final returns err as one that is not tried again, if standard output has had
// a part of the result: it would have that twice.
func (o *outputs) final(err error) error {
	var n *exec.NetworkError
	for _, e := range o.list {
		if e.out != nil && e.trouble.wrote.Load() && errors.As(err, &n) {
			return fmt.Errorf("%v; it is not tried again, as standard output has a part of the result", err)
		}
	}
	return err
}

// blame returns the error of the output that could not be written, nil if
// all can.
func (o *outputs) blame() error {
	for _, e := range o.list {
		err := e.trouble.first()
		if err == nil && e.dest != "" && (e.Type == client.ExporterLocal || isDirectory(&e.Export)) {
			err = tryWriting(e.target())
		}
		if err != nil {
			return fmt.Errorf("output %q: %w", e.Dest, err)
		}
	}
	return nil
}

// target is the directory that a local output or a layout is written to.
func (e *output) target() string {
	return cmp.Or(e.temp.at(), e.dest)
}

// tryWriting writes a file to a directory, for what keeps others from doing so.
func tryWriting(dir string) error {
	if _, err := os.Stat(dir); err != nil || dir == "" {
		return nil // it was never made
	}
	f, err := os.CreateTemp(dir, ".kiln-try-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(make([]byte, 256<<10))
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}
