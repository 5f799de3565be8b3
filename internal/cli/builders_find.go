package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kilnbuild/kiln/exec/buildkit"
	"github.com/kilnbuild/kiln/internal/docker"
	"github.com/kilnbuild/kiln/internal/engine"
)

// The kinds of builders.
const (
	kindOwn      = "kiln"
	kindDocker   = "docker"
	kindBuildx   = "buildx"
	kindBuildKit = "buildkit"
	kindPodman   = "podman"
)

// A foundBuilder is a row with how to reach it.
type foundBuilder struct {
	builderRow
	choice builderChoice
}

// findBuilders lists what may build, the chosen ones among them. Nothing is
// connected to.
func (a *app) findBuilders(chosen []builderChoice) []*foundBuilder {
	out := []*foundBuilder{{builderRow: builderRow{Name: ownBuilder, Kind: kindOwn, Images: "kiln's image store"}}}
	out = append(out, a.findDockers()...)
	for _, name := range a.buildxNames() {
		nodes, err := a.buildxBuilder(builderChoice{addr: name, from: name})
		if err != nil {
			out = append(out, &foundBuilder{builderRow: builderRow{Name: name, Kind: kindBuildx, State: stateUnusable, Problem: err.Error()}})
			continue
		}
		for _, n := range nodes {
			_, node, _ := strings.Cut(n.name, "/")
			out = append(out, &foundBuilder{builderRow: builderRow{Name: name, Node: node, Kind: kindBuildx, Address: n.addr, Platforms: n.platforms}, choice: n})
		}
	}
	for _, path := range a.sockets("buildkit/buildkitd.sock") {
		addr := "unix://" + path
		out = append(out, &foundBuilder{builderRow: builderRow{Name: addr, Kind: kindBuildKit, Address: addr}, choice: builderChoice{addr: addr}})
	}
	for _, path := range a.sockets("podman/podman.sock") {
		addr := "unix://" + path
		out = append(out, &foundBuilder{
			builderRow: builderRow{Name: "podman", Kind: kindPodman, Address: addr},
			choice:     builderChoice{addr: addr, docker: &docker.Endpoint{Host: addr}},
		})
	}
	for _, c := range chosen {
		i := slices.IndexFunc(out, func(f *foundBuilder) bool { return f.choice.addr == c.addr })
		if i < 0 {
			kind := kindBuildKit
			if c.docker != nil {
				kind = kindDocker
			}
			out = append(out, &foundBuilder{builderRow: builderRow{Name: c.label(), Kind: kind, Address: c.addr}})
			i = len(out) - 1
		}
		out[i].Chosen, out[i].choice = true, c
	}
	return out
}

// findDockers lists the Docker Engine that the docker command would use, as
// "docker", then other contexts, then engines that no context names.
func (a *app) findDockers() []*foundBuilder {
	s := a.dockerSettings()
	var out []*foundBuilder
	add := func(name string, e docker.Endpoint) {
		if slices.ContainsFunc(out, func(f *foundBuilder) bool { return f.Address == e.Host }) {
			return
		}
		out = append(out, &foundBuilder{
			builderRow: builderRow{Name: name, Kind: kindDocker, Address: e.Host},
			choice:     builderChoice{addr: dockerBuilder + "://" + e.Host, name: name, docker: &e},
		})
	}
	e, err := s.Default()
	if err != nil {
		out = append(out, &foundBuilder{builderRow: builderRow{Name: dockerBuilder, Kind: kindDocker, State: stateUnusable, Problem: err.Error()}})
	} else if e.Host != docker.DefaultHost || isSocket(docker.DefaultHost) || s.Host != "" {
		add(dockerBuilder, e)
	}
	for _, c := range s.Contexts() {
		if c.Name != docker.DefaultContext || isSocket(c.Host) {
			add(c.Name, c)
		}
	}
	for _, path := range a.sockets("docker.sock") {
		add(dockerBuilder+"://"+path, docker.Endpoint{Host: "unix://" + path})
	}
	return out
}

// isSocket reports whether an address is a socket that is there.
func isSocket(addr string) bool {
	path, ok := strings.CutPrefix(addr, "unix://")
	if !ok {
		return false
	}
	fi, err := os.Stat(path)
	return err == nil && fi.Mode()&os.ModeSocket != 0
}

// sockets returns where a service listens, for all users and for this one.
func (a *app) sockets(name string) []string {
	var out []string
	for _, dir := range []string{a.env["XDG_RUNTIME_DIR"], "/run"} {
		if path := filepath.Join(dir, name); dir != "" && isSocket("unix://"+path) {
			out = append(out, path)
		}
	}
	return out
}

// probeAll asks all builders how they are, at once.
func (a *app) probeAll(ctx context.Context, found []*foundBuilder, limit time.Duration) error {
	eg := &errgroup.Group{}
	for _, f := range found {
		eg.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, limit)
			defer cancel()
			if f.State == "" {
				a.probe(ctx, f, limit)
			}
			return nil
		})
	}
	_ = eg.Wait() // none returns an error
	return context.Cause(ctx)
}

// probe fills in how a builder is.
func (a *app) probe(ctx context.Context, f *foundBuilder, limit time.Duration) {
	switch {
	case f.Kind == kindOwn:
		a.probeOwn(ctx, f)
	case f.choice.docker != nil:
		probeDocker(ctx, f)
	default:
		a.probeBuildKit(ctx, f, limit)
	}
}

func (a *app) probeOwn(ctx context.Context, f *foundBuilder) {
	o, err := a.engineOptions()
	if err != nil {
		f.State, f.Problem = stateUnusable, err.Error()
		return
	}
	s, err := engine.Query(ctx, o)
	switch {
	case err != nil:
		f.State, f.Problem = stateUnusable, err.Error()
	case s.Running && !s.Healthy:
		f.State, f.Problem = stateUnusable, s.Problem
	case !s.Running:
		f.State, f.Problem = stateIdle, s.Problem
	default:
		f.State, f.BuildKit, f.Address = stateReady, s.BuildKit, "unix://"+s.Socket
	}
}

func probeDocker(ctx context.Context, f *foundBuilder) {
	e, err := docker.Connect(ctx, *f.choice.docker)
	if err != nil {
		f.State, f.Problem = stateUnreachable, err.Error()
		return
	}
	defer e.Close()
	f.State = stateReady
	if err := unfit(e); err != nil {
		f.State, f.Problem = stateUnusable, err.Error()
		if e.Info.Podman {
			f.Kind = kindPodman
		}
		return
	}
	f.Version, f.Images = e.Info.Version, e.Info.Store()
	f.Platforms = []string{e.Info.OS + "/" + e.Info.Arch}
}

func (a *app) probeBuildKit(ctx context.Context, f *foundBuilder, limit time.Duration) {
	c := f.choice
	conn, err := buildkit.Dial(ctx, buildkit.DialOptions{Addr: c.addr, TLS: c.tls, Timeout: limit})
	if err != nil {
		f.State, f.Problem = stateUnreachable, err.Error()
		if errors.Is(err, context.DeadlineExceeded) {
			f.Problem = fmt.Sprintf("it does not answer within %s: %v", limit, err)
		}
		return
	}
	defer conn.Close()
	f.State, f.BuildKit = stateReady, conn.Version()
	for _, p := range conn.Platforms() {
		if !slices.Contains(f.Platforms, p) {
			f.Platforms = append(f.Platforms, p)
		}
	}
	f.Images = "the builder's cache"
}
