package buildkit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// A loader streams an image into a Docker Engine, through its HTTP interface.
type loader struct {
	engine Engine
	pipe   *io.PipeWriter
	ended  chan struct{} // closed when the engine has answered
	err    error         // set then
}

// An Engine is a Docker Engine that images are loaded into.
type Engine struct {
	Name string // where it is, for messages
	// Dial opens a connection to its HTTP interface. Nil is no engine.
	Dial func(ctx context.Context) (net.Conn, error)
}

func (l *loader) client() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return l.engine.Dial(ctx) },
		DisableKeepAlives: true,
	}}
}

// errNoEngine is told where the caller knows of no engine.
var errNoEngine = errors.New("none is known")

// check reports whether there is an engine.
func (l *loader) check(ctx context.Context) error {
	absent := func(err error) error {
		return fmt.Errorf("an output of type %q without a destination is loaded into the Docker Engine, and there is none at %s. Name a file, as in %q, or leave the output out: %w",
			"docker", l.engine.Name, "type=docker,dest=image.tar", err)
	}
	if l.engine.Dial == nil {
		return absent(errNoEngine)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://docker/_ping", nil)
	if err != nil {
		return err
	}
	resp, err := l.client().Do(req)
	if err != nil {
		return absent(err)
	}
	return resp.Body.Close()
}

// start returns what takes the image.
func (l *loader) start(ctx context.Context) (io.WriteCloser, error) {
	r, w := io.Pipe()
	l.pipe, l.ended = w, make(chan struct{})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://docker/images/load?quiet=1", r)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-tar")
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
	if l.ended == nil {
		return errors.New("the daemon has not sent an image")
	}
	<-l.ended
	return l.err
}

// abort breaks the transfer off.
func (l *loader) abort() {
	if l.pipe != nil {
		l.pipe.CloseWithError(errors.New("the export failed"))
		<-l.ended
	}
}
