package buildkit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/connhelper"
	_ "github.com/moby/buildkit/client/connhelper/dockercontainer"  // docker-container://
	_ "github.com/moby/buildkit/client/connhelper/kubepod"          // kube-pod://
	_ "github.com/moby/buildkit/client/connhelper/nerdctlcontainer" // nerdctl-container://
	_ "github.com/moby/buildkit/client/connhelper/podmancontainer"  // podman-container://
	_ "github.com/moby/buildkit/client/connhelper/ssh"              // ssh://
	"github.com/moby/buildkit/session"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// ErrNoDaemon is returned by Dial, wrapped, when no BuildKit answers.
var ErrNoDaemon = errors.New("no BuildKit daemon could be reached")

// TLSFiles are the files that secure a tcp:// address; all are paths of PEM
// files. The zero value is a connection in plain text.
type TLSFiles struct {
	CA         string // authority that signed the daemon's certificate; "" is the system's
	Cert, Key  string // the client's own, where the daemon asks for one
	ServerName string // in the daemon's certificate; "" is the host of the address
}

func (t TLSFiles) isSet() bool { return t != TLSFiles{} }

// DialOptions say where a daemon is.
type DialOptions struct {
	// Addr is unix://, tcp://, docker-container://, podman-container://,
	// nerdctl-container://, kube-pod:// or ssh://. With a Dialer it is only a
	// name to show.
	Addr string
	TLS  TLSFiles
	// Dialer makes the connections if it is not nil.
	Dialer func(ctx context.Context, addr string) (net.Conn, error)
	// Timeout is how long the daemon may take to answer; 0 is two minutes,
	// for a daemon can be busy with the records of an earlier build.
	Timeout time.Duration
	// Name is what the daemon is called where it is told of; "" is Addr.
	Name string
	// RecordPrefix is put before the references of build records, as buildx
	// has them: "builder/node/"; "" for a daemon that is no builder of buildx.
	RecordPrefix string
	// Docker is the engine that the daemon is part of, reached by Dialer; nil
	// is a BuildKit alone.
	Docker *Docker
	// Hint says in sentences what can be done when the daemon is lost in the
	// middle of a run: where its log is, how to start another. "" is what
	// holds for any.
	Hint string
}

// lostHint is what can be done about any daemon.
const lostHint = "Its log may say why; then build again, or name another builder"

// A Conn is a connection to a daemon that answers. Goroutines may share it.
type Conn struct {
	client *client.Client
	addr   string
	name   string // for messages
	hint   string // what to do if it is lost

	recordPrefix string
	version      string
	docker       *Docker // nil for a BuildKit alone
	workers      []*client.WorkerInfo
}

// Dial connects to a daemon and asks its version. Every error wraps
// ErrNoDaemon and says in words what is wrong and what would do.
func Dial(ctx context.Context, o DialOptions) (*Conn, error) {
	if o.Timeout == 0 {
		o.Timeout = 2 * time.Minute
	}
	d, err := newDialer(o)
	if err != nil {
		return nil, noDaemon(o.Addr, err)
	}
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	// The address only has to look like one: connections are the dialer's.
	opts := []client.ClientOpt{client.WithContextDialer(d.dial)}
	if o.Docker != nil {
		opts = append(opts, client.WithSessionDialer(o.Docker.Session))
	}
	c, err := client.New(ctx, "passthrough:///"+url.PathEscape(o.Addr), opts...)
	if err != nil {
		return nil, noDaemon(o.Addr, err)
	}
	conn := &Conn{client: c, addr: o.Addr, name: cmp.Or(o.Name, o.Addr), hint: cmp.Or(o.Hint, lostHint), recordPrefix: o.RecordPrefix, docker: o.Docker}
	if err := conn.hello(ctx); err != nil {
		c.Close()
		return nil, noDaemon(o.Addr, d.explain(ctx, err))
	}
	return conn, nil
}

func noDaemon(addr string, err error) error {
	if addr == "" {
		return fmt.Errorf("%w: %w", ErrNoDaemon, err)
	}
	return fmt.Errorf("connect to %s: %w: %w", redactURL(addr), ErrNoDaemon, err)
}

// hello asks who answers and what it can build.
func (c *Conn) hello(ctx context.Context) error {
	info, err := c.client.Info(ctx)
	switch {
	case err == nil:
		c.version = info.BuildkitVersion.Version
	case status.Code(err) != codes.Unimplemented: // BuildKit before 0.11 has no Info
		return err
	}
	c.workers, err = c.client.ListWorkers(ctx)
	if err != nil {
		return err
	}
	if len(c.workers) == 0 {
		return errors.New("the daemon answers, but has no worker to build with. Its log says why; often it has no runc")
	}
	if c.docker != nil {
		c.docker.HostGateway = c.workers[0].Labels[hostGatewayLabel]
		return c.docker.ask(ctx, c.client)
	}
	return nil
}

// Docker is the engine that the daemon is part of, with what it can do; nil
// for a BuildKit alone.
func (c *Conn) Docker() *Docker { return c.docker }

// sessions is how the sessions of a run reach the daemon.
func (c *Conn) sessions() session.Dialer {
	if c.docker != nil {
		return c.docker.Session
	}
	return c.client.Dialer()
}

// Version is the daemon's, as "v0.34.2"; "" if it does not tell.
func (c *Conn) Version() string { return c.version }

// Addr is the address that was dialled.
func (c *Conn) Addr() string { return c.addr }

// Platforms are what the daemon can build for, its own first.
func (c *Conn) Platforms() []string {
	var out []string
	for _, p := range c.workers[0].Platforms {
		out = append(out, platforms.FormatAll(platforms.Normalize(p)))
	}
	return out
}

// Close ends the connection.
func (c *Conn) Close() error { return c.client.Close() }

// Alive asks the daemon for a sign of life. A daemon that is frozen keeps the
// connection open and does not answer until ctx is done.
func (c *Conn) Alive(ctx context.Context) error {
	_, err := c.client.Info(ctx)
	if status.Code(err) == codes.Unimplemented {
		return nil // an answer all the same
	}
	return err
}

// rawDialer returns how connections to o.Addr are made, before TLS.
func rawDialer(o DialOptions) (func(context.Context) (net.Conn, error), error) {
	if o.Dialer != nil {
		return func(ctx context.Context) (net.Conn, error) { return o.Dialer(ctx, o.Addr) }, nil
	}
	scheme, rest, ok := strings.Cut(o.Addr, "://")
	if !ok {
		return nil, fmt.Errorf("%q is not an address. One looks like %q or %q", o.Addr, "unix:///run/buildkit/buildkitd.sock", "tcp://host:1234")
	}
	switch scheme {
	case "unix", "tcp":
		if rest == "" {
			return nil, fmt.Errorf("the address %q names no place", o.Addr)
		}
		var d net.Dialer
		return func(ctx context.Context) (net.Conn, error) { return d.DialContext(ctx, scheme, rest) }, nil
	}
	if o.TLS.isSet() {
		return nil, fmt.Errorf("TLS files are given, but only tcp:// uses them")
	}
	h, err := connhelper.GetConnectionHelper(o.Addr)
	if err != nil {
		return nil, err
	}
	if h == nil {
		return nil, fmt.Errorf("%s:// is not a way to a daemon. There are unix, tcp, docker-container, podman-container, nerdctl-container, kube-pod and ssh", scheme)
	}
	return func(ctx context.Context) (net.Conn, error) { return h.ContextDialer(ctx, o.Addr) }, nil
}
