package buildkit

import (
	"bytes"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/hashicorp/hcl/v2"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// A DockerfileText is what the text of a Dockerfile says, whoever builds it.
type DockerfileText struct {
	Path   string // relative to the working directory or absolute; "" if the build file holds it
	Data   []byte
	Stages []DockerfileStage // none if it cannot be read
	Args   []DockerfileArg   // every ARG, in order
	Adds   []DockerfileAdd   // every source of an ADD that is fetched
	Needs  []DockerfileNeed  // uses of arguments that have no default

	starts []int // of the lines, in Data
}

// A DockerfileStage is one stage.
type DockerfileStage struct {
	Name  string // or its number
	Range hcl.Range
	From  string // base, as written
	Needs []int  // stages before it that it builds on or copies from
}

// A DockerfileArg is the declaration of an argument.
type DockerfileArg struct {
	Name    string
	Stage   int // -1 before the first FROM
	Default bool
	Range   hcl.Range
}

// A DockerfileAdd is a URL that an ADD fetches.
type DockerfileAdd struct {
	URL    string
	Git    bool // it is a repository
	Pinned bool // by --checksum, or by a commit
	Range  hcl.Range
}

// A DockerfileNeed is an instruction that cannot do what it says without the
// value of an argument that has no default.
type DockerfileNeed struct {
	Name        string
	Stage       int    // whose instruction it is
	Instruction string // "FROM", "COPY", …
	Range       hcl.Range
}

// readDockerfile reads a text. One with errors has no stages; the checks tell
// of the errors.
func readDockerfile(path string, data []byte) *DockerfileText {
	d := &DockerfileText{Path: path, Data: data, starts: []int{0}}
	for i, c := range data {
		if c == '\n' {
			d.starts = append(d.starts, i+1)
		}
	}
	ast, err := parser.Parse(bytes.NewReader(data))
	if err != nil {
		return d
	}
	stages, meta, err := instructions.Parse(ast.AST, nil)
	if err != nil {
		return d
	}
	r := &textReader{d: d, global: map[string]bool{}}
	for i := range meta {
		r.args(&meta[i], -1)
	}
	for i := range stages {
		r.stage(stages, i)
	}
	return d
}

// lines is the range of lines, without what is round their text.
func (d *DockerfileText) lines(first, last int) hcl.Range {
	first = min(max(first, 1), len(d.starts))
	last = min(max(last, first), len(d.starts))
	end := len(d.Data)
	if last < len(d.starts) {
		end = d.starts[last]
	}
	from := d.starts[first-1]
	body := bytes.TrimRight(d.Data[from:end], " \t\r\n")
	indent := len(body) - len(bytes.TrimLeft(body, " \t"))
	start := hcl.Pos{Line: first, Column: indent + 1, Byte: from + indent}
	tail := body[bytes.LastIndexByte(body, '\n')+1:]
	return hcl.Range{Filename: d.Path, Start: start, End: hcl.Pos{Line: first + bytes.Count(body, []byte("\n")), Column: len([]rune(string(tail))) + 1, Byte: from + len(body)}}
}

// Stage finds a stage by name or number; "" is the last.
func (d *DockerfileText) Stage(name string) (int, bool) {
	if name == "" {
		return len(d.Stages) - 1, len(d.Stages) > 0
	}
	i := slices.IndexFunc(d.Stages, func(s DockerfileStage) bool { return strings.EqualFold(s.Name, name) })
	if i >= 0 {
		return i, true
	}
	n, err := strconv.Atoi(name)
	return n, err == nil && n >= 0 && n < len(d.Stages)
}

// Reached lists the stages that one is built of, itself among them, in order.
func (d *DockerfileText) Reached(from int) []int {
	all := make([]stage, len(d.Stages))
	for i, s := range d.Stages {
		all[i].needs = s.Needs
	}
	return slices.Collect(reachable(all, from))
}

// Declares reports whether the Dockerfile declares an argument anywhere.
func (d *DockerfileText) Declares(name string) bool {
	return slices.ContainsFunc(d.Args, func(a DockerfileArg) bool { return a.Name == name })
}

// mentions reports whether the value of an argument may matter to the
// Dockerfile's checks.
func (d *DockerfileText) mentions(arg string) bool {
	return strings.HasPrefix(arg, "BUILDKIT_") || bytes.Contains(d.Data, []byte(arg))
}

// isClosed reports whether all that a line's stage has in its environment
// stands in the Dockerfile, as nothing comes from an image.
func (d *DockerfileText) isClosed(line int) bool {
	at := -1
	for i, s := range d.Stages {
		if s.Range.Start.Line <= line {
			at = i
		}
	}
	for at >= 0 {
		from := d.Stages[at].From
		if strings.EqualFold(from, "scratch") {
			return true
		}
		next := slices.IndexFunc(d.Stages[:at], func(s DockerfileStage) bool { return strings.EqualFold(s.Name, from) })
		at = next
	}
	return false
}

// A textReader goes through the instructions.
type textReader struct {
	d      *DockerfileText
	global map[string]bool   // arguments before the first FROM; whether they have a default
	given  map[string]bool   // what has a value in the stage
	all    []map[string]bool // given, of the stages before
	wanted map[string]bool   // arguments of the stage without a default
}

func (r *textReader) args(c *instructions.ArgCommand, stage int) {
	rng := r.rangeOf(c.Location())
	for _, a := range c.Args {
		r.d.Args = append(r.d.Args, DockerfileArg{a.Key, stage, a.Value != nil, rng})
		switch {
		case stage < 0:
			r.global[a.Key] = a.Value != nil
		case a.Value != nil || r.global[a.Key]:
			r.given[a.Key] = true
		case !r.given[a.Key]:
			r.wanted[a.Key] = true
		}
	}
}

func (r *textReader) rangeOf(at []parser.Range) hcl.Range {
	if len(at) == 0 {
		return r.d.lines(1, 1)
	}
	return r.d.lines(at[0].Start.Line, at[len(at)-1].End.Line)
}

func (r *textReader) stage(stages []instructions.Stage, i int) {
	st := stages[i]
	s := DockerfileStage{Name: stageName(stages, i), Range: r.rangeOf(st.Location), From: st.BaseName}
	if at, ok := instructions.HasStage(stages[:i], st.BaseName); ok {
		s.Needs = append(s.Needs, at)
	}
	for _, name := range required(st.BaseName, st.Platform) {
		if hasDefault, ok := r.global[name]; ok && !hasDefault {
			r.d.Needs = append(r.d.Needs, DockerfileNeed{name, i, "FROM", s.Range})
		}
	}
	r.given, r.wanted = map[string]bool{}, map[string]bool{}
	if at, ok := instructions.HasStage(stages[:i], st.BaseName); ok {
		r.given = maps.Clone(r.all[at])
	}
	r.all = append(r.all, r.given)
	for _, cmd := range st.Commands {
		s.Needs = append(s.Needs, r.command(stages, i, cmd)...)
	}
	r.d.Stages = append(r.d.Stages, s)
}

// command reads one instruction, and returns the stages it copies from.
func (r *textReader) command(stages []instructions.Stage, i int, cmd instructions.Command) (from []int) {
	copied := func(name string) {
		if at, ok := targetStage(stages[:i], name); ok && name != "" {
			from = append(from, at)
		}
	}
	rng := r.rangeOf(cmd.Location())
	var words []string
	switch c := cmd.(type) {
	case *instructions.ArgCommand:
		r.args(c, i)
		return nil
	case *instructions.EnvCommand:
		for _, kv := range c.Env { // empty, too, it has a value
			r.given[kv.Key] = true
		}
		return nil
	case *instructions.CopyCommand:
		copied(c.From)
		words = append(slices.Clone(c.SourcePaths), c.DestPath)
	case *instructions.AddCommand:
		r.adds(c, rng)
		words = append(slices.Clone(c.SourcePaths), c.DestPath)
	case *instructions.RunCommand:
		for _, m := range instructions.GetMounts(c) {
			copied(m.From)
		}
	case *instructions.WorkdirCommand:
		words = []string{c.Path}
	case *instructions.UserCommand:
		words = []string{c.User}
	case *instructions.ExposeCommand:
		words = c.Ports
	case *instructions.VolumeCommand:
		words = c.Volumes
	}
	for _, name := range required(words...) {
		if r.wanted[name] && !r.given[name] {
			r.d.Needs = append(r.d.Needs, DockerfileNeed{name, i, strings.ToUpper(cmd.Name()), rng})
		}
	}
	return from
}

// commit is the name of a commit at the end of an address of a repository.
var commit = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?:#|[?&](?:ref|commit|checksum)=)[0-9a-f]{40}(?:[0-9a-f]{24})?(?:[:&]|$)`)
})

var gitAddress = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^(?:git@|git://|ssh://)|^https?://[^?#]+\.git(?:[?#]|$)`)
})

func (r *textReader) adds(c *instructions.AddCommand, rng hcl.Range) {
	for _, src := range c.SourcePaths {
		isGit := gitAddress().MatchString(src)
		if isGit || strings.HasPrefix(src, "http://") || strings.HasPrefix(src, "https://") {
			r.d.Adds = append(r.d.Adds, DockerfileAdd{src, isGit, c.Checksum != "" || isGit && commit().MatchString(src), rng})
		}
	}
}

// variable is a reference in a word, with what follows its name in braces.
var variable = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`\\.|\$(?:\{([A-Za-z_][A-Za-z0-9_]*)(:?.)|([A-Za-z_][A-Za-z0-9_]*))`)
})

// required lists the variables in words that have to have a value: those that
// do not say what holds without one.
func required(words ...string) []string {
	var out []string
	for _, w := range words {
		for _, m := range variable().FindAllStringSubmatch(w, -1) {
			name := m[1] + m[3]
			op := strings.TrimPrefix(m[2], ":")
			if name != "" && op != "-" && op != "+" && !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
	}
	return out
}
