package buildkit

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	osexec "os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A dialer makes the connections of one Conn, and remembers what went wrong
// with them: gRPC tells failures of a connection only as text.
type dialer struct {
	opt DialOptions
	raw func(context.Context) (net.Conn, error)
	tls *tls.Config // nil is plain text

	// mu guards err and spoke.
	mu    sync.Mutex
	err   error
	spoke bool // the other side sent at least one byte
}

func newDialer(o DialOptions) (*dialer, error) {
	raw, err := rawDialer(o)
	if err != nil {
		return nil, err
	}
	d := &dialer{opt: o, raw: raw}
	if o.TLS.isSet() && o.Dialer == nil {
		if d.tls, err = tlsConfig(o); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func tlsConfig(o DialOptions) (*tls.Config, error) {
	cfg := &tls.Config{ServerName: o.TLS.ServerName, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12}
	if cfg.ServerName == "" {
		if u, err := url.Parse(o.Addr); err == nil {
			cfg.ServerName = u.Hostname()
		}
	}
	if o.TLS.CA != "" {
		pem, err := os.ReadFile(o.TLS.CA)
		if err != nil {
			return nil, fmt.Errorf("read the authority's certificate: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate in PEM form", o.TLS.CA)
		}
	}
	if (o.TLS.Cert == "") != (o.TLS.Key == "") {
		return nil, errors.New("a client certificate needs its key, and a key its certificate")
	}
	if o.TLS.Cert != "" {
		pair, err := tls.LoadX509KeyPair(o.TLS.Cert, o.TLS.Key)
		if err != nil {
			return nil, fmt.Errorf("read the client certificate: %w", err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}

func (d *dialer) dial(ctx context.Context, _ string) (net.Conn, error) {
	c, err := d.raw(ctx)
	if err != nil {
		d.note(err)
		return nil, err
	}
	if d.tls != nil {
		t := tls.Client(c, d.tls)
		if err := t.HandshakeContext(ctx); err != nil {
			c.Close()
			d.note(err)
			return nil, err
		}
		c = t
	}
	return &watchedConn{Conn: c, d: d}, nil
}

// note keeps the first error; later ones are its echoes.
func (d *dialer) note(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err == nil && !errors.Is(err, net.ErrClosed) { // which is our own doing
		d.err = err
	}
}

// A watchedConn tells its dialer what happens to it.
type watchedConn struct {
	net.Conn
	d *dialer
}

func (c *watchedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil {
		c.d.note(err)
	}
	if n > 0 {
		c.d.mu.Lock()
		c.d.spoke = true
		c.d.mu.Unlock()
	}
	return n, err
}

func (c *watchedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if err != nil {
		c.d.note(err)
	}
	return n, err
}

// explain says in words why the daemon at the address did not answer.
func (d *dialer) explain(ctx context.Context, err error) error {
	d.mu.Lock()
	cause, spoke := d.err, d.spoke
	d.mu.Unlock()
	if cause == nil {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return fmt.Errorf("something accepts the connection but does not answer; is it a BuildKit daemon, and is it well? %w", err)
		}
		return err
	}
	if words := d.words(cause); words != "" {
		return fmt.Errorf("%s: %w", words, cause)
	}
	if d.tls == nil && !spoke && d.wantsTLS(ctx) {
		return fmt.Errorf("the daemon expects TLS: give the files of its authority and of a client certificate: %w", cause)
	}
	return cause
}

// words translates what can be told by its type.
func (d *dialer) words(err error) string {
	var (
		name    x509.HostnameError
		auth    x509.UnknownAuthorityError
		invalid x509.CertificateInvalidError
		record  tls.RecordHeaderError
		op      *net.OpError
		noProg  *osexec.Error
		dns     *net.DNSError
	)
	switch {
	case errors.As(err, &noProg):
		return fmt.Sprintf("the program %q is not installed, and the address needs it", noProg.Name)
	case errors.As(err, &name):
		return fmt.Sprintf("the daemon's certificate is made for %s, not for %q; set the server name to one of these", certNames(name.Certificate), name.Host)
	case errors.As(err, &auth):
		return "the daemon's certificate is signed by an authority that is not trusted; is it the right CA file?"
	case errors.As(err, &invalid):
		return "the daemon's certificate is not valid"
	case errors.As(err, &record):
		return "TLS files are given, but the daemon speaks plain text"
	case d.tls != nil && (errors.As(err, &op) && op.Op == "remote error" || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)):
		if d.opt.TLS.Cert == "" {
			return "the daemon asks for a client certificate, and none is given"
		}
		return "the daemon refuses the client certificate"
	case errors.Is(err, fs.ErrNotExist):
		return "there is no such socket; is the daemon started?"
	case errors.Is(err, fs.ErrPermission):
		return "no permission to use the socket; who owns it?"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nobody listens there; is the daemon started?"
	case errors.As(err, &dns):
		return "the host is not known"
	}
	return ""
}

func certNames(c *x509.Certificate) string {
	names := append([]string(nil), c.DNSNames...)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		return "no name at all"
	}
	return strings.Join(names, ", ")
}

// wantsTLS tries whether the daemon that hung up on plain text speaks TLS.
func (d *dialer) wantsTLS(ctx context.Context) bool {
	if !strings.HasPrefix(d.opt.Addr, "tcp://") || d.opt.Dialer != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	c, err := d.raw(ctx)
	if err != nil {
		return false
	}
	defer c.Close()
	// Nothing is sent over this connection: it only asks for the greeting.
	probe := &firstByte{Conn: c}
	_ = tls.Client(probe, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}).HandshakeContext(ctx)
	return bytes.ContainsAny(probe.first, "\x15\x16") // an alert, or a handshake
}

// firstByte remembers the first byte that a connection received.
type firstByte struct {
	net.Conn
	first []byte
}

func (c *firstByte) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 && c.first == nil {
		c.first = []byte{b[0]}
	}
	if errors.Is(err, io.EOF) && n > 0 {
		err = nil
	}
	return n, err
}
