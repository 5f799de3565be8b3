package docker

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/docker/cli/cli/connhelper"
)

// DefaultHost is where a Docker Engine listens that nobody has told where to.
const DefaultHost = "unix:///var/run/docker.sock"

// TLS is how a tcp:// endpoint is secured. The zero value is plain text.
type TLS struct {
	Dir        string // holds ca.pem, cert.pem and key.pem, each if it is used; "" is no TLS
	SkipVerify bool   // take any certificate of the engine
}

// An Endpoint is where a Docker Engine is to be found.
type Endpoint struct {
	Name string // of the context; "default" for what the environment says, "" for a bare address
	Host string // unix://PATH, tcp://HOST:PORT or ssh://USER@HOST
	TLS  TLS
	From string // what named it, for messages: "DOCKER_HOST", "the context desktop"
}

// ErrAddress is returned, wrapped, for an address that is none.
var ErrAddress = errors.New("it is not the address of a Docker Engine")

// ParseHost returns the address in the form that Endpoint has. A path is a
// socket, and an address without a scheme is one of TCP, as with DOCKER_HOST.
func ParseHost(s string) (string, error) {
	scheme, rest, ok := strings.Cut(s, "://")
	switch {
	case !ok && strings.HasPrefix(s, "/"):
		return "unix://" + s, nil
	case !ok:
		scheme, rest = "tcp", s
	}
	switch scheme {
	case "http", "https":
		scheme = "tcp"
	case "unix", "tcp", "ssh":
	default:
		return "", fmt.Errorf("%q: %w. One looks like %q, %q or %q", s, ErrAddress, DefaultHost, "tcp://host:2376", "ssh://user@host")
	}
	if rest == "" {
		return "", fmt.Errorf("%q names no place: %w", s, ErrAddress)
	}
	return scheme + "://" + rest, nil
}

// Dial opens a connection to the engine's HTTP interface.
func (e Endpoint) Dial(ctx context.Context) (net.Conn, error) {
	dial, err := e.dialer()
	if err != nil {
		return nil, err
	}
	return dial(ctx)
}

// dialer returns what makes connections to the engine.
func (e Endpoint) dialer() (func(context.Context) (net.Conn, error), error) {
	host, err := ParseHost(e.Host)
	if err != nil {
		return nil, err
	}
	scheme, rest, _ := strings.Cut(host, "://")
	switch scheme {
	case "unix":
		var d net.Dialer
		return func(ctx context.Context) (net.Conn, error) { return d.DialContext(ctx, "unix", rest) }, nil
	case "ssh":
		h, err := connhelper.GetConnectionHelper(host)
		if err != nil {
			return nil, err
		}
		// The program ssh lives as long as the connection, not as the call.
		return func(ctx context.Context) (net.Conn, error) {
			return h.Dialer(context.WithoutCancel(ctx), "", "")
		}, nil
	}
	return e.tcpDialer(host)
}

func (e Endpoint) tcpDialer(host string) (func(context.Context) (net.Conn, error), error) {
	u, err := url.Parse(host)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", e.Host, ErrAddress)
	}
	cfg, err := e.TLS.config(u.Hostname())
	if err != nil {
		return nil, err
	}
	port := "2375"
	if cfg != nil {
		port = "2376"
	}
	addr := net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), port))
	if cfg == nil {
		var d net.Dialer
		return func(ctx context.Context) (net.Conn, error) { return d.DialContext(ctx, "tcp", addr) }, nil
	}
	d := &tls.Dialer{Config: cfg}
	return func(ctx context.Context) (net.Conn, error) { return d.DialContext(ctx, "tcp", addr) }, nil
}

// config returns nil for plain text. Files that are not there are not used:
// an engine may ask for no certificate, or have one of a known authority.
func (t TLS) config(server string) (*tls.Config, error) {
	if t == (TLS{}) {
		return nil, nil
	}
	cfg := &tls.Config{ServerName: server, MinVersion: tls.VersionTLS12, InsecureSkipVerify: t.SkipVerify}
	file := func(name string) string { return filepath.Join(t.Dir, name) }
	if pem, err := os.ReadFile(file("ca.pem")); err == nil {
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate in PEM form", file("ca.pem"))
		}
	}
	if _, err := os.Stat(file("cert.pem")); err != nil {
		return cfg, nil
	}
	pair, err := tls.LoadX509KeyPair(file("cert.pem"), file("key.pem"))
	if err != nil {
		return nil, fmt.Errorf("read the client certificate: %w", err)
	}
	cfg.Certificates = []tls.Certificate{pair}
	return cfg, nil
}
