package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/kilnbuild/kiln/exec/buildkit"
	"github.com/kilnbuild/kiln/internal/docker"
)

// The Docker Engine as builder: "docker" is the one that the docker command
// would use, "docker://NAME" or just NAME a context, "docker://ADDRESS" one
// at an address.

// dockerBuilder is how the Docker Engine is named as a builder.
const dockerBuilder = "docker"

// dockerSettings are what the environment says of Docker Engines.
func (a *app) dockerSettings() docker.Settings {
	return docker.Settings{
		Dir:       a.dockerConfig(),
		Host:      a.env["DOCKER_HOST"],
		Context:   a.env["DOCKER_CONTEXT"],
		CertPath:  a.env["DOCKER_CERT_PATH"],
		TLSVerify: a.env["DOCKER_TLS_VERIFY"] != "",
		TLS:       a.env["DOCKER_TLS"] != "",
	}
}

// isDocker reports whether a name of a builder is a Docker Engine's, whatever
// contexts there are. A builder of buildx that is called docker is meant
// where there is one, as with bake.
func (a *app) isDocker(name string) bool {
	return name == dockerBuilder && !a.isBuildx(name) || strings.HasPrefix(name, dockerBuilder+"://")
}

// isBuildx reports whether buildx has a builder of that name.
func (a *app) isBuildx(name string) bool {
	_, err := os.Stat(filepath.Join(a.buildxDir(), "instances", name))
	return err == nil
}

// dockerEndpoint returns where the engine is that a builder's name means.
func (a *app) dockerEndpoint(name string) (docker.Endpoint, error) {
	s := a.dockerSettings()
	rest := strings.TrimPrefix(strings.TrimPrefix(name, dockerBuilder), "://")
	switch {
	case rest == "":
		return s.Default()
	case strings.Contains(rest, "://"), strings.HasPrefix(rest, "/"):
		host, err := docker.ParseHost(rest)
		e := docker.Endpoint{Host: host, From: name}
		if strings.HasPrefix(host, "tcp://") {
			e.TLS = s.EnvTLS()
		}
		return e, err
	}
	return s.Find(rest)
}

// dockerChoice is the choice of a Docker Engine.
func (a *app) dockerChoice(c builderChoice) (builderChoice, error) {
	e, err := a.dockerEndpoint(c.addr)
	if errors.Is(err, docker.ErrNoContext) {
		name := strings.TrimPrefix(c.addr, dockerBuilder+"://")
		return c, usagef("%s: %w%s; `docker context ls` and `kiln builders` list them", c.from, err, didYouMean(name, contextNames(a.dockerSettings())))
	}
	if err != nil {
		return c, usagef("%s: %w", c.from, err)
	}
	c.name, c.docker = c.addr, &e
	c.addr = dockerBuilder + "://" + e.Host
	c.tls = buildkit.TLSFiles{}
	return c, nil
}

func contextNames(s docker.Settings) []string {
	var out []string
	for _, e := range s.Contexts() {
		out = append(out, e.Name)
	}
	return out
}

// namedElsewhere returns the choices that a bare name makes: the nodes of a
// builder of buildx, or the engine of a context of Docker's.
func (a *app) namedElsewhere(c builderChoice) ([]builderChoice, error) {
	if a.isBuildx(c.addr) {
		return a.buildxBuilder(c)
	}
	if e, err := a.dockerSettings().Find(c.addr); err == nil {
		if c.addr == docker.DefaultContext { // what buildx calls the engine that docker uses
			if e, err = a.dockerSettings().Default(); err != nil {
				return nil, usagef("%s: %w", c.from, err)
			}
		}
		c.name, c.docker, c.addr = c.addr, &e, dockerBuilder+"://"+e.Host
		return []builderChoice{c}, nil
	}
	known := append(a.buildxNames(), contextNames(a.dockerSettings())...)
	known = append(known, ownBuilder, dockerBuilder)
	return nil, usagef("%s: %q is neither an address (unix://…, tcp://…, docker-container://…), nor %s or %s, nor a buildx builder, nor a Docker context%s; `kiln builders` lists what there is",
		c.from, c.addr, ownBuilder, dockerBuilder, didYouMean(c.addr, known))
}

// buildxNames are the builders that buildx has, by name.
func (a *app) buildxNames() []string {
	entries, err := os.ReadDir(filepath.Join(a.buildxDir(), "instances"))
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range entries {
		if !e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			out = append(out, e.Name())
		}
	}
	slices.Sort(out)
	return out
}

// loadEngine is the Docker Engine of a Docker context, that images are loaded
// into; "" is the one of the docker command.
func (a *app) loadEngine(ctx context.Context, name string) (buildkit.Engine, error) {
	at, err := a.dockerSettings().Default()
	if name != "" {
		at, err = a.dockerSettings().Find(name)
	}
	if err != nil {
		return buildkit.Engine{}, err
	}
	hello, cancel := context.WithTimeout(ctx, dockerHello)
	defer cancel()
	e, err := docker.Connect(hello, at)
	if err != nil {
		return buildkit.Engine{}, err
	}
	defer e.Close()
	return buildkit.Engine{Name: at.Host, Dial: at.Dial, Containerd: e.Info.Containerd}, nil
}

// dockerHello is how long a Docker Engine may take to say what it is.
const dockerHello = 30 * time.Second

// reachDocker connects to the BuildKit in a Docker Engine.
func (a *app) reachDocker(ctx context.Context, c builderChoice) (*builder, error) {
	hello, cancel := context.WithTimeout(ctx, dockerHello)
	defer cancel()
	e, err := docker.Connect(hello, *c.docker)
	if err != nil {
		return nil, noBuilder(err)
	}
	name := fmt.Sprintf("the Docker Engine %s at %s", e.Info.Version, c.docker.Host)
	if err := unfit(e); err != nil {
		e.Close()
		return nil, noBuilder(err)
	}
	o := buildkit.DialOptions{
		Addr: c.addr, Name: name, Timeout: c.timeout,
		Dialer: func(ctx context.Context, _ string) (net.Conn, error) { return e.BuildKit(ctx) },
		Docker: &buildkit.Docker{
			Version: e.Info.Version, Containerd: e.Info.Containerd, Session: e.Session,
			NoLoad:  isTrue(a.env["BUILDX_NO_DEFAULT_LOAD"]),
			Actions: a.env["ACTIONS_RUNTIME_TOKEN"] != "",
			Push: func(ctx context.Context, ref string, l buildkit.RegistryLogin) (string, error) {
				return e.Push(ctx, ref, docker.Login(l))
			},
		},
		Hint: "The engine's log may say why; then build again, or name another builder",
	}
	b, err := a.dial(ctx, o, name, e.Close)
	if err != nil {
		e.Close()
		return nil, err
	}
	return b, nil
}

// unfit says why an engine cannot build, nil if it can.
func unfit(e *docker.Engine) error {
	switch {
	case e.Info.Podman:
		return fmt.Errorf("at %s is Podman, which answers like a Docker Engine but has no BuildKit in it. Build with kiln's own engine (--builder kiln) and load the images (kiln load)", e.Endpoint.Host)
	case e.Info.OS != "" && e.Info.OS != "linux":
		return fmt.Errorf("the Docker Engine at %s runs containers of %s, for which it has no BuildKit. Switch it to Linux containers, or build with kiln's own engine (--builder kiln)", e.Endpoint.Host, e.Info.OS)
	}
	return nil
}

// buildsInDocker reports whether a Docker Engine would build.
func (a *app) buildsInDocker(b builderFlags) bool {
	choices, err := a.choose(b)
	return err == nil && hasDocker(choices)
}

// hasDocker reports whether a Docker Engine is among the choices.
func hasDocker(choices []builderChoice) bool {
	return slices.ContainsFunc(choices, func(c builderChoice) bool { return c.docker != nil })
}
