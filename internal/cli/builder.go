package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/pflag"

	"github.com/kilnbuild/kiln/exec/buildkit"
	"github.com/kilnbuild/kiln/internal/diag"
	"github.com/kilnbuild/kiln/internal/docker"
	"github.com/kilnbuild/kiln/internal/engine"
)

// A builderFlags says which BuildKit builds.
type builderFlags struct {
	builders []string // --builder: addresses, or names of buildx builders
	engine   string   // --engine: "", "shared" or "in-process"
	tls      buildkit.TLSFiles
}

func (b *builderFlags) register(f *pflag.FlagSet) {
	f.StringArrayVar(&b.builders, "builder", nil, "`address` of the BuildKit to use (unix://, tcp://, docker-container://, podman-container://, nerdctl-container://, kube-pod://, ssh://), docker for the Docker Engine (docker://CONTEXT or docker://ADDRESS for another), the name of a buildx builder or a Docker context, or kiln for kiln's own, which is the default; repeat it to spread the targets over several")
	f.StringVar(&b.engine, "engine", "", "how kiln's own BuildKit runs: `shared` (a process that stays a while) or in-process")
	f.StringVar(&b.tls.CA, "tls-ca", "", "`file` with the authority that signed the builder's certificate")
	f.StringVar(&b.tls.Cert, "tls-cert", "", "`file` with the client certificate for the builder")
	f.StringVar(&b.tls.Key, "tls-key", "", "`file` with the key of the client certificate")
	f.StringVar(&b.tls.ServerName, "tls-server-name", "", "`name` to expect in the builder's certificate")
}

// A builderChoice is a builder after flags and environment were weighed.
type builderChoice struct {
	addr      string           // "" is kiln's own engine
	name      string           // of the buildx builder and its node, or of a Docker Engine; "" if it is an address
	docker    *docker.Endpoint // nil unless it is a Docker Engine
	from      string           // the flag or variable that chose it
	inProcess bool
	tls       buildkit.TLSFiles
	record    string        // "builder/node/" for a builder of buildx, else ""
	platforms []string      // what the user has kept a node of buildx for; nil leaves it to the daemon
	timeout   time.Duration // for its first answer; 0 is the usual
}

// label is what people know the builder by, among several.
func (c builderChoice) label() string {
	switch {
	case c.name != "":
		return c.name
	case c.addr == "":
		return "kiln"
	}
	return diag.Redact(c.addr)
}

// ownBuilder is how kiln's own engine is named beside other builders.
const ownBuilder = "kiln"

// choose weighs the flag, then the environment, then the default. There is at
// least one choice.
func (a *app) choose(b builderFlags) ([]builderChoice, error) {
	from, names, err := a.namedBuilders(b)
	if err != nil {
		return nil, err
	}
	inProcess, err := a.engineMode(b, &names)
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return []builderChoice{{inProcess: inProcess, tls: b.tls}}, nil
	}
	var out []builderChoice
	for _, name := range names {
		c := builderChoice{addr: name, from: from, tls: b.tls}
		switch tcp := strings.HasPrefix(name, "tcp://"); {
		case tcp:
			c.tls = a.tlsFiles(b.tls)
		case len(names) > 1:
			c.tls = buildkit.TLSFiles{} // they are for those that take them
		}
		switch {
		case name == ownBuilder:
			c.addr, c.inProcess = "", inProcess
			out = append(out, c)
		case a.isDocker(name):
			if c, err = a.dockerChoice(c); err != nil {
				return nil, err
			}
			out = append(out, c)
		case strings.Contains(name, "://"):
			out = append(out, c)
		default:
			nodes, err := a.namedElsewhere(c)
			if err != nil {
				return nil, err
			}
			out = append(out, nodes...)
		}
	}
	seen := map[string]bool{}
	for _, c := range out {
		if seen[c.addr] {
			return nil, usagef("%s names the builder %s twice", from, c.label())
		}
		seen[c.addr] = true
	}
	return out, nil
}

// tlsFiles completes the flags from the environment.
func (a *app) tlsFiles(t buildkit.TLSFiles) buildkit.TLSFiles {
	t.CA = cmp.Or(t.CA, a.env["KILN_TLS_CA"])
	t.Cert = cmp.Or(t.Cert, a.env["KILN_TLS_CERT"])
	t.Key = cmp.Or(t.Key, a.env["KILN_TLS_KEY"])
	t.ServerName = cmp.Or(t.ServerName, a.env["KILN_TLS_SERVER_NAME"])
	return t
}

// namedBuilders returns what the user has named, and where.
func (a *app) namedBuilders(b builderFlags) (from string, names []string, err error) {
	if named := slices.DeleteFunc(slices.Clone(b.builders), func(s string) bool { return s == "" }); len(named) > 0 {
		return "--builder", named, nil
	}
	several := strings.FieldsFunc(a.env["KILN_BUILDERS"], func(r rune) bool { return r == ',' || unicode.IsSpace(r) })
	if len(several) > 0 {
		return "KILN_BUILDERS", several, nil
	}
	for _, name := range []string{"KILN_BUILDER", "BUILDKIT_HOST", "BUILDX_BUILDER"} {
		if v := a.env[name]; v != "" {
			return name, []string{v}, nil
		}
	}
	conf, err := a.userConfig()
	if err != nil || conf == nil {
		return "", nil, err
	}
	return conf.from(), conf.builders, nil
}

// engineMode says whether kiln's own engine is to run in this process. The
// flag --engine means that engine, whatever builders the environment names.
func (a *app) engineMode(b builderFlags, names *[]string) (inProcess bool, err error) {
	mode, from := b.engine, "--engine"
	if mode == "" {
		mode, from = a.env["KILN_ENGINE"], "KILN_ENGINE"
	}
	switch mode {
	case "", "shared":
		return false, nil
	case "in-process":
	default:
		return false, usagef("%s: no engine is called %q%s; there is shared and in-process", from, mode, didYouMean(mode, []string{"shared", "in-process"}))
	}
	switch {
	case slices.Contains(*names, ownBuilder):
	case b.engine != "" && len(b.builders) > 0:
		return false, usagef("--engine=in-process and --builder exclude each other")
	case b.engine != "":
		*names = nil
	}
	return true, nil
}

// buildxBuilder returns the nodes of a buildx builder, as buildx's instance
// files have it.
func (a *app) buildxBuilder(c builderChoice) ([]builderChoice, error) {
	data, err := os.ReadFile(filepath.Join(a.buildxDir(), "instances", c.addr))
	if err != nil {
		return nil, usagef("%s: the buildx builder %q: %w", c.from, c.addr, err)
	}
	var inst struct {
		Driver string
		Nodes  []buildxNode
	}
	if err := json.Unmarshal(data, &inst); err != nil || len(inst.Nodes) == 0 {
		return nil, usagef("%s: buildx's file of builder %q can't be read; give the builder's address", c.from, c.addr)
	}
	var out []builderChoice
	for _, n := range inst.Nodes {
		node := builderChoice{from: c.from, name: c.addr + "/" + n.Name, record: c.addr + "/" + n.Name + "/", platforms: n.platforms()}
		switch inst.Driver {
		case "remote":
			node.addr = n.Endpoint
			node.tls = buildkit.TLSFiles{CA: n.DriverOpts["cacert"], Cert: n.DriverOpts["cert"], Key: n.DriverOpts["key"], ServerName: n.DriverOpts["servername"]}
		case "docker-container":
			node.addr = "docker-container://buildx_buildkit_" + n.Name
			if e := n.Endpoint; e != "" && e != "default" && !strings.Contains(e, "://") { // a context of Docker's
				node.addr += "?context=" + url.QueryEscape(e)
			}
		default:
			return nil, usagef("%s: builder %q has the %s driver, which kiln does not use; give an address", c.from, c.addr, inst.Driver)
		}
		out = append(out, node)
	}
	return out, nil
}

// buildxDir is where buildx keeps its builders.
func (a *app) buildxDir() string {
	if dir := a.env["BUILDX_CONFIG"]; dir != "" {
		return dir
	}
	return filepath.Join(a.dockerConfig(), "buildx")
}

// A buildxNode is a daemon of a buildx builder.
type buildxNode struct {
	Name, Endpoint string
	DriverOpts     map[string]string
	Platforms      []struct {
		OS           string `json:"os"`
		Architecture string `json:"architecture"`
		Variant      string `json:"variant"`
	}
}

// platforms are what `buildx create --platform` has kept the node for.
func (n buildxNode) platforms() []string {
	var out []string
	for _, p := range n.Platforms {
		out = append(out, strings.TrimSuffix(strings.Join([]string{p.OS, p.Architecture, p.Variant}, "/"), "/"))
	}
	return out
}

// A builder is a connected BuildKit.
type builder struct {
	conn  *buildkit.Conn
	own   bool     // kiln's own engine
	name  string   // for the first line of progress: which builder, and which version
	label string   // among several: its name or address
	kept  []string // platforms that the user has kept it for; nil leaves it to the daemon
	// missing, of the first of several, are the labels of those that were
	// not reached.
	missing []string
	close   func()
}

// connect reaches the chosen builder, starting kiln's own where that is it.
func (a *app) connect(ctx context.Context, c builderChoice) (*builder, error) {
	b, err := a.reach(ctx, c)
	if b != nil {
		b.label, b.kept = c.label(), c.platforms
	}
	return b, err
}

func (a *app) reach(ctx context.Context, c builderChoice) (*builder, error) {
	if c.docker != nil {
		return a.reachDocker(ctx, c)
	}
	if c.addr != "" {
		return a.dial(ctx, buildkit.DialOptions{Addr: c.addr, TLS: c.tls, RecordPrefix: c.record, Timeout: c.timeout}, c.addr, func() {})
	}
	o, err := a.engineOptions()
	if err != nil {
		return nil, err
	}
	start, name := engine.Connect, "kiln's own engine"
	if c.inProcess {
		start, name = engine.InProcess, "kiln's own engine, in this process"
	}
	e := a.early.take()
	if e == nil {
		if e, err = start(ctx, o); err != nil {
			return nil, noBuilder(err)
		}
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
		name:  strings.TrimSuffix(fmt.Sprintf("%s, BuildKit %s", name, conn.Version()), ", BuildKit "),
		close: func() { conn.Close(); end() },
	}, nil
}
