package buildkit

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/hashicorp/hcl/v2"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/apicaps"

	"github.com/kilnbuild/kiln/config"
)

// A daemon can be the BuildKit within a Docker Engine. Images then go into the
// engine, by an exporter that only it has, and an engine that keeps images in
// its own store, not containerd's, can do less than BuildKit alone. What it
// can't is told here, from what the engine itself says of its store and its
// BuildKit's capabilities. See docs/decisions/0019-docker-as-builder.md.

// Docker is the engine that a daemon is part of.
type Docker struct {
	Version string // "20.10.24"
	// Containerd says that images are in containerd's store.
	Containerd bool
	// NoLoad keeps an image without an output in the build cache; else it
	// goes into the engine.
	NoLoad bool
	// Actions says that the cache of GitHub's runners is at hand; without it
	// caches of type gha are left out.
	Actions bool
	// Session opens a connection on which the daemon asks kiln.
	Session func(ctx context.Context, proto string, meta map[string][]string) (net.Conn, error)
	// Push sends an image of the engine's own store to its registry, and
	// returns its digest there.
	Push func(ctx context.Context, ref string, login RegistryLogin) (digest string, err error)
	// HostGateway is the address by which steps reach the engine's machine; ""
	// if it tells of none. Dial sets it.
	HostGateway string
	// Caps are the IDs of what the daemon's LLB can say, sorted. Dial sets them.
	Caps []string
}

// A RegistryLogin is who somebody is at a registry; the zero value is nobody.
type RegistryLogin struct {
	Username, Password, IdentityToken, RegistryToken, ServerAddress string
}

// mobyExporter puts an image into the engine. Both kinds of engine have it.
const mobyExporter = "moby"

// classic reports whether d is an engine with its own image store.
func (d *Docker) classic() bool { return d != nil && !d.Containerd }

// can reports whether the engine's BuildKit has a capability.
func (d *Docker) can(id apicaps.CapID) bool {
	_, ok := slices.BinarySearch(d.Caps, string(id))
	return ok
}

// single reports whether a build can have one exporter only.
func (d *Docker) single() bool { return d != nil && !d.can(pb.CapMultipleExporters) }

// ask learns the capabilities of the engine's BuildKit, which it tells within
// a build only.
func (d *Docker) ask(ctx context.Context, c *client.Client) error {
	_, err := c.Build(ctx, client.SolveOpt{Internal: true}, "kiln", func(_ context.Context, gw gateway.Client) (*gateway.Result, error) {
		caps := gw.BuildOpts().LLBCaps
		for _, id := range dockerCaps {
			if caps.Supports(id) == nil {
				d.Caps = append(d.Caps, string(id))
			}
		}
		slices.Sort(d.Caps)
		return nil, nil
	}, nil)
	return err
}

// hostGatewayLabel is where a Docker Engine's worker tells its host gateway.
const hostGatewayLabel = "org.mobyproject.buildkit.worker.moby.host-gateway-ip"

// gateway is what "host-gateway" means in extra-hosts; "" outside of a Docker
// Engine, and in one that tells of none.
func (d *Docker) gateway() string {
	if d == nil {
		return ""
	}
	return d.HostGateway
}

// dockerCaps are the capabilities that engines are asked about.
var dockerCaps = []apicaps.CapID{pb.CapExecMetaUlimit, pb.CapExecMetaLinuxResources, pb.CapDiffOp, pb.CapMergeOp, pb.CapMultipleExporters, pb.CapSourceOCILayout, pb.CapSourcePolicy}

// engine names the engine in messages.
func (d *Docker) engine() string { return "the Docker Engine " + d.Version }

const (
	containerdStore = `the engine use the containerd image store ("features": {"containerd-snapshotter": true} in its daemon.json; Docker 24 and later)`
	withContainerd  = "Have " + containerdStore + ", or build with kiln's own engine (--builder kiln)."
	withNewer       = "Take a newer Docker Engine, or build with kiln's own engine (--builder kiln)."
)

// docker turns outputs into those that a Docker Engine has, and tells what
// the engine cannot do.
func (l *lowering) docker() {
	d := l.o.Docker
	if d == nil || l.t.Call != "" && l.t.Call != "build" {
		return
	}
	l.intoEngine()
	l.dockerFiles()
	l.dockerCaches()
	l.dockerSources()
	if !d.Containerd {
		l.classicImage()
	}
	if len(l.t.Ulimits) > 0 && !d.can(pb.CapExecMetaUlimit) {
		l.wrong("ulimits", "Ulimits not supported", "the BuildKit in %s knows no ulimits, and would build without them. %s", d.engine(), withNewer)
	}
	if l.t.Resources != nil && !d.can(pb.CapExecMetaLinuxResources) {
		l.wrong("resources", "Resources not supported", "the BuildKit in %s limits no resources of steps, and would build without limits. %s", d.engine(), withNewer)
	}
}

// intoEngine has all image outputs made by one exporter, under all names: an
// engine of before BuildKit 0.13 runs one exporter a build.
func (l *lowering) intoEngine() {
	var out []Export
	into := -1
	for _, e := range l.req.Exports {
		if e.Type != client.ExporterImage && (e.Type != client.ExporterDocker || e.Dest != "") {
			out = append(out, e)
			continue
		}
		attrs := maps.Clone(e.Attrs)
		delete(attrs, "unpack") // an image of the engine can be run
		if into < 0 {
			into = len(out)
			out = append(out, Export{Type: mobyExporter, Attrs: attrs})
			continue
		}
		have := out[into].Attrs
		all := slices.Concat(names(have["name"]), names(attrs["name"]))
		maps.Copy(have, attrs)
		if len(all) > 0 {
			slices.Sort(all)
			have["name"] = strings.Join(slices.Compact(all), ",")
		}
	}
	l.req.Exports = out
}

// engineImage is the output that goes into the engine, nil if none does.
func (l *lowering) engineImage() *Export {
	i := slices.IndexFunc(l.req.Exports, func(e Export) bool { return e.Type == mobyExporter })
	if i < 0 {
		return nil
	}
	return &l.req.Exports[i]
}

// dockerFiles refuses outputs that only the containerd store has.
func (l *lowering) dockerFiles() {
	if l.o.Docker.Containerd {
		return
	}
	for _, e := range l.req.Exports {
		if e.Type == client.ExporterOCI || e.Type == client.ExporterDocker {
			l.wrong("output", "Output not supported", "%s keeps images in a store of its own, from which BuildKit writes no output of type %q. Leave the output out and use `docker save`, or: %s",
				l.o.Docker.engine(), e.Type, withContainerd)
		}
	}
}

// classicImage tells what an image in the engine's own store lacks.
func (l *lowering) classicImage() {
	d, image := l.o.Docker, l.engineImage()
	for _, a := range l.t.Attest {
		if !a.Disabled && len(l.req.Exports) > 0 {
			l.wrong("attest", "Attestations not supported", "%s keeps images in a store of its own, which holds no attestations (%s). %s", d.engine(), a.Type, withContainerd)
		}
	}
	if image == nil {
		return
	}
	if p := l.req.Attrs["platform"]; strings.Contains(p, ",") {
		l.wrong("platforms", "Several platforms not supported", "%s keeps images in a store of its own, which holds no image of several platforms (%s). %s", d.engine(), p, withContainerd)
	}
	if len(l.t.Annotations) > 0 {
		l.wrong("annotations", "Annotations not supported", "%s keeps images in a store of its own, which holds no annotations. %s", d.engine(), withContainerd)
	}
	if byDigest, _ := strconv.ParseBool(image.Attrs["push-by-digest"]); byDigest {
		l.wrong("output", "Push by digest not supported", "%s pushes images of its own store by their tags only. %s", d.engine(), withContainerd)
	}
}

// dockerCaches refuses caches that the engine cannot write.
func (l *lowering) dockerCaches() {
	d := l.o.Docker
	kinds, remedy := []string{"inline"}, withContainerd
	if d.Containerd {
		kinds, remedy = []string{"inline", "registry", "local", "gha"}, "Build with kiln's own engine (--builder kiln), or with another BuildKit."
	}
	for _, c := range l.req.CacheTo {
		if slices.Contains(kinds, c.Type) || c.Type == "gha" && !d.Actions {
			continue
		}
		l.wrong("cache-to", "Cache not supported", "the BuildKit in %s writes no cache of type %q; it writes %s. %s", d.engine(), c.Type, strings.Join(kinds, ", "), remedy)
	}
}

// dockerSources refuses what the engine cannot read, and policies that an old
// one would not enforce.
func (l *lowering) dockerSources() {
	d := l.o.Docker
	layouts := d.Containerd && d.can(pb.CapSourceOCILayout)
	for _, c := range l.t.Contexts {
		_, isLayout := c.From.(config.Layout)
		_, isStored := c.From.(config.Stored)
		if (isLayout || isStored) && !layouts {
			rng := c.Range
			l.diags = append(l.diags, &hcl.Diagnostic{
				Severity: hcl.DiagError, Summary: "Context not supported", Subject: &rng,
				Detail: fmt.Sprintf("Target %q: the context %q is %s, and the BuildKit in %s reads neither OCI layouts nor kiln's store. %s", l.t.Name, c.Name, c.From, d.engine(), withContainerd),
			})
		}
	}
	if len(l.req.Policies) > 0 && !d.can(pb.CapSourcePolicy) {
		l.wrong("policy", "Policy not supported", "the BuildKit in %s enforces no source policy. %s", d.engine(), withNewer)
	}
	// The daemon's own frontend reads the Dockerfile where it is not here.
	_, remote := l.t.Context.(config.Remote)
	if remote && len(l.t.Contexts) > 0 && l.req.Frontend == builtin && !d.can(pb.CapMergeOp) {
		l.wrong("contexts", "Contexts not supported", "the Dockerfile is read by the frontend in %s, which knows no named contexts. Name one that does in the argument BUILDKIT_SYNTAX (docker/dockerfile:1). Or: %s", d.engine(), withNewer)
	}
}

// checkEngine refuses what a Docker Engine would drop of what all targets are
// built with.
func (s *Solver) checkEngine() error {
	d := s.opt.Lower.Docker
	if d != nil && s.opt.Policy != "" && !d.can(pb.CapSourcePolicy) {
		return fmt.Errorf("the source policy %s: the BuildKit in %s enforces none. %s", s.opt.Policy, d.engine(), withNewer)
	}
	return nil
}

// maxDockerExports is how many exports run at once in a Docker Engine, which
// forgets the status of a build as soon as that has ended.
const maxDockerExports = 4

// exportsAtOnce is how many exports a daemon is asked for at once.
func exportsAtOnce(d *Docker) int64 {
	if d != nil {
		return maxDockerExports
	}
	return maxExports
}

// pushFromEngine sends an image that the engine has to the registry, where
// the exporter has not done so.
func (o *outputs) pushFromEngine(ctx context.Context, e *output) ([]string, error) {
	refs := names(e.Attrs["name"])
	for _, ref := range refs {
		login, err := o.s.creds.login(ref)
		if err != nil {
			return nil, err
		}
		digest, err := o.s.conn.docker.Push(ctx, ref, login)
		if err != nil {
			return nil, err
		}
		o.pushed = cmp.Or(o.pushed, digest)
	}
	return refs, nil
}

// asPushed returns an exporter's answer with the digest in the registry, as
// other builders answer; the engine's own is that of the configuration.
func (o *outputs) asPushed(resp map[string]string) map[string]string {
	resp = maps.Clone(resp)
	if resp[exptypes.ExporterImageConfigDigestKey] == "" {
		resp[exptypes.ExporterImageConfigDigestKey] = resp[exptypes.ExporterImageDigestKey]
	}
	resp[exptypes.ExporterImageDigestKey] = o.pushed
	return resp
}

// login returns who the user is at the registry of an image.
func (c *credentials) login(ref string) (RegistryLogin, error) {
	tag, err := name.ParseReference(ref)
	if err != nil {
		return RegistryLogin{}, err
	}
	who, err := c.logins.Resolve(tag.Context())
	if err != nil {
		return RegistryLogin{}, err
	}
	a, err := who.Authorization()
	if err != nil {
		return RegistryLogin{}, err
	}
	return RegistryLogin{a.Username, a.Password, a.IdentityToken, a.RegistryToken, tag.Context().RegistryStr()}, nil
}
