package buildkit

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// TestGathered writes in small pieces to a slow reader: all arrives, in order
// and in fewer pieces; Close sends what was written before.
func TestGathered(t *testing.T) {
	ours, theirs := net.Pipe() // a write waits for its reader
	dial := gathering(func(context.Context, string, map[string][]string) (net.Conn, error) { return ours, nil })
	c, err := dial(t.Context(), "h2c", nil)
	if err != nil {
		t.Fatal(err)
	}
	c.(*gathered).patience = time.Minute // a busy machine may not read for long
	type read struct {
		data   []byte
		pieces int
	}
	got := make(chan read)
	go func() {
		var r read
		buf := make([]byte, 1<<20)
		for {
			n, err := theirs.Read(buf)
			r.data = append(r.data, buf[:n]...)
			r.pieces++
			if err != nil {
				got <- r
				return
			}
		}
	}()
	var want bytes.Buffer
	piece := make([]byte, 100)
	for i := range 20_000 { // more than is gathered at most
		piece[0], piece[1] = byte(i), byte(i>>8)
		want.Write(piece)
		if _, err := c.Write(piece); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	r := <-got
	if !bytes.Equal(r.data, want.Bytes()) {
		t.Errorf("%d bytes arrived, or others than the %d written", len(r.data), want.Len())
	}
	if r.pieces >= 20_000 {
		t.Errorf("arrived in %d pieces", r.pieces)
	}
	if _, err := c.Write(piece); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write after Close: %v", err)
	}
}

// TestGatheredTellsOfErrors closes the other end: a later write fails.
func TestGatheredTellsOfErrors(t *testing.T) {
	ours, theirs := net.Pipe()
	dial := gathering(func(context.Context, string, map[string][]string) (net.Conn, error) { return ours, nil })
	c, err := dial(t.Context(), "h2c", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	theirs.Close()
	for range 1 << 20 {
		if _, err = c.Write([]byte("x")); err != nil {
			break
		}
	}
	if !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("got %v", err)
	}
	broken := errors.New("broken")
	if _, err := gathering(func(context.Context, string, map[string][]string) (net.Conn, error) { return nil, broken })(t.Context(), "", nil); !errors.Is(err, broken) {
		t.Errorf("dial: got %v", err)
	}
}
