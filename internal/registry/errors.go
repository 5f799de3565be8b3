package registry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/kilnbuild/kiln/exec"
)

// An Error is what went wrong with a registry, and what can be done.
type Error struct {
	Host   string
	Status int    // of HTTP; 0 if there was no answer
	Advice string // "" or what would help
	Err    error
}

func (e *Error) Error() string {
	text := fmt.Sprintf("registry %s: %v", e.Host, e.Err)
	if e.Status != 0 {
		text = fmt.Sprintf("registry %s answers %d %s%s", e.Host, e.Status, http.StatusText(e.Status), said(e.Err))
	}
	if e.Advice != "" {
		text += "; " + e.Advice
	}
	return text
}

func (e *Error) Unwrap() error { return e.Err }

// said returns what a registry says beside its status.
func said(err error) string {
	var answer *transport.Error
	if !errors.As(err, &answer) {
		return ""
	}
	text := ""
	for _, d := range answer.Errors {
		if d.Message != "" {
			text += fmt.Sprintf(", %q", d.Message)
		} else if d.Code != "" {
			text += fmt.Sprintf(", %s", d.Code)
		}
	}
	return text
}

// Explain words an error of a registry. One that a retry may help is an
// [exec.NetworkError]; what is no error of the registry stays as it is.
func Explain(host string, err error) error {
	if host == name.DefaultRegistry {
		host = "docker.io"
	}
	var (
		answer *transport.Error
		known  *Error
		sent   *url.Error
		cert   *tls.CertificateVerificationError
		plain  tls.RecordHeaderError
		dns    *net.DNSError
		broken net.Error
	)
	network := func(cause string) error {
		return &exec.NetworkError{Cause: cause, Err: &Error{Host: host, Err: err}}
	}
	switch {
	case err == nil, errors.As(err, &known):
		return err
	case errors.As(err, &cert): // before the answer: on loopback HTTP is tried then, too
		return &Error{Host: host, Err: cert, Advice: "have its authority trusted by this machine, or give --insecure if nobody else is on the way"}
	case errors.As(err, &answer):
		e := &Error{Host: host, Status: answer.StatusCode, Advice: advice(answer, host), Err: err}
		if retriable(answer.StatusCode) {
			return &exec.NetworkError{Cause: fmt.Sprintf("%s answered %d %s", host, e.Status, http.StatusText(e.Status)), Err: e}
		}
		return e
	case errors.Is(err, ErrPlain):
		return &Error{Host: host, Err: ErrPlain}
	case errors.Is(err, ErrSilent):
		return network(host + " does not answer")
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.As(err, &plain):
		return &Error{Host: host, Err: errors.New("it does not speak TLS"), Advice: "--insecure asks it over HTTP"}
	case errors.As(err, &dns) && dns.IsNotFound:
		return &Error{Host: host, Err: fmt.Errorf("no such host %s", dns.Name)}
	case errors.As(err, &sent):
		return network(fmt.Sprintf("%s: %v", host, sent.Err))
	case errors.As(err, &broken):
		return network(fmt.Sprintf("%s: %v", host, err))
	}
	return err
}

// retriable reports whether an HTTP status may be another the next time.
func retriable(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported, http.StatusInsufficientStorage:
		return false
	}
	return status >= 500
}

func advice(e *transport.Error, host string) string {
	switch e.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Sprintf("log in with `docker login %s` or `podman login %s`, as somebody who may do this", host, host)
	case http.StatusNotFound:
		return "the repository or image is not there, or only for who is logged in"
	case http.StatusRequestEntityTooLarge:
		return "what stands before the registry allows no blobs of that size"
	case http.StatusMethodNotAllowed:
		return "it is read-only"
	}
	return ""
}

// IsNotFound reports whether a registry says that there is no such image.
func IsNotFound(err error) bool {
	var answer *transport.Error
	return errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound
}
