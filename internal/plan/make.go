package plan

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/hashicorp/hcl/v2"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec/buildkit"
	"github.com/kilnbuild/kiln/graph"
	"github.com/kilnbuild/kiln/internal/diag"
)

// Input is what a plan is made of.
type Input struct {
	Dir       string   // working directory, absolute
	Files     []string // build files, by name
	Graph     *graph.Graph
	Foresight *buildkit.Foresight // of the same graph
	Own       bool                // the builder is kiln's own, and images without an output go to its store
	// Hide returns text without the values of secrets that the caller knows;
	// nil changes nothing.
	Hide func(string) string
	// Problems are diagnostics of what would make the build fail; they become warnings.
	Problems hcl.Diagnostics
	Lacking  []Lack
	// Count is how to count what is sent; nil does not.
	Count *Counting
}

// A Lack is a privilege that a build would ask for.
type Lack struct {
	Privilege string // as --allow takes it
	Target    string // that needs it first
	Why       string
}

// New makes a plan. The error is that of ctx.
func New(ctx context.Context, in Input) (*Plan, error) {
	if in.Hide == nil {
		in.Hide = func(s string) string { return s }
	}
	m := &maker{Input: in, waves: map[*graph.Node]int{}}
	p := &Plan{Version: Version, Kind: Kind, Files: list(in.Files), Waves: [][]string{}, Targets: []*Target{}}
	looks := map[string]*buildkit.Outlook{}
	for _, o := range in.Foresight.Outlooks {
		looks[o.Target] = o
	}
	for _, n := range in.Graph.Nodes() {
		t := m.target(n, looks[n.Name()])
		p.Targets = append(p.Targets, t)
		if t.Wave > len(p.Waves) {
			p.Waves = append(p.Waves, nil)
		}
		p.Waves[t.Wave-1] = append(p.Waves[t.Wave-1], t.Name)
	}
	var troubles []error
	if in.Count != nil {
		troubles = m.count(ctx, p)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	p.Warnings = m.warnings(p, troubles)
	return p, nil
}

// A maker makes one plan.
type maker struct {
	Input
	waves map[*graph.Node]int
}

// wave is one more than that of what the node waits for.
func (m *maker) wave(n *graph.Node) int {
	last := 0
	for _, before := range slices.Concat(n.Needs, n.After) {
		last = max(last, m.waves[before])
	}
	m.waves[n] = last + 1
	return last + 1
}

func (m *maker) target(n *graph.Node, o *buildkit.Outlook) *Target {
	t := n.Target
	out := &Target{
		Name: t.Name, Description: m.Hide(t.Description), Variant: t.Variant,
		Declared:  Place{t.DeclRange.Filename, t.DeclRange.Start.Line},
		Links:     Links{Wave: m.wave(n), Requested: n.Requested, Needs: names(n.Needs), After: names(n.After), Needers: names(n.Needers)},
		Contexts:  m.contexts(t),
		Platforms: list(t.Platforms), Tags: []string{}, Outputs: m.outputs(n),
		CacheFrom: m.caches(t.CacheFrom), CacheTo: m.caches(t.CacheTo),
		Args: m.keyValues(t.Args), Labels: m.keyValues(t.Labels),
		Access: m.access(t), Steps: steps(t),
		Bases: []Base{}, Unsure: o.Unsure,
	}
	if t.Label != t.Name {
		out.Label = t.Label
	}
	for _, tag := range t.Tags {
		out.Tags = append(out.Tags, m.Hide(fullTag(tag)))
	}
	if t.Context == nil {
		out.Contexts = slices.Insert(out.Contexts, 0, Context{Type: "local", From: "."})
	}
	m.dockerfile(out, t, o)
	return out
}

// dockerfile fills in what is known of the Dockerfile.
func (m *maker) dockerfile(out *Target, t *config.Target, o *buildkit.Outlook) {
	d := &out.Dockerfile
	d.Where, d.Path = "local", t.Dockerfile
	if _, remote := t.Context.(config.Remote); remote && !strings.HasPrefix(t.Dockerfile, "cwd://") {
		d.Where = "remote"
	}
	if r := o.Request; r != nil {
		d.Path = r.Dockerfile
		if p := strings.Split(r.Attrs["platform"], ","); p[0] != "" {
			out.Platforms = p
		}
	}
	if t.DockerfileInline != "" {
		d.Where, d.Path = "inline", ""
	}
	d.Path = m.shown(d.Path)
	d.Digest, d.Frontend = o.Dockerfile.Digest, o.Dockerfile.Frontend
	d.Stage, d.Stages = o.Dockerfile.Stage, o.Dockerfile.Stages
	if d.Stage == "" {
		d.Stage = t.Stage
	}
	d.FromArgs = nil
	if len(o.Dockerfile.FromArgs) > 0 {
		d.FromArgs = m.keyValues(o.Dockerfile.FromArgs)
	}
	if o.Dockerfile.Ignore != "" {
		d.Ignore, d.IgnoreDigest = relative(m.Dir, o.Dockerfile.Ignore), o.Dockerfile.IgnoreDigest
	}
	for _, b := range o.Bases {
		out.Bases = append(out.Bases, Base{Ref: m.shown(b.Ref), Pinned: b.Pinned, Platforms: b.Platforms, Line: b.Line, Context: b.Context, Stored: b.Stored})
	}
}

// shown returns text without what looks like a secret in it.
func (m *maker) shown(text string) string { return m.Hide(diag.Redact(text)) }

// hidden stands for a value that is not shown.
const hidden = "(hidden)"

// value returns what may be shown of a value, by the name that it has.
func (m *maker) value(name, value string) (shown string, isHidden bool) {
	if value != "" && buildkit.IsSecretName(name) {
		return hidden, true
	}
	shown = m.shown(value)
	return shown, shown != value
}

func (m *maker) keyValues(kvs []config.KeyValue) []KeyValue {
	out := []KeyValue{}
	for _, kv := range kvs {
		v, isHidden := m.value(kv.Key, kv.Value)
		out = append(out, KeyValue{Key: kv.Key, Value: v, Hidden: isHidden, real: kv.Value})
	}
	return out
}

func (m *maker) attrs(kvs []config.KeyValue) map[string]string {
	out := map[string]string{}
	for _, kv := range kvs {
		out[kv.Key], _ = m.value(kv.Key, kv.Value)
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

func (m *maker) caches(in []config.Cache) []Cache {
	out := []Cache{}
	for _, c := range in {
		out = append(out, Cache{Type: c.Type, Attrs: m.attrs(c.Attrs)})
	}
	return out
}

func (m *maker) contexts(t *config.Target) []Context {
	out := []Context{}
	if t.Context != nil {
		out = append(out, m.context("", t.Context))
	}
	for _, c := range t.Contexts {
		out = append(out, m.context(c.Name, c.From))
	}
	return out
}

func (m *maker) context(name string, from config.Source) Context {
	c := Context{Name: name, Type: "local", From: from.String()}
	switch s := from.(type) {
	case config.Local:
		c.From = strings.TrimPrefix(s.Path, "cwd://")
	case config.Remote:
		c.Type = "url"
		if config.IsGit(s.URL) {
			c.Type = "git"
		}
	case config.Image:
		c.Type, c.From = "image", s.Ref
	case config.FromTarget:
		c.Type, c.From = "target", s.Target
	case config.Layout:
		c.Type, c.From = "oci-layout", s.Ref
	case config.Stored:
		c.Type, c.From = "store", s.Ref
	}
	c.From = m.shown(c.From)
	return c
}

// outputs are those that are asked for, and where an image goes without any.
func (m *maker) outputs(n *graph.Node) []Output {
	out := []Output{}
	t := n.Target
	if t.Call != "" && t.Call != "build" {
		return out
	}
	for _, e := range t.Outputs {
		o := Output{Type: e.Type, Dest: m.shown(e.Dest), Attrs: m.attrs(e.Attrs)}
		if e.Type == "cacheonly" {
			o.Type = noOutput
		}
		out = append(out, o)
	}
	switch {
	case len(out) > 0:
	case m.Own:
		out = append(out, Output{Type: "store"})
	default:
		out = append(out, Output{Type: noOutput})
	}
	return out
}

// noOutput is the type of an output that is none.
const noOutput = "none"

func (m *maker) access(t *config.Target) Access {
	a := Access{Secrets: []Secret{}, SSH: []SSH{}, Entitlements: list(t.Entitlements), Network: t.Network}
	for _, s := range t.Secrets {
		from := ""
		switch {
		case s.Env != "":
			from = "env " + s.Env
		case s.Src != "":
			from = "file " + s.Src
		}
		a.Secrets = append(a.Secrets, Secret{s.ID, from})
	}
	for _, s := range t.SSH {
		a.SSH = append(a.SSH, SSH{s.ID, s.Paths})
	}
	return a
}

func steps(t *config.Target) Steps {
	s := Steps{Pull: t.Pull, NoCache: t.NoCache, NoCacheStages: t.NoCacheFilter, Weight: t.Weight}
	if t.Call != "build" {
		s.Call = t.Call
	}
	if t.Timeout > 0 {
		s.Timeout = t.Timeout.Round(time.Millisecond).String()
	}
	for _, a := range t.Attest {
		text := "type=" + a.Type
		for _, kv := range a.Attrs {
			text += "," + kv.Key + "=" + kv.Value
		}
		if a.Disabled {
			text += ",disabled=true"
		}
		s.Attest = append(s.Attest, text)
	}
	return s
}

// count fills in how much is sent, and returns what could not be counted.
func (m *maker) count(ctx context.Context, p *Plan) []error {
	if m.Count.Name == nil {
		m.Count.Name = func(dir string) string { return relative(m.Dir, dir) }
	}
	c := &counter{Counting: *m.Count, known: map[string]*counted{}}
	p.Sends = &Sends{Uploads: []Upload{}}
	byDir := map[string][]*buildkit.Upload{}
	for _, u := range m.Foresight.Uploads {
		byDir[u.Dir] = append(byDir[u.Dir], u)
	}
	whole := share{}
	for _, dir := range slices.Sorted(maps.Keys(byDir)) {
		var all []*counted
		for _, u := range byDir[dir] {
			n := c.whole(ctx, u)
			all = append(all, n)
			up := Upload{Dir: relative(m.Dir, dir), Targets: u.Targets, Amount: n.amount()}
			if c.List {
				up.List = list(n.list)
			}
			p.Sends.Uploads = append(p.Sends.Uploads, up)
		}
		whole.add(together(all))
	}
	p.Sends.Amount = whole.amount()
	p.Sends.Heaviest = nil // each upload has its own
	for i, o := range m.Foresight.Outlooks {
		if o.Request == nil || o.Err != nil {
			continue
		}
		a := m.asked(ctx, c, o).amount()
		p.Targets[i].Sends = &a
	}
	var errs []error
	for _, id := range slices.Sorted(maps.Keys(c.known)) {
		if err := c.known[id].err; err != nil && !slices.ContainsFunc(errs, func(e error) bool { return e.Error() == err.Error() }) {
			errs = append(errs, err)
		}
	}
	return errs
}

// asked is what a target alone asks for. Directories are told apart if there
// are several.
func (m *maker) asked(ctx context.Context, c *counter, o *buildkit.Outlook) share {
	byDir := map[string]share{}
	for _, u := range o.Asks {
		s := byDir[u.Dir]
		s.add(c.part(ctx, u))
		byDir[u.Dir] = s
	}
	var out share
	for _, dir := range slices.Sorted(maps.Keys(byDir)) {
		s := byDir[dir]
		if len(byDir) > 1 {
			s = s.under(relative(m.Dir, dir))
		}
		out.add(s)
	}
	return out
}

func names(nodes []*graph.Node) []string {
	out := []string{}
	for _, n := range nodes {
		out = append(out, n.Name())
	}
	return out
}

// list returns a list that is not nil.
func list[T any](in []T) []T {
	if in == nil {
		return []T{}
	}
	return in
}

// fullTag is a tag with registry and version; what is no tag stays as it is.
func fullTag(tag string) string {
	named, err := reference.ParseNormalizedNamed(tag)
	if err != nil {
		return tag
	}
	return reference.TagNameOnly(named).String()
}

// errorText is what an error has to say to people.
func errorText(err error) string {
	var diags hcl.Diagnostics
	if errors.As(err, &diags) && len(diags) > 0 {
		return diags[0].Detail
	}
	return err.Error()
}
