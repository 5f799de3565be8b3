package buildkit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"

	"github.com/moby/buildkit/client"
)

// A loader streams an image into a Docker Engine, through its HTTP interface.
type loader struct {
	engine Engine
	mu     sync.Mutex     // guards pipe, ended and over
	pipe   *io.PipeWriter // nil until the daemon sends the image
	ended  chan struct{}  // closed when the engine has answered
	over   bool           // it was given up; nothing is loaded any more
	err    error          // set when ended is closed
}

// An Engine is a Docker Engine that images are loaded into.
type Engine struct {
	Name string // where it is, for messages
	// Dial opens a connection to its HTTP interface.
	Dial func(ctx context.Context) (net.Conn, error)
	// Containerd says that it keeps images in containerd's store, and so takes
	// indexes: several platforms, attestations.
	Containerd bool
}

// Engines finds the engine of a Docker context; "" is the one that the docker
// command would use.
type Engines func(ctx context.Context, context string) (Engine, error)

// engineFor returns the engine that an output is loaded into, which is asked
// for once in a run.
func (s *Solver) engineFor(name string) (Engine, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.engines[name]; ok {
		return e, nil
	}
	err := errNoEngine
	var e Engine
	if s.opt.Engines != nil {
		e, err = s.opt.Engines(s.run, name)
	}
	if err != nil {
		return e, fmt.Errorf("an output of type %q without a destination is loaded into the Docker Engine. Name a file, as in %q, or leave the output out: %w",
			"docker", "type=docker,dest=image.tar", err)
	}
	s.engines[name] = e
	return e, nil
}

// load has an output loaded into the engine that it names. One that takes
// indexes gets the image as it would be pushed; the others take only what
// their own format can hold.
func (o *outputs) load(out *output) error {
	e, err := o.s.engineFor(out.Attrs["context"])
	if err != nil {
		return err
	}
	delete(out.Attrs, "context")
	out.load = &loader{engine: e}
	switch {
	case e.Containerd:
		out.Type = client.ExporterOCI
		out.Attrs["prefer-image-digest"] = "true"
	case o.j.req.isIndex():
		return fmt.Errorf("the Docker Engine at %s keeps images in a store of its own, which takes one platform and no attestations. Ask for that, or name a file, as in %q. Or have %s",
			e.Name, "type=oci,dest=image.tar", containerdStore)
	}
	return nil
}

func (l *loader) client() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return l.engine.Dial(ctx) },
		DisableKeepAlives: true,
	}}
}

// errNoEngine is told where the caller knows of no engine.
var errNoEngine = errors.New("none is known")

// start returns what takes the image.
func (l *loader) start(ctx context.Context) (io.WriteCloser, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return nil, errOver
	}
	r, w := io.Pipe()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://docker/images/load?quiet=1", r)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-tar")
	l.pipe, l.ended = w, make(chan struct{})
	go func() {
		defer close(l.ended)
		l.err = l.post(req)
		r.CloseWithError(errors.Join(l.err, io.ErrClosedPipe))
	}()
	return w, nil
}

// post sends the image and reads the engine's answer, a list of messages of
// which any may be an error.
func (l *loader) post(req *http.Request) error {
	resp, err := l.client().Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	dec := json.NewDecoder(resp.Body)
	for {
		var msg struct {
			Message string `json:"message"`
			Error   string `json:"error"`
		}
		switch err := dec.Decode(&msg); {
		case errors.Is(err, io.EOF) && resp.StatusCode == http.StatusOK:
			return nil
		case err != nil:
			return fmt.Errorf("the Docker Engine answers %s: %w", resp.Status, err)
		case msg.Error != "":
			return fmt.Errorf("the Docker Engine does not take the image: %s", msg.Error)
		case resp.StatusCode != http.StatusOK:
			return fmt.Errorf("the Docker Engine does not take the image: %s", msg.Message)
		}
	}
}

// wait returns when the engine has taken the image.
func (l *loader) wait() error {
	l.mu.Lock()
	ended := l.ended
	l.mu.Unlock()
	if ended == nil {
		return errors.New("the daemon has not sent an image")
	}
	<-ended
	return l.err
}

// abort breaks the transfer off.
func (l *loader) abort() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	if l.pipe != nil {
		l.pipe.CloseWithError(errors.New("the export failed"))
		<-l.ended
	}
}
