package buildkit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/config"
)

// A Dockerfile is what can be said of a target's Dockerfile by reading it.
// The zero value is one that is not on this machine.
type Dockerfile struct {
	Digest string // of its text, "sha256:" and 64 hex digits
	// Ignore is the file with what is left out of the context, absolute; "" if
	// there is none. IgnoreDigest is that of its text.
	Ignore, IgnoreDigest string
	Frontend             string   // image that reads it; "" is BuildKit's own
	Stage                string   // name or number of the stage that is built; "" is not known
	Stages               []string // all there are, likewise
	// FromArgs are the arguments that decide what it is built from, with their
	// values, in the order of their declaration.
	FromArgs []config.KeyValue

	stages []stage // that the built one needs, in the order of the file
	copies []int   // lines of COPY and ADD with a variable in the name of a file
}

// A Base is an image or named context that a Dockerfile builds from, or
// copies from.
type Base struct {
	Ref       string   // as the Dockerfile has it, with the values of arguments; in full where it is looked up
	Pinned    bool     // by a digest
	Platforms []string // that it is looked up for, sorted; nil where that is not known
	Line      int      // of the first use in the Dockerfile; 0 if a named context brings it in
	Context   string   // the named context that is read in its place; "" is none
	Stored    string   // digest of the image of kiln's store that is read, having that name; "" is none
}

// A stage is a stage of a Dockerfile.
type stage struct {
	name     string // or its number
	line     int    // of its FROM
	replaced bool   // by a named context of its name
	uses     []use
	needs    []int // stages before it
}

// A use is a place where a stage names something that is no stage before it.
type use struct {
	ref  string
	line int
	// platforms are what it is read for, where that is not the target's.
	platforms []string
}

// dockerfileOf reads what a job has of a Dockerfile.
func (s *Solver) dockerfileOf(j *job) Dockerfile {
	d := Dockerfile{}
	if j.source == nil {
		return d
	}
	d.Digest = digestOf(j.source)
	d.findIgnore(s, j)
	ast, err := parser.Parse(bytes.NewReader(j.source))
	if err != nil {
		return d // the frontend tells of it
	}
	stages, meta, err := instructions.Parse(ast.AST, nil)
	if err != nil {
		return d
	}
	r := &stageReader{req: j.req, lex: shell.NewLex(ast.EscapeToken), env: s.metaArgs(j), targets: s.targetsOf(j), used: map[string]bool{}}
	for i := range stages {
		d.Stages = append(d.Stages, stageName(stages, i))
	}
	r.declare(meta)
	at, ok := targetStage(stages, j.req.Attrs["target"])
	if !ok {
		return d // likewise
	}
	d.Stage = stageName(stages, at)
	all := make([]stage, len(stages))
	for i := range stages {
		all[i] = r.read(stages, i)
	}
	for i := range reachable(all, at) {
		d.stages = append(d.stages, all[i])
		for name := range r.argsOf(stages[i]) {
			r.used[name] = true
		}
	}
	d.FromArgs = r.fromArgs()
	d.copies = variableCopies(stages)
	return d
}

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// findIgnore looks for the Dockerfile's own list, and then for the context's.
func (d *Dockerfile) findIgnore(s *Solver, j *job) {
	var names []string
	if j.req.Inline == "" {
		names = append(names, s.abs(j.req.Dockerfile)+".dockerignore")
	}
	if dir := j.mounts["context"]; dir != nil {
		names = append(names, filepath.Join(dir.root, ".dockerignore"))
	}
	for _, name := range names {
		if data, err := os.ReadFile(name); err == nil {
			d.Ignore, d.IgnoreDigest = name, digestOf(data)
			return
		}
	}
}

func stageName(stages []instructions.Stage, i int) string {
	if stages[i].Name != "" {
		return stages[i].Name
	}
	return strconv.Itoa(i)
}

// targetStage finds the stage of a name or number; "" is the last.
func targetStage(stages []instructions.Stage, name string) (int, bool) {
	if name == "" {
		return len(stages) - 1, len(stages) > 0
	}
	if i, ok := instructions.HasStage(stages, name); ok {
		return i, true
	}
	i, err := strconv.Atoi(name)
	return i, err == nil && i >= 0 && i < len(stages)
}

// A stageReader knows the arguments that FROM may use.
type stageReader struct {
	req      *Request
	targets  []ocispec.Platform // that are built
	lex      *shell.Lex
	env      metaArgs
	declared []config.KeyValue
	feeds    map[string][]string // arguments in the default of another
	used     map[string]bool
}

// metaArgs are the arguments before the first FROM, by name.
type metaArgs map[string]string

// Get implements shell.EnvGetter.
func (e metaArgs) Get(name string) (string, bool) { v, ok := e[name]; return v, ok }

// Keys implements shell.EnvGetter.
func (e metaArgs) Keys() []string { return slices.Sorted(maps.Keys(e)) }

// buildsOn is the platform of the machine that builds.
func (s *Solver) buildsOn() ocispec.Platform {
	if p, err := platforms.Parse(s.opt.Lower.Platform); err == nil && s.opt.Lower.Platform != "" {
		return platforms.Normalize(p)
	}
	return platforms.DefaultSpec()
}

// targetsOf are the platforms that a job is built for, at least one.
func (s *Solver) targetsOf(j *job) []ocispec.Platform {
	var out []ocispec.Platform
	for text := range strings.SplitSeq(j.req.Attrs["platform"], ",") {
		if p, err := platforms.Parse(text); err == nil && text != "" {
			out = append(out, p)
		}
	}
	if len(out) == 0 {
		out = append(out, s.buildsOn())
	}
	return out
}

// targetArgs are the arguments that every Dockerfile has of a platform that it
// is built for.
func targetArgs(p ocispec.Platform) metaArgs {
	return metaArgs{"TARGETPLATFORM": platforms.Format(p), "TARGETOS": p.OS, "TARGETARCH": p.Architecture, "TARGETVARIANT": p.Variant}
}

// metaArgs are the arguments that every Dockerfile has, for the first platform.
func (s *Solver) metaArgs(j *job) metaArgs {
	own := s.buildsOn()
	env := metaArgs{"BUILDPLATFORM": platforms.Format(own), "BUILDOS": own.OS, "BUILDARCH": own.Architecture, "BUILDVARIANT": own.Variant}
	maps.Copy(env, targetArgs(s.targetsOf(j)[0]))
	for name := range env {
		if v, ok := j.req.Attrs["build-arg:"+name]; ok {
			env[name] = v
		}
	}
	return env
}

// declare takes the arguments before the first FROM.
func (r *stageReader) declare(meta []instructions.ArgCommand) {
	r.feeds = map[string][]string{}
	for _, cmd := range meta {
		for _, arg := range cmd.Args {
			value, given := r.req.Attrs["build-arg:"+arg.Key]
			switch {
			case given:
			case arg.Value != nil:
				res, err := r.lex.ProcessWordWithMatches(*arg.Value, r.env)
				if err != nil {
					continue // told by the frontend
				}
				value = res.Result
				r.feeds[arg.Key] = slices.Sorted(maps.Keys(res.Matched))
			default:
				if _, builtin := r.env[arg.Key]; builtin {
					continue
				}
			}
			r.env[arg.Key] = value
			r.declared = append(slices.DeleteFunc(r.declared, func(kv config.KeyValue) bool { return kv.Key == arg.Key }), config.KeyValue{Key: arg.Key, Value: value})
		}
	}
}

// argsOf are the arguments in what a stage is built from.
func (r *stageReader) argsOf(st instructions.Stage) map[string]struct{} {
	out := map[string]struct{}{}
	for _, word := range []string{st.BaseName, st.Platform} {
		if res, err := r.lex.ProcessWordWithMatches(word, r.env); err == nil {
			maps.Copy(out, res.Matched)
		}
	}
	return out
}

// fromArgs are the declared arguments that are used, also by way of another's
// default.
func (r *stageReader) fromArgs() []config.KeyValue {
	var mark func(name string)
	mark = func(name string) {
		r.used[name] = true
		for _, other := range r.feeds[name] {
			if !r.used[other] {
				mark(other)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.used)) {
		mark(name)
	}
	var out []config.KeyValue
	for _, kv := range r.declared {
		if r.used[kv.Key] {
			out = append(out, kv)
		}
	}
	return out
}

// read finds what the i-th stage is made of.
func (r *stageReader) read(stages []instructions.Stage, i int) stage {
	st := stages[i]
	out := stage{name: stageName(stages, i), line: lineOf(st.Location)}
	if out.replaced = st.Name != "" && isContext(r.req, st.Name); out.replaced {
		return out
	}
	base := st.BaseName
	if word, _, err := r.lex.ProcessWord(base, r.env); err == nil {
		base = word
	}
	if at, ok := instructions.HasStage(stages[:i], base); ok {
		out.needs = append(out.needs, at)
	} else {
		out.uses = append(out.uses, use{base, out.line, r.platformsOf(st.Platform)})
	}
	reads := func(from string, find func([]instructions.Stage, string) (int, bool), line int) {
		if at, ok := find(stages, from); ok && from != "" {
			out.needs = append(out.needs, at)
		} else if from != "" {
			out.uses = append(out.uses, use{ref: from, line: line})
		}
	}
	for _, cmd := range st.Commands {
		switch c := cmd.(type) {
		case *instructions.CopyCommand:
			reads(c.From, targetStage, lineOf(c.Location()))
		case *instructions.RunCommand:
			for _, m := range instructions.GetMounts(c) {
				reads(m.From, instructions.HasStage, lineOf(c.Location())) // not by number
			}
		}
	}
	return out
}

// platformsOf are the platforms that --platform of a FROM means, for each
// platform of the target; nil if there is none, or one that cannot be read.
func (r *stageReader) platformsOf(word string) []string {
	if word == "" {
		return nil
	}
	var out []string
	for _, t := range r.targets {
		env := maps.Clone(r.env)
		for name, value := range targetArgs(t) {
			if _, given := r.req.Attrs["build-arg:"+name]; !given {
				env[name] = value
			}
		}
		text, _, err := r.lex.ProcessWord(word, env)
		if err != nil {
			return nil // told by the frontend
		}
		if !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	return out
}

func lineOf(at []parser.Range) int {
	if len(at) == 0 {
		return 0
	}
	return at[0].Start.Line
}

// reachable returns the numbers of the stages that one needs, itself among
// them, in order.
func reachable(all []stage, from int) func(yield func(int) bool) {
	seen := make([]bool, len(all))
	var visit func(int)
	visit = func(i int) {
		if seen[i] {
			return
		}
		seen[i] = true
		for _, n := range all[i].needs {
			visit(n)
		}
	}
	visit(from)
	return func(yield func(int) bool) {
		for i, needed := range seen {
			if needed && !yield(i) {
				return
			}
		}
	}
}

// variableCopies are the lines that copy a file with a variable in its name.
func variableCopies(stages []instructions.Stage) []int {
	var out []int
	for _, st := range stages {
		for _, cmd := range st.Commands {
			var from []string
			switch c := cmd.(type) {
			case *instructions.CopyCommand:
				if c.From == "" {
					from = c.SourcePaths
				}
			case *instructions.AddCommand:
				from = c.SourcePaths
			default:
				continue
			}
			if slices.ContainsFunc(from, func(p string) bool { return strings.Contains(p, "$") }) {
				out = append(out, lineOf(cmd.Location()))
			}
		}
	}
	return out
}

func (d *Dockerfile) copiesVariable(line int) bool { return slices.Contains(d.copies, line) }

// bases brings together what the Dockerfile names and the images that the
// frontend has looked up.
func (d *Dockerfile) bases(req *Request, asked []baseRef) []Base {
	var out []Base
	find := func(ref string) *Base {
		for i := range out {
			if out[i].Ref == ref {
				return &out[i]
			}
		}
		return nil
	}
	for _, st := range d.stages {
		if st.replaced {
			out = append(out, Base{Ref: st.name, Context: replacement(req, st.name), Line: st.line})
			continue
		}
		for _, u := range st.uses {
			full, pinned, ok := fullRef(u.ref)
			switch {
			case strings.EqualFold(u.ref, "scratch") || !ok:
			case isContext(req, u.ref):
				if find(u.ref) == nil {
					out = append(out, Base{Ref: u.ref, Context: replacement(req, u.ref), Line: u.line})
				}
			case find(full) == nil:
				out = append(out, Base{Ref: full, Pinned: pinned, Line: u.line})
			}
		}
	}
	for _, a := range asked {
		full, pinned, _ := fullRef(a.ref)
		b := find(full)
		if b == nil {
			out = append(out, Base{Ref: full, Pinned: pinned})
			b = &out[len(out)-1]
		}
		if a.platform != "" && !slices.Contains(b.Platforms, a.platform) {
			b.Platforms = append(b.Platforms, a.platform)
			slices.Sort(b.Platforms)
		}
	}
	return out
}

// fullRef is a reference with registry and tag.
func fullRef(ref string) (full string, pinned, ok bool) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return ref, false, false
	}
	named = reference.TagNameOnly(named)
	_, pinned = named.(reference.Digested)
	return named.String(), pinned, true
}

// replacement is the named context that is read in the place of what a
// Dockerfile names, as frontends look it up; "" is none.
func replacement(req *Request, ref string) string {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return ""
	}
	name := strings.TrimSuffix(reference.FamiliarString(named), ":latest")
	if _, ok := req.Attrs["context:"+name]; ok {
		return name
	}
	if slices.ContainsFunc(req.Inputs, func(in Input) bool { return in.Name == name }) {
		return name
	}
	if slices.ContainsFunc(req.Layouts, func(l Layout) bool { return l.Name == name }) {
		return name
	}
	return ""
}

func isContext(req *Request, ref string) bool { return replacement(req, ref) != "" }
