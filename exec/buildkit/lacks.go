package buildkit

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/apicaps"
	digest "github.com/opencontainers/go-digest"
)

// Old daemons. What a Dockerfile says can be newer than the daemon that is to
// do it. A daemon skips fields of a step that it does not know, and would
// build something else; so it is told here, with the place in the Dockerfile.

// A lackingError says that a step needs what the daemon cannot do.
type lackingError struct{ cap apicaps.CapID }

func (e *lackingError) Error() string {
	return fmt.Sprintf("the BuildKit of the builder is too old for this: it lacks %q. Take a newer builder, or build with kiln's own engine (--builder kiln)", e.cap)
}

// unsupported returns an error for the first step of a definition that a
// daemon with these capabilities cannot do as it is meant.
func unsupported(def *pb.Definition, caps apicaps.CapSet) error {
	if caps.Supports(pb.CapFileCopyIncludeExcludePatterns) == nil && caps.Supports(pb.CapExecSecretEnv) == nil {
		return nil // as new as the newest that is looked for below
	}
	for _, dt := range def.GetDef() {
		dgst := digest.FromBytes(dt).String()
		need, err := needs(dt, def.Metadata[dgst])
		if err != nil {
			return err
		}
		for _, id := range need {
			if caps.Supports(id) != nil {
				return located(def, dgst, &lackingError{id})
			}
		}
	}
	return nil
}

// needs lists the capabilities that a step takes, sorted. Those of file
// operations are missing in what BuildKit's client notes for each step.
func needs(dt []byte, md *pb.OpMetadata) ([]apicaps.CapID, error) {
	var out []apicaps.CapID
	for id, yes := range md.GetCaps() {
		if yes {
			out = append(out, apicaps.CapID(id))
		}
	}
	var op pb.Op
	if err := op.UnmarshalVT(dt); err != nil {
		return nil, fmt.Errorf("read LLB: %w", err)
	}
	for _, a := range op.GetFile().GetActions() {
		c := a.GetCopy()
		switch {
		case c == nil:
		case len(c.RequiredPaths) > 0:
			out = append(out, pb.CapFileCopyRequiredPaths)
		case len(c.IncludePatterns)+len(c.ExcludePatterns) > 0:
			out = append(out, pb.CapFileCopyIncludeExcludePatterns)
		case c.ModeStr != "":
			out = append(out, pb.CapFileCopyModeStringFormat)
		}
	}
	slices.Sort(out)
	return out, nil
}

// located adds the place in the Dockerfile, where the definition knows it.
func located(def *pb.Definition, dgst string, err error) error {
	for _, loc := range def.GetSource().GetLocations()[dgst].GetLocations() {
		if i := int(loc.SourceIndex); i < len(def.Source.Infos) {
			return errdefs.WithSource(err, &errdefs.Source{Info: def.Source.Infos[i], Ranges: loc.Ranges})
		}
	}
	return err
}

// forgotten reports whether a daemon says that it does not know a build with
// these outputs, and that can be begun again. Either it was asked for something
// before the build had begun, or for its status after it had ended. Both happen
// to a busy daemon that keeps no records.
func forgotten(err error, entries []client.ExportEntry) bool {
	if err == nil || !strings.Contains(err.Error(), "no such job") {
		return false
	}
	here := slices.ContainsFunc(entries, func(e client.ExportEntry) bool { return e.Output != nil || e.OutputDir != "" })
	return !here || strings.Contains(err.Error(), "forwarding Ping") // before anything was written
}

// mostForgotten is how often a build is begun that the daemon has forgotten.
const mostForgotten = 4

// again calls begin until the daemon has not forgotten the build.
func again(entries []client.ExportEntry, begin func() error) error {
	var err error
	for range mostForgotten {
		if err = begin(); !forgotten(err, entries) {
			break
		}
	}
	return err
}

// errOneExport is told where an old daemon would need several builds for the
// outputs of one.
var errOneExport = errors.New("the BuildKit of the builder is too old for several outputs of a target with a frontend of its own, attestations or entitlements; name one output, or build with kiln's own engine (--builder kiln)")
