package image

import (
	"context"
	"io"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/exec"
)

// A Tell is called as images are moved, by several goroutines at once. Nil
// tells nobody.
type Tell func(Event)

// An Event is a step of moving an image.
type Event struct {
	Kind  EventKind
	Ref   string      // what is moved, as it is called where it goes
	Bytes int64       // of Found, Sent, Skipped
	Retry *exec.Retry // of Retrying
}

// EventKind says what happened.
type EventKind int

const (
	Found    EventKind = iota // so many bytes more are to be moved
	Sent                      // so many bytes have gone
	Skipped                   // so many bytes are there already
	Retrying                  // it is tried again, after a while
	Ended                     // it is where it should be
)

func (t Tell) tell(e Event) {
	if t != nil {
		t(e)
	}
}

// A countedReader tells of what is read through it.
type countedReader struct {
	io.ReadCloser
	count func(n int64)
}

func (c *countedReader) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.count(int64(n))
	return n, err
}

// counted opens a blob whose reading is told of.
func (i *Image) counted(ctx context.Context, d ocispec.Descriptor, t Tell, ref string) (io.ReadCloser, error) {
	rc, err := i.Open(ctx, d)
	if err != nil {
		return nil, err
	}
	return &countedReader{rc, func(n int64) { t.tell(Event{Kind: Sent, Ref: ref, Bytes: n}) }}, nil
}
