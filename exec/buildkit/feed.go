package buildkit

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	"github.com/moby/buildkit/solver/pb"

	"github.com/kilnbuild/kiln/exec"
)

// solved is what was built, as a later build can read it: definitions whose
// vertices the daemon holds, and what belongs to them.
type solved struct {
	meta map[string][]byte         // image configurations, platforms and the like
	one  *pb.Definition            // a result without a platform; nil is an empty file system
	refs map[string]*pb.Definition // by platform; nil unless there are several
}

// A held result knows what it holds; both kinds of result do.
type held interface{ holds() *solved }

// fed is what a job gets from the targets it reads.
type fed struct {
	attrs  map[string]string
	inputs map[string]*pb.Definition
	bare   map[string]bool // inputs that are an empty file system
}

// states returns the inputs for a frontend that runs in kiln.
func (f *fed) states() (map[string]llb.State, error) {
	out := make(map[string]llb.State, len(f.inputs))
	for _, name := range slices.Sorted(maps.Keys(f.inputs)) {
		st, err := stateOf(f.inputs[name])
		if err != nil {
			return nil, fmt.Errorf("input %s: %w", name, err)
		}
		out[name] = st
	}
	return out, nil
}

func stateOf(def *pb.Definition) (llb.State, error) {
	if len(def.GetDef()) == 0 {
		return llb.Scratch(), nil
	}
	op, err := llb.NewDefinitionOp(withoutOrigins(def))
	if err != nil {
		return llb.State{}, err
	}
	return llb.NewState(op), nil
}

// withoutOrigins returns def without the definitions by which the Dockerfiles
// were read that its steps are from. Nobody asks for them here, and platforms
// are converted side by side: each would write them into what they share.
func withoutOrigins(def *pb.Definition) *pb.Definition {
	if def.Source == nil {
		return def
	}
	src := &pb.Source{Locations: def.Source.Locations}
	for _, info := range def.Source.Infos {
		src.Infos = append(src.Infos, &pb.SourceInfo{Filename: info.Filename, Data: info.Data, Language: info.Language})
	}
	return &pb.Definition{Def: def.Def, Metadata: def.Metadata, Source: src}
}

// feed turns the results that a job reads into named contexts.
func (s *Solver) feed(j *job, results map[string]exec.Result) (*fed, error) {
	f := &fed{attrs: map[string]string{}, inputs: map[string]*pb.Definition{}, bare: map[string]bool{}}
	for _, in := range j.req.Inputs {
		h, ok := results[in.Target].(held)
		if !ok {
			return nil, fmt.Errorf("the result of %s is not on this daemon", in.Target)
		}
		if err := f.add(j, in, h.holds(), s.conn.Platforms()[0]); err != nil {
			return nil, err
		}
	}
	if d := s.opt.Lower.Docker; d != nil && !d.can(pb.CapDiffOp) {
		return f, nil // an engine without it has no frontend that takes inputs
	}
	return f, f.fill(s.run)
}

func (f *fed) add(j *job, in Input, r *solved, own string) error {
	if r.refs == nil {
		return f.put(in.Name, r.one, r.meta[exptypes.ExporterImageConfigKey])
	}
	wanted := []string{own}
	if p := j.req.Attrs["platform"]; p != "" {
		wanted = strings.Split(p, ",")
	}
	have := slices.Sorted(maps.Keys(r.refs))
	for _, p := range wanted {
		if !slices.Contains(have, p) {
			return fmt.Errorf("it is built for %s, but %s, which it reads as %q, is built for %s only", p, in.Target, in.Name, strings.Join(have, ", "))
		}
	}
	for _, p := range have {
		if err := f.put(in.Name+"::"+p, r.refs[p], r.meta[exptypes.ExporterImageConfigKey+"/"+p]); err != nil {
			return err
		}
	}
	if p := j.req.Attrs["platform"]; p != "" && j.req.Attrs["build-arg:"+multiPlatform] != "" {
		// A part of a target, with parts of others: what it asks for beside
		// these must not be taken for its own, nor for an image of a registry.
		f.attrs["context:"+in.Name] = fmt.Sprintf("input:%s (here it is built for %s; with several builders, a target that is built for several platforms can read another for the same ones only)", in.Name, strings.Join(have, ", "))
		return nil
	}
	if def, ok := r.refs[own]; ok { // for a reader that names no platform
		return f.put(in.Name, def, r.meta[exptypes.ExporterImageConfigKey+"/"+own])
	}
	return nil
}

// put adds one named context. Without its image configuration the input
// would be a bare file system: no ENV, no WORKDIR, no ONBUILD.
func (f *fed) put(name string, def *pb.Definition, config []byte) error {
	if len(def.GetDef()) == 0 {
		f.bare[name] = true
	}
	f.inputs[name] = def
	f.attrs["context:"+name] = "input:" + name
	if config == nil {
		return nil
	}
	meta, err := json.Marshal(map[string][]byte{exptypes.ExporterImageConfigKey: config})
	if err != nil {
		return err
	}
	f.attrs["input-metadata:"+name] = string(meta)
	return nil
}

// fill gives the inputs that are an empty file system a definition, since
// frontends in the daemon take no empty one, and those in kiln are to make
// the same of it: what differs between a directory
// and itself. It has no layer.
func (f *fed) fill(ctx context.Context) error {
	if len(f.bare) == 0 {
		return nil
	}
	st := llb.Scratch().File(llb.Mkdir("/empty", 0o755))
	def, err := llb.Diff(st, st).Marshal(ctx)
	if err != nil {
		return fmt.Errorf("write LLB: %w", err)
	}
	for name := range f.bare {
		f.inputs[name] = def.ToPB()
	}
	return nil
}
