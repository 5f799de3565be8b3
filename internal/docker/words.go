package docker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	osexec "os/exec"
	"syscall"
)

// words says what can be done about an engine that does not answer.
func words(err error) error {
	var (
		noProgram *osexec.Error
		unknown   *net.DNSError
		auth      x509.UnknownAuthorityError
		host      x509.HostnameError
		record    tls.RecordHeaderError
		alert     tls.AlertError
		no        *StatusError
	)
	say := ""
	switch {
	case errors.As(err, &noProgram):
		say = fmt.Sprintf("the program %q is not installed, and the address needs it", noProgram.Name)
	case errors.Is(err, fs.ErrNotExist):
		say = "there is no such socket; is Docker installed, and started?"
	case errors.Is(err, fs.ErrPermission):
		say = "no permission to use the socket; are you in the group docker?"
	case errors.Is(err, syscall.ECONNREFUSED):
		say = "nobody listens there; is Docker started?"
	case errors.As(err, &unknown):
		say = "the host is not known"
	case errors.As(err, &auth):
		say = "its certificate is signed by an authority that is not trusted; is it the right DOCKER_CERT_PATH?"
	case errors.As(err, &host):
		say = "its certificate is made for another name"
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		say = "TLS is asked for, but it speaks plain text"
	case errors.As(err, &alert):
		say = "it refuses the client certificate, or there is none; set DOCKER_CERT_PATH to where it is"
	case errors.Is(err, context.DeadlineExceeded):
		say = "it does not answer in time"
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		say = "the connection ends at once; does it ask for TLS (DOCKER_TLS_VERIFY)?"
	case errors.As(err, &no) && no.Code == http.StatusBadRequest: // so Go's servers answer plain text
		say = "it does not take the request; does it ask for TLS (DOCKER_TLS_VERIFY)?"
	default:
		return err
	}
	return fmt.Errorf("%s: %w", say, err)
}
