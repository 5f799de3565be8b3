// Package registry is how kiln talks to registries: with which credentials,
// over which transport, and what an error of theirs means. What is said is the
// business of its callers, through go-containerregistry.
package registry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Options say how registries are reached.
type Options struct {
	Logins   *Logins       // nil: nobody is logged in
	Insecure bool          // certificates are not checked, and HTTP will do
	Silence  time.Duration // after which a registry is given up that says nothing and takes nothing; 0 is defaultSilence
	Agent    string        // who asks, "kiln/v1.2.3"
}

// defaultSilence is longer than a registry takes to put a large layer away.
const defaultSilence = 2 * time.Minute

// ErrPlain is returned for a registry that would have to be asked over HTTP.
var ErrPlain = errors.New("its address leads to plain HTTP, where everybody on the way can read and change images and passwords; --insecure allows it")

// ErrSilent is returned for a registry that was given up.
var ErrSilent = errors.New("nothing came from it, and it took nothing")

// Remote returns the options for go-containerregistry. They do not retry:
// [exec.Retries] does, and tells of it. They can be used for many calls.
func (o Options) Remote() []remote.Option {
	silence := o.Silence
	if silence == 0 {
		silence = defaultSilence
	}
	base := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: min(silence, 30*time.Second)}).DialContext,
		ForceAttemptHTTP2:     true,
		MaxIdleConnsPerHost:   16,
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   min(silence, 20*time.Second),
		ExpectContinueTimeout: time.Second,
		TLSClientConfig:       &tls.Config{InsecureSkipVerify: o.Insecure}, //nolint:gosec // on demand
	}
	t := &careful{inner: base, insecure: o.Insecure, silence: silence}
	out := []remote.Option{
		remote.WithTransport(t),
		remote.WithRetryPredicate(func(error) bool { return false }),
		remote.WithRetryStatusCodes(),
		remote.WithUserAgent(o.Agent),
	}
	if o.Logins != nil {
		out = append(out, remote.WithAuthFromKeychain(o.Logins))
	}
	return out
}

// Parse reads a reference to an image in a registry; one without tag and
// digest means the tag latest.
func (o Options) Parse(ref string) (name.Reference, error) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return nil, err
	}
	host := reference.Domain(named)
	var how []name.Option
	if o.Insecure || isLoopback(host) {
		how = append(how, name.Insecure)
	}
	reg, err := name.NewRegistry(host, how...)
	if err != nil {
		return nil, err
	}
	repo := reg.Repo(reference.Path(named)) // name.ParseReference wants repositories of two letters or more
	switch r := reference.TagNameOnly(named).(type) {
	case reference.Digested:
		return repo.Digest(r.Digest().String()), nil
	case reference.Tagged:
		return repo.Tag(r.Tag()), nil
	}
	return repo.Tag(name.DefaultTag), nil
}

// isLoopback reports whether a host is this machine, by its name.
func isLoopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if ip := net.ParseIP(host); ip != nil {
		return ip.IsLoopback()
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// A careful transport asks only loopback over HTTP, unless all may be asked
// so, and gives up who says nothing and takes nothing.
type careful struct {
	inner    http.RoundTripper
	insecure bool
	silence  time.Duration
}

// RoundTrip implements http.RoundTripper.
func (c *careful) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme == "http" && !c.insecure && !isLoopback(req.URL.Host) {
		return nil, fmt.Errorf("%s: %w", req.URL.Host, ErrPlain)
	}
	ctx, cancel := context.WithCancelCause(req.Context())
	silent := fmt.Errorf("%s: %w for %s", req.URL.Host, ErrSilent, c.silence)
	watch := time.AfterFunc(c.silence, func() { cancel(silent) })
	req = req.Clone(ctx)
	if req.Body != nil {
		req.Body = &sentReader{req.Body, func() { watch.Reset(c.silence) }}
	}
	resp, err := c.inner.RoundTrip(req)
	if err != nil {
		watch.Stop()
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		cancel(nil)
		return nil, err
	}
	watch.Stop()
	resp.Body = &answerReader{ReadCloser: resp.Body, ctx: ctx, cancel: cancel, watch: watch, silence: c.silence}
	return resp, nil
}

// A sentReader tells when something of it is taken.
type sentReader struct {
	io.ReadCloser
	taken func()
}

func (r *sentReader) Read(p []byte) (int, error) {
	r.taken()
	return r.ReadCloser.Read(p)
}

// An answerReader is watched while it is waited for, not while its own reader
// does something else.
type answerReader struct {
	io.ReadCloser
	ctx     context.Context // of the request, for why it ended
	cancel  context.CancelCauseFunc
	watch   *time.Timer
	silence time.Duration
}

func (r *answerReader) Read(p []byte) (int, error) {
	r.watch.Reset(r.silence)
	n, err := r.ReadCloser.Read(p)
	r.watch.Stop()
	if cause := context.Cause(r.ctx); cause != nil && err != nil && !errors.Is(err, io.EOF) {
		err = cause
	}
	return n, err
}

// Close implements io.Closer.
func (r *answerReader) Close() error {
	err := r.ReadCloser.Close()
	r.watch.Stop()
	r.cancel(nil)
	return err
}
