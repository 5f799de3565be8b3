package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"github.com/kilnbuild/kiln/exec/buildkit"
	"github.com/kilnbuild/kiln/internal/engine"
)

// A builderFlags says which BuildKit builds.
type builderFlags struct {
	builder string // --builder: an address, or the name of a buildx builder
	engine  string // --engine: "", "shared" or "in-process"
	tls     buildkit.TLSFiles
}

func (b *builderFlags) register(f *pflag.FlagSet) {
	f.StringVar(&b.builder, "builder", "", "`address` of the BuildKit to use (unix://, tcp://, docker-container://, podman-container://, nerdctl-container://, kube-pod://, ssh://), or the name of a buildx builder; default kiln's own")
	f.StringVar(&b.engine, "engine", "", "how kiln's own BuildKit runs: `shared` (a process that stays a while) or in-process")
	f.StringVar(&b.tls.CA, "tls-ca", "", "`file` with the authority that signed the builder's certificate")
	f.StringVar(&b.tls.Cert, "tls-cert", "", "`file` with the client certificate for the builder")
	f.StringVar(&b.tls.Key, "tls-key", "", "`file` with the key of the client certificate")
	f.StringVar(&b.tls.ServerName, "tls-server-name", "", "`name` to expect in the builder's certificate")
}

// A builderChoice is the builder after flags and environment were weighed.
type builderChoice struct {
	addr      string // "" is kiln's own engine
	from      string // the flag or variable that chose it
	inProcess bool
	tls       buildkit.TLSFiles
	record    string // "builder/node/" for a builder of buildx, else ""
}

// choose weighs the flag, then the environment, then the default.
func (a *app) choose(b builderFlags) (builderChoice, error) {
	c := builderChoice{tls: b.tls}
	for _, s := range []struct{ from, value string }{
		{"--builder", b.builder},
		{"KILN_BUILDER", a.env["KILN_BUILDER"]},
		{"BUILDKIT_HOST", a.env["BUILDKIT_HOST"]},
		{"BUILDX_BUILDER", a.env["BUILDX_BUILDER"]},
	} {
		if s.value != "" {
			c.addr, c.from = s.value, s.from
			break
		}
	}
	mode, from := b.engine, "--engine"
	if mode == "" {
		mode, from = a.env["KILN_ENGINE"], "KILN_ENGINE"
	}
	switch mode {
	case "", "shared":
	case "in-process":
		if c.addr != "" && b.engine != "" && b.builder != "" {
			return c, usagef("--engine=in-process and --builder exclude each other")
		}
		c.inProcess = c.addr == "" || b.engine != "" && b.builder == ""
		if c.inProcess {
			c.addr = ""
		}
	default:
		return c, usagef("%s: no engine is called %q%s; there is shared and in-process", from, mode, didYouMean(mode, []string{"shared", "in-process"}))
	}
	if c.addr != "" && !strings.Contains(c.addr, "://") {
		return a.buildxBuilder(c)
	}
	return c, nil
}

// buildxBuilder turns the name of a buildx builder into the address of its
// first node, as buildx's instance files have it.
func (a *app) buildxBuilder(c builderChoice) (builderChoice, error) {
	dir := a.env["BUILDX_CONFIG"]
	if dir == "" {
		docker := a.env["DOCKER_CONFIG"]
		if docker == "" {
			docker = filepath.Join(a.env["HOME"], ".docker")
		}
		dir = filepath.Join(docker, "buildx")
	}
	data, err := os.ReadFile(filepath.Join(dir, "instances", c.addr))
	if err != nil {
		return c, usagef("%s: %q is neither an address (unix://…, tcp://…, docker-container://…) nor a buildx builder: %w", c.from, c.addr, err)
	}
	var inst struct {
		Driver string
		Nodes  []struct {
			Name, Endpoint string
			DriverOpts     map[string]string
		}
	}
	if err := json.Unmarshal(data, &inst); err != nil || len(inst.Nodes) == 0 {
		return c, usagef("%s: buildx's file of builder %q can't be read; give the builder's address", c.from, c.addr)
	}
	n := inst.Nodes[0]
	name := c.addr
	c.record = name + "/" + n.Name + "/"
	switch inst.Driver {
	case "remote":
		c.addr = n.Endpoint
		c.tls = buildkit.TLSFiles{CA: n.DriverOpts["cacert"], Cert: n.DriverOpts["cert"], Key: n.DriverOpts["key"], ServerName: n.DriverOpts["servername"]}
	case "docker-container":
		c.addr = "docker-container://buildx_buildkit_" + n.Name
	default:
		return c, usagef("%s: builder %q has the %s driver, which kiln does not use; give an address", c.from, name, inst.Driver)
	}
	return c, nil
}

// A builder is a connected BuildKit.
type builder struct {
	conn  *buildkit.Conn
	own   bool   // kiln's own engine
	name  string // for the first line of progress: which builder, and which version
	close func()
}

// connect reaches the chosen builder, starting kiln's own where that is it.
func (a *app) connect(ctx context.Context, c builderChoice) (*builder, error) {
	if c.addr != "" {
		return a.dial(ctx, buildkit.DialOptions{Addr: c.addr, TLS: c.tls, RecordPrefix: c.record}, c.addr, func() {})
	}
	o, err := a.engineOptions()
	if err != nil {
		return nil, err
	}
	start, name := engine.Connect, "kiln's own engine"
	if c.inProcess {
		start, name = engine.InProcess, "kiln's own engine, in this process"
	}
	e, err := start(ctx, o)
	if err != nil {
		return nil, noBuilder(err)
	}
	if e.Note != "" {
		fmt.Fprintln(a.Err, "note:", e.Note)
	}
	b, err := a.dial(ctx, buildkit.DialOptions{Dialer: e.Dial, Name: name, Hint: engineHint(e.Status, engine.Log(o))}, name, e.Close)
	if err != nil {
		e.Close()
		return nil, err
	}
	b.own = true
	return b, nil
}

// engineHint says what can be done about kiln's own engine when it is lost in
// the middle of a run.
func engineHint(s engine.Status, log string) string {
	if s.InProcess {
		return "Build again"
	}
	return fmt.Sprintf("Its process is %d and its log %s; `kiln engine stop --force` ends it, and the next build starts another", s.PID, log)
}

func (a *app) dial(ctx context.Context, o buildkit.DialOptions, name string, end func()) (*builder, error) {
	conn, err := buildkit.Dial(ctx, o)
	if err != nil {
		return nil, noBuilder(err)
	}
	return &builder{
		conn:  conn,
		name:  fmt.Sprintf("%s, BuildKit %s", name, conn.Version()),
		close: func() { conn.Close(); end() },
	}, nil
}
