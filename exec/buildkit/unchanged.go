package buildkit

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	digest "github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/kilnbuild/kiln/exec"
)

// Unchanged images. To send an image costs many times what it costs to find
// that all its steps are cached, and mostly it is there already. So kiln first
// has the engine make the image without sending it, which yields its digest,
// and looks whether the destination has just that. Nothing is remembered
// between runs: the destination itself is asked each time.
//
// A registry's image carries a provenance of its own, with the time of the
// build. If the image is the same, and so is what the provenance says was
// asked for, the one that is there stands: it tells when the image was really
// built. See docs/decisions/0016-what-is-there-is-not-sent-again.md.

// kept returns the output of a job whose image kiln's store has, under names
// that it then gets if it did not have them.
func (r *sharedResult) kept(ctx context.Context, outs *outputs) (exec.Output, bool) {
	if len(outs.list) != 1 || !outs.list[0].store || len(r.j.req.CacheTo) > 0 {
		return exec.Output{}, false
	}
	resp, err := r.probe(ctx, outs.list[0])
	if err != nil {
		return exec.Output{}, false // the export proper fails, too, and says why
	}
	refs, err := outs.keep(ctx, resp)
	if err != nil {
		return exec.Output{}, false // a blob is not there
	}
	return exec.Output{Digest: resp[exptypes.ExporterImageDigestKey], Refs: refs, Metadata: resp}, true
}

// probe has the engine make the image of an output, and returns what its
// exporter says of it.
func (r *sharedResult) probe(ctx context.Context, e *output) (map[string]string, error) {
	attrs := map[string]string{}
	for k, v := range e.Attrs {
		if !slices.Contains(notOfTheImage, k) {
			attrs[k] = v
		}
	}
	if attrs["oci-mediatypes"] == "" {
		attrs["oci-mediatypes"] = "true" // as in OCI layouts, and with attestations
	}
	opt := client.SolveOpt{
		Exports:       []client.ExportEntry{{Type: client.ExporterImage, Attrs: attrs}},
		SharedSession: r.s.sess.Session, SessionPreInitialized: true,
	}
	resp, _, err := r.build(ctx, opt)
	return resp, err
}

// notOfTheImage are attributes of exporters that say where an image goes, not
// what is in it.
var notOfTheImage = []string{"name", "push", "unpack", "store", "tar", "dest"}

// A pushedResult is an image for a registry, with the provenance that images
// have by default. It was solved in the shared build, and is built once more,
// by a build of its own that can attest it, if the registry lacks it.
type pushedResult struct {
	*sharedResult
	fed *fed
}

// isChecked reports whether the job's image can be compared with the
// registry's: one platform, one output, no more attestations than those which
// bake makes of itself, nothing that has to be done in any case. It takes
// kiln's own engine, for what another daemon calls by that name may be another
// registry than what kiln does.
func (j *job) isChecked(own bool) bool {
	req := j.req
	if !own || !req.Attested || !onlyDefaultProvenance(req.Attrs) || j.separate() || j.late || j.needed || len(req.Exports) != 1 {
		return false
	}
	_, uncached := req.Attrs["no-cache"]
	e := req.Exports[0]
	push, err := strconv.ParseBool(e.Attrs["push"])
	return err == nil && push && !uncached && req.Call == "" && len(req.CacheTo) == 0 &&
		!strings.Contains(req.Attrs["platform"], ",") && e.Type == client.ExporterImage && hasOnlyNames(e.Attrs)
}

// onlyDefaultProvenance reports whether the only attestation asked for is
// what Lower writes where the target says nothing.
func onlyDefaultProvenance(attrs map[string]string) bool {
	for k, v := range attrs {
		if strings.HasPrefix(k, attestPrefix) && (k != attestPrefix+"provenance" || v != defaultProvenance) {
			return false
		}
	}
	return true
}

// hasOnlyNames reports whether an exporter's attributes say no more than where
// to push to, and how the layers are compressed.
func hasOnlyNames(attrs map[string]string) bool {
	for k := range attrs {
		if k != "name" && k != "push" && k != "unpack" && !strings.Contains(k, "compression") {
			return false
		}
	}
	return attrs["name"] != ""
}

// Export implements [exec.Result].
func (r *pushedResult) Export(ctx context.Context) (exec.Output, error) {
	if out, ok := r.current(ctx); ok {
		return out, nil
	}
	bounded, stop := r.s.bound(ctx)
	defer stop()
	own, err := r.s.solveOwn(bounded, r.j, r.fed, r.s.router.repeating)
	if err != nil {
		return exec.Output{}, r.s.explain(bounded, r.j, err)
	}
	defer own.Close()
	return own.Export(ctx)
}

// current returns the output if the registry has the image, under all names.
func (r *pushedResult) current(ctx context.Context) (exec.Output, bool) {
	ctx, stop := r.s.bound(ctx)
	defer stop()
	if r.s.exports.Acquire(ctx, 1) != nil {
		return exec.Output{}, false
	}
	defer r.s.exports.Release(1)
	outs, err := r.s.outputs(r.j)
	if err != nil {
		return exec.Output{}, false
	}
	refs := names(outs.list[0].Attrs["name"])
	var resp map[string]string
	there := make([]*attested, len(refs))
	eg, ctx := errgroup.WithContext(ctx)
	eg.Go(func() (err error) {
		resp, err = r.probe(ctx, outs.list[0])
		return err
	})
	for i, ref := range refs {
		eg.Go(func() (err error) {
			there[i], err = r.s.creds.lookUp(ctx, ref)
			return err
		})
	}
	if eg.Wait() != nil || len(refs) == 0 {
		return exec.Output{}, false // the export proper fails, too, and says why
	}
	for _, a := range there {
		if a.desc.Digest != there[0].desc.Digest || !a.isOf(r, digest.Digest(resp[exptypes.ExporterImageDigestKey]), len(refs)) {
			return exec.Output{}, false
		}
	}
	return pushedOutput(there[0], refs), true
}

// pushedOutput describes what is in the registry as its exporter would.
func pushedOutput(there *attested, refs []string) exec.Output {
	desc, _ := json.Marshal(there.desc) // strings and numbers always encode
	return exec.Output{
		Digest: there.desc.Digest.String(),
		Refs:   refs,
		Metadata: map[string]string{
			exptypes.ExporterImageDigestKey:     there.desc.Digest.String(),
			exptypes.ExporterImageDescriptorKey: base64.StdEncoding.EncodeToString(desc),
			exptypes.ExporterImageNameKey:       strings.Join(refs, ","),
		},
	}
}

// isOf reports whether the registry has the image of that digest, for one
// platform, under so many names, with one provenance that says what a new one
// of the job would, the time and the build's number aside.
func (a *attested) isOf(r *pushedResult, image digest.Digest, names int) bool {
	first, second, layer := a.index.Manifests[0], a.index.Manifests[1], a.manifest.Layers[0]
	if len(a.index.Annotations) > 0 || first.Digest != image || len(first.Annotations) > 0 ||
		second.Annotations["vnd.docker.reference.digest"] != image.String() ||
		layer.Annotations["in-toto.io/predicate-type"] != provenanceType {
		return false
	}
	var p statement
	return json.Unmarshal(a.statement, &p) == nil && len(p.Subject) == names && r.asks(p)
}

// provenanceType is the predicate of the provenance that BuildKit makes.
const provenanceType = "https://slsa.dev/provenance/v1"

// A statement is an attestation as far as it is compared.
type statement struct {
	Subject   []struct{}
	Predicate struct {
		BuildDefinition struct {
			ExternalParameters struct {
				ConfigSource struct {
					URI, Path string
				}
				Request struct {
					Frontend string
					Args     map[string]string
				}
			}
			InternalParameters struct{ BuildConfig json.RawMessage } // of mode=max
		}
		RunDetails struct {
			Metadata struct {
				BuildKit struct {
					VCS map[string]string
				} `json:"buildkit_metadata"`
			}
		}
	}
}

// asks reports whether a provenance tells of the request that the job would
// send. It has the arguments that provenance with mode=min keeps.
func (r *pushedResult) asks(p statement) bool {
	def := p.Predicate.BuildDefinition
	file := r.j.req.Attrs["filename"]
	args, vcs := map[string]string{}, map[string]string{}
	for k, v := range r.j.attrs(r.fed) {
		name, isVCS := strings.CutPrefix(k, "vcs:")
		switch {
		case isVCS && v != "":
			vcs[name] = v
		case !isVCS && !slices.ContainsFunc(notInProvenance, func(prefix string) bool { return strings.HasPrefix(k, prefix) }):
			args[k] = v
		}
	}
	have := map[string]string{}
	for k, v := range def.ExternalParameters.Request.Args {
		if !strings.HasPrefix(k, "local-sessionid:") {
			have[k] = v
		}
	}
	return def.ExternalParameters.Request.Frontend == builtin && def.InternalParameters.BuildConfig == nil &&
		def.ExternalParameters.ConfigSource.URI == "" && def.ExternalParameters.ConfigSource.Path == file &&
		maps.Equal(have, args) && maps.Equal(p.Predicate.RunDetails.Metadata.BuildKit.VCS, vcs)
}

// notInProvenance are the beginnings of frontend attributes that a provenance
// with mode=min does not have among its arguments: what belongs to the machine,
// and what may be private.
var notInProvenance = []string{"build-arg:", "label:", attestPrefix, "filename", "platform", "image-resolve-mode", "cgroup-parent", "cache-imports"}
