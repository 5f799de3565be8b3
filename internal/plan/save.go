package plan

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/graph"
	"github.com/kilnbuild/kiln/internal/diag"
)

// A Build is what a saved plan is built from. Its targets are those of the
// plan, resolved: neither build files nor the environment change them.
type Build struct {
	Requested []string `json:"requested"` // names of the targets whose outputs are wanted
	// Definition holds the targets, for kiln alone: its form may change with Version.
	Definition json.RawMessage `json:"definition"`
	// Files are what the plan rests on: Dockerfiles and lists of what is left
	// out of contexts, by path. If one is another now, the plan is not built.
	Files []SavedFile `json:"files"`
	// Withheld are values that look like secrets. Whoever builds gives them,
	// in environment variables of the same names.
	Withheld []Withheld `json:"withheld"`
	Commit   string     `json:"commit,omitempty"` // of the work tree that the plan was made in
}

// A SavedFile is a file and what was in it.
type SavedFile struct {
	Path   string `json:"path"`   // relative to the working directory, or absolute
	Digest string `json:"digest"` // "sha256:" and 64 hex digits; "" is a file that is not there
}

// A Withheld is a value that is not in a saved plan.
type Withheld struct {
	Target string `json:"target"`
	Attr   string `json:"attr"` // "args" or "labels"
	Key    string `json:"key"`
}

// A savedTarget is a config.Target as JSON: the fields that an encoder would
// not bring back are in a form of their own.
type savedTarget struct {
	config.Target
	Context  savedSource
	Contexts []savedContext
	Deferred hcl.Diagnostics `json:"-"`
}

type savedSource struct{ Kind, Value string }

type savedContext struct {
	Name  string
	From  savedSource
	Text  string
	Range hcl.Range
}

// ErrSecret is returned by Save, wrapped, for a target that a plan cannot
// hold without a secret.
var ErrSecret = errors.New("a saved plan holds no secrets")

// Save adds to p, which was made of g, what is needed to build it. Hide is as
// in Input.
func (p *Plan) Save(g *graph.Graph, commit string, hide func(string) string) error {
	b := &Build{Requested: []string{}, Files: []SavedFile{}, Withheld: []Withheld{}, Commit: commit}
	var all []savedTarget
	for _, n := range g.Nodes() {
		if n.Requested {
			b.Requested = append(b.Requested, n.Name())
		}
		t := *n.Target
		t.DependsOn = nil // names as they were resolved
		for _, before := range n.After {
			t.DependsOn = append(t.DependsOn, config.Ref{Name: before.Name(), Range: n.Target.DeclRange})
		}
		t.Args = b.withhold(&t, "args", t.Args, hide)
		t.Labels = b.withhold(&t, "labels", t.Labels, hide)
		saved := encode(&t)
		if err := checkSecrets(saved, hide); err != nil {
			return err
		}
		all = append(all, saved)
	}
	var err error
	if b.Definition, err = json.Marshal(all); err != nil {
		return err
	}
	for _, t := range p.Targets {
		for _, f := range t.restsOn() {
			if !slices.Contains(b.Files, f) {
				b.Files = append(b.Files, f)
			}
		}
	}
	slices.SortFunc(b.Files, func(a, b SavedFile) int { return strings.Compare(a.Path, b.Path) })
	p.Build = b
	return nil
}

// restsOn are the files that decide what a target is built by. A list of what
// is left out that is not there could come to be there.
func (t *Target) restsOn() []SavedFile {
	var out []SavedFile
	d := t.Dockerfile
	if d.Where == "local" && d.Digest != "" {
		out = append(out, SavedFile{d.Path, d.Digest}, SavedFile{d.Path + ".dockerignore", ""})
	}
	if c := t.Contexts[0]; c.Type == "local" {
		out = append(out, SavedFile{path.Join(c.From, ".dockerignore"), ""})
	}
	for i := range out {
		if out[i].Path == d.Ignore {
			out[i].Digest = d.IgnoreDigest
			return out[:i+1] // those after it do not count
		}
	}
	return out
}

// withhold takes out what looks like a secret.
func (b *Build) withhold(t *config.Target, attr string, kvs []config.KeyValue, hide func(string) string) []config.KeyValue {
	m := &maker{Input: Input{Hide: hide}}
	var out []config.KeyValue
	for _, kv := range kvs {
		if _, secret := m.value(kv.Key, kv.Value); secret {
			b.Withheld = append(b.Withheld, Withheld{t.Name, attr, kv.Key})
			kv.Value = ""
		}
		out = append(out, kv)
	}
	return out
}

// checkSecrets refuses a target with secrets elsewhere.
func checkSecrets(t savedTarget, hide func(string) string) error {
	for _, s := range append([]savedContext{{Name: "context", From: t.Context}}, t.Contexts...) {
		if diag.Redact(s.From.Value) != s.From.Value {
			return fmt.Errorf("target %q reads the context %s, whose address has a password in it: %w; leave the password to git's credentials, or to a secret", t.Name, diag.Redact(s.From.Value), ErrSecret)
		}
	}
	data, err := json.Marshal(t)
	if err != nil {
		return err
	}
	if hide(string(data)) != string(data) {
		return fmt.Errorf("target %q has the value of a variable of the environment that looks like a secret, in another attribute than args and labels: %w; make it a secret of the target", t.Name, ErrSecret)
	}
	return nil
}

func encode(t *config.Target) savedTarget {
	s := savedTarget{Target: *t, Context: encodeSource(t.Context)}
	for _, c := range t.Contexts {
		s.Contexts = append(s.Contexts, savedContext{c.Name, encodeSource(c.From), c.Text, c.Range})
	}
	return s
}

// decode returns the target; an error if it is none of kiln's.
func (s savedTarget) decode() (*config.Target, error) {
	t := s.Target
	t.Contexts = nil
	if t.Context = s.Context.decode(); t.Context == nil || t.Name == "" {
		return nil, fmt.Errorf("target %q has no context", t.Name)
	}
	for _, c := range s.Contexts {
		from := c.From.decode()
		if from == nil {
			return nil, fmt.Errorf("target %q has no context %q", t.Name, c.Name)
		}
		t.Contexts = append(t.Contexts, config.NamedSource{Name: c.Name, From: from, Text: c.Text, Range: c.Range})
	}
	return &t, nil
}

func encodeSource(s config.Source) savedSource {
	switch s := s.(type) {
	case nil:
		return savedSource{"local", "."}
	case config.Local:
		return savedSource{"local", s.Path}
	case config.Remote:
		return savedSource{"remote", s.URL}
	case config.Image:
		return savedSource{"image", s.Ref}
	case config.FromTarget:
		return savedSource{"target", s.Target}
	case config.Layout:
		return savedSource{"layout", s.Ref}
	case config.Stored:
		return savedSource{"store", s.Ref}
	}
	return savedSource{}
}

func (s savedSource) decode() config.Source {
	switch s.Kind {
	case "local":
		return config.Local{Path: s.Value}
	case "remote":
		return config.Remote{URL: s.Value}
	case "image":
		return config.Image{Ref: s.Value}
	case "target":
		return config.FromTarget{Target: s.Value}
	case "layout":
		return config.Layout{Ref: s.Value}
	case "store":
		return config.Stored{Ref: s.Value}
	}
	return nil
}

// Read reads a plan, saved or not. An error says what the bytes are not.
func Read(data []byte) (*Plan, error) {
	var head struct {
		Version int
		Kind    string
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return nil, fmt.Errorf("it is no plan, but %w", err)
	}
	switch {
	case head.Kind != Kind:
		return nil, errors.New("it is JSON, but no plan of kiln's")
	case head.Version != Version:
		return nil, fmt.Errorf("it is a plan of version %d, and this kiln knows version %d; make it again with this kiln, or build it with the one that made it", head.Version, Version)
	}
	p := &Plan{}
	if err := json.Unmarshal(data, p); err != nil {
		return nil, fmt.Errorf("the plan is broken: %w", err)
	}
	return p, nil
}

// Config returns the definition that a saved plan builds. Withheld values are
// looked up by lookup; those it does not have are in the error.
func (b *Build) Config(lookup func(string) (string, bool)) (*config.Config, error) {
	var saved []savedTarget
	if err := json.Unmarshal(b.Definition, &saved); err != nil {
		return nil, fmt.Errorf("the plan is broken: %w", err)
	}
	cfg := &config.Config{}
	for _, s := range saved {
		t, err := s.decode()
		if err != nil {
			return nil, fmt.Errorf("the plan is broken: %w", err)
		}
		cfg.Targets = append(cfg.Targets, t)
	}
	var lacking []string
	for _, w := range b.Withheld {
		v, ok := lookup(w.Key)
		t := cfg.Target(w.Target)
		if !ok || t == nil {
			if text := fmt.Sprintf("%s (%s of %s)", w.Key, w.Attr, w.Target); !slices.Contains(lacking, text) {
				lacking = append(lacking, text)
			}
			continue
		}
		kvs := t.Args
		if w.Attr == "labels" {
			kvs = t.Labels
		}
		for i := range kvs {
			if kvs[i].Key == w.Key {
				kvs[i].Value = v
			}
		}
	}
	if len(lacking) > 0 {
		return nil, fmt.Errorf("the plan holds no secrets, and the environment does not have them either: set %s", strings.Join(lacking, ", "))
	}
	return cfg, nil
}
