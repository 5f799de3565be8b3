package cli

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/spf13/cobra"

	"github.com/kilnbuild/kiln/config"
)

// explainCommand is `kiln explain`: where values came from.
func explainCommand(a *app) *cobra.Command {
	var d definitionFlags
	var asJSON bool
	c := &cobra.Command{
		Use:   "explain NAME[.ATTRIBUTE[.KEY]]...",
		Short: "Say where the values of a target came from",
		Long: `Say of each attribute of a target what set it: targets that it inherits from,
later files, variants, --set, and the variables, --var and environment variables
in each expression, with file and line; which of them won, and by which rule of
merging. Maps are told by key, and lists that several places add to by entry.

NAME is a target, a group or a variable; target.NAME, group.NAME and var.NAME
say which, where one name is several. With an attribute, a group stands for its
targets. A * marks what won. Secrets are not shown.`,
		Example: "  kiln explain api\n  kiln explain api.args.GO_VERSION --var GO_VERSION=1.27\n  kiln explain var.TAG",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("kiln explain: name a target, group or variable; `kiln list` has them")
			}
			return nil
		},
		ValidArgsFunction: func(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
			return a.targetNames(c.Context(), d), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error {
			e, err := a.explained(c.Context(), d, args)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(a.Out, e)
			}
			return e.print(a.Out, a.width(a.Out))
		},
	}
	d.register(c.Flags())
	c.Flags().BoolVar(&asJSON, "json", false, "print a JSON object")
	return c
}

// explained is the flow of `kiln explain`.
func (a *app) explained(ctx context.Context, d definitionFlags, args []string) (*explained, error) {
	cfg, trace, err := a.trace(ctx, d)
	if err != nil {
		return nil, err
	}
	x := &explainer{cfg: cfg, trace: trace, out: &explained{Version: 1, Targets: []explainedTarget{}, Groups: []explainedGroup{}, Variables: []explainedVariable{}}}
	for _, arg := range args {
		if err := x.add(arg); err != nil {
			return nil, err
		}
	}
	x.out.hide(a)
	return x.out, nil
}

// trace is load, of a definition whose values can be traced back.
func (a *app) trace(ctx context.Context, d definitionFlags) (*config.Config, *config.Trace, error) {
	files, in, err := a.sources(ctx, d)
	if err != nil {
		return nil, nil, a.definitionError(err, files)
	}
	cfg, trace, diags := config.LoadTrace(files, in)
	a.tell(diags, files)
	if diags.HasErrors() {
		return nil, nil, &exitError{code: codeUsage, err: diags, told: true}
	}
	return cfg, trace, nil
}

// An explained definition is what `kiln explain` says, in its JSON form;
// fields are only ever added. Values are JSON.
type (
	explained struct {
		Version   int                 `json:"version"`
		Targets   []explainedTarget   `json:"targets"`
		Groups    []explainedGroup    `json:"groups"`
		Variables []explainedVariable `json:"variables"`
	}
	explainedTarget struct {
		Name string `json:"name"`
		where
		Label      string               `json:"label"` // of the block; differs from the name for an instance
		Variant    string               `json:"variant,omitempty"`
		Inherits   []string             `json:"inherits"`
		Groups     []string             `json:"groups"`
		Attributes []explainedAttribute `json:"attributes"`

		whole bool // no attribute was named
	}
	explainedAttribute struct {
		Name  string          `json:"name"`
		Type  string          `json:"type"`
		Rule  string          `json:"rule,omitempty"`
		Set   bool            `json:"set"`
		Value json.RawMessage `json:"value,omitempty"`
		// Resolved is a context as a path from the working directory, where
		// that is another than the value.
		Resolved string           `json:"resolved,omitempty"`
		Default  string           `json:"default,omitempty"` // in words
		Layers   []explainedLayer `json:"layers"`            // lowest first
		Entries  []explainedEntry `json:"entries,omitempty"`
	}
	explainedLayer struct {
		Kind string `json:"kind"`
		Of   string `json:"of"` // the target or variable that it belongs to
		By   string `json:"by"` // the block, flag or environment variable
		where
		Expression string           `json:"expression,omitempty"`
		Value      json.RawMessage  `json:"value,omitempty"`
		Result     string           `json:"result"` // won, part, covered, null
		Inputs     []explainedInput `json:"inputs,omitempty"`
	}
	explainedEntry struct {
		Key   string          `json:"key,omitempty"`
		Value json.RawMessage `json:"value"`
		// Resolved is likewise.
		Resolved string                `json:"resolved,omitempty"`
		Layers   []explainedEntryLayer `json:"layers"` // the last one won
	}
	explainedEntryLayer struct {
		Layer int `json:"layer"` // index among the attribute's
		where
		Expression string           `json:"expression,omitempty"`
		Value      json.RawMessage  `json:"value,omitempty"`
		Inputs     []explainedInput `json:"inputs,omitempty"`
	}
	explainedInput struct {
		Name   string          `json:"name"`
		Value  json.RawMessage `json:"value,omitempty"`
		Origin string          `json:"origin"`
		where
		Inputs []explainedInput `json:"inputs,omitempty"`
	}
	explainedGroup struct {
		Name string `json:"name"`
		where
		Description string            `json:"description,omitempty"`
		Generated   bool              `json:"generated,omitempty"`
		Expression  string            `json:"expression,omitempty"`
		Members     []explainedMember `json:"members"`
		Inputs      []explainedInput  `json:"inputs,omitempty"`
		Groups      []string          `json:"groups"`            // that list it
		Covered     []where           `json:"covered,omitempty"` // earlier blocks of the name
	}
	explainedMember struct {
		Name string `json:"name"`
		where
	}
	explainedVariable struct {
		Name        string           `json:"name"`
		Description string           `json:"description,omitempty"`
		Type        string           `json:"type,omitempty"`
		Value       json.RawMessage  `json:"value"`
		Layers      []explainedLayer `json:"layers"`
		Uses        []explainedUse   `json:"uses"`
	}
	explainedUse struct {
		By        string `json:"by"`
		Attribute string `json:"attribute,omitempty"`
		where
	}
	// where is a place: a line of a file, or nothing.
	where struct {
		File string `json:"file,omitempty"`
		Line int    `json:"line,omitempty"`
	}
)

func placed(r hcl.Range) where {
	if r.Start.Line == 0 {
		return where{}
	}
	return where{r.Filename, r.Start.Line}
}

// An explainer answers one command line.
type explainer struct {
	cfg   *config.Config
	trace *config.Trace
	out   *explained
}

// add explains what one argument names.
func (x *explainer) add(arg string) error {
	kind, rest := "", arg
	if first, after, ok := strings.Cut(arg, "."); ok && slices.Contains([]string{"target", "group", "var", "variable"}, first) && x.cfg.Target(first) == nil && x.cfg.Group(first) == nil {
		kind, rest = first, after
	}
	name, attr, _ := strings.Cut(rest, ".")
	attr, key, _ := strings.Cut(attr, ".")
	if attr != "" && !slices.ContainsFunc(config.Attributes(), func(d config.AttributeDoc) bool { return d.Name == attr }) {
		var names []string
		for _, d := range config.Attributes() {
			names = append(names, d.Name)
		}
		return usagef("%s: targets have no attribute %q%s", arg, attr, didYouMean(attr, names))
	}
	switch {
	case (kind == "" || kind == "target") && x.cfg.Target(name) != nil:
		return x.target(x.cfg.Target(name), attr, key)
	case (kind == "" || kind == "group") && x.cfg.Group(name) != nil:
		return x.group(x.cfg.Group(name), attr, key)
	case kind == "" || strings.HasPrefix(kind, "var"):
		if v := x.trace.Variable(name); v != nil && attr == "" {
			x.variable(v)
			return nil
		}
	}
	return x.unknown(kind, name)
}

func (x *explainer) unknown(kind, name string) error {
	var names []string
	if kind == "" || kind == "target" {
		for _, t := range x.cfg.Targets {
			names = append(names, t.Name)
		}
	}
	if kind == "" || kind == "group" {
		for _, g := range x.cfg.Groups {
			names = append(names, g.Name)
		}
	}
	if kind == "" || strings.HasPrefix(kind, "var") {
		names = append(names, x.trace.Variables()...)
	}
	what := map[string]string{"": "target, group or variable", "target": "target", "group": "group"}[kind]
	if what == "" {
		what = "variable"
	}
	return usagef("there is no %s %q%s; `kiln list` shows what there is", what, name, didYouMean(name, names))
}

func (x *explainer) target(t *config.Target, attr, key string) error {
	out := explainedTarget{
		Name: t.Name, where: placed(t.DeclRange), Label: t.Label, Variant: t.Variant,
		Inherits: orEmpty(x.trace.Parents(t.Name)), Groups: orEmpty(x.trace.MemberOf(t.Name)),
		whole: attr == "", Attributes: []explainedAttribute{},
	}
	traces := x.trace.Attributes(t.Name)
	if attr != "" {
		traces = []*config.AttributeTrace{x.trace.Attribute(t.Name, attr)}
	}
	for _, tr := range traces {
		one := attributeView(tr)
		one.resolve(t)
		if key != "" {
			if err := one.narrow(t.Name, key); err != nil {
				return err
			}
		}
		out.Attributes = append(out.Attributes, one)
	}
	if n := len(x.out.Targets); n > 0 && x.out.Targets[n-1].Name == t.Name && !out.whole && !x.out.Targets[n-1].whole {
		x.out.Targets[n-1].Attributes = append(x.out.Targets[n-1].Attributes, out.Attributes...)
		return nil
	}
	x.out.Targets = append(x.out.Targets, out)
	return nil
}

// resolve notes where the contexts of a target are.
func (e *explainedAttribute) resolve(t *config.Target) {
	from := func(s config.Source, value json.RawMessage) string {
		var written string
		if local, ok := s.(config.Local); ok && json.Unmarshal(value, &written) == nil && local.Path != written {
			return local.Path
		}
		return ""
	}
	switch e.Name {
	case "context":
		if e.Set {
			e.Resolved = from(t.Context, e.Value)
		}
	case "contexts":
		for i := range e.Entries {
			for _, c := range t.Contexts {
				if c.Name == e.Entries[i].Key {
					e.Entries[i].Resolved = from(c.From, e.Entries[i].Value)
				}
			}
		}
	}
}

// narrow leaves one key of a map.
func (e *explainedAttribute) narrow(target, key string) error {
	var names []string
	for _, entry := range e.Entries {
		if entry.Key == key {
			e.Entries = []explainedEntry{entry}
			return nil
		}
		names = append(names, entry.Key)
	}
	names = slices.DeleteFunc(names, func(n string) bool { return n == "" })
	if len(names) == 0 {
		return usagef("%s of target %s has no keys", e.Name, target)
	}
	return usagef("%s of target %s has no %q%s; there are %s", e.Name, target, key, didYouMean(key, names), strings.Join(names, ", "))
}

// group explains a group, or with an attribute each of its targets.
func (x *explainer) group(g *config.Group, attr, key string) error {
	if attr != "" {
		before := len(x.out.Targets)
		var wrong error // of the first that does not have the key
		for _, name := range x.members(g, map[string]bool{}) {
			if err := x.target(x.cfg.Target(name), attr, key); err != nil && wrong == nil {
				wrong = err
			}
		}
		if len(x.out.Targets) > before {
			return nil
		}
		return wrong
	}
	tr := x.trace.Group(g.Name)
	out := explainedGroup{
		Name: g.Name, where: placed(g.DeclRange), Description: g.Description, Generated: g.Generated,
		Expression: tr.Expr, Inputs: inputViews(tr.Inputs), Groups: orEmpty(tr.In), Members: []explainedMember{},
	}
	for i, m := range g.Members {
		out.Members = append(out.Members, explainedMember{m, placed(g.MemberRange[i])})
	}
	for _, r := range tr.Covered {
		out.Covered = append(out.Covered, placed(r))
	}
	x.out.Groups = append(x.out.Groups, out)
	return nil
}

// members lists the targets in a group and the groups in it.
func (x *explainer) members(g *config.Group, seen map[string]bool) []string {
	seen[g.Name] = true
	var out []string
	for _, m := range g.Members {
		if x.cfg.Target(m) != nil {
			if !seen["target "+m] {
				seen["target "+m] = true
				out = append(out, m)
			}
		} else if inner := x.cfg.Group(m); inner != nil && !seen[m] {
			out = append(out, x.members(inner, seen)...)
		}
	}
	return out
}

func (x *explainer) variable(v *config.VariableTrace) {
	out := explainedVariable{Name: v.Name, Description: v.Description, Type: v.Type, Value: orNull(v.Value), Layers: layerViews(v.Layers), Uses: []explainedUse{}}
	for _, u := range v.Uses {
		out.Uses = append(out.Uses, explainedUse{u.By, u.Attr, placed(u.Range)})
	}
	x.out.Variables = append(x.out.Variables, out)
}

func attributeView(tr *config.AttributeTrace) explainedAttribute {
	out := explainedAttribute{Name: tr.Name, Type: tr.Type, Rule: tr.Rule, Set: tr.Set, Value: tr.Value, Default: tr.Default, Layers: layerViews(tr.Layers)}
	for _, e := range tr.Entries {
		entry := explainedEntry{Key: e.Key, Value: e.Value, Layers: []explainedEntryLayer{}}
		for _, l := range e.Layers {
			entry.Layers = append(entry.Layers, explainedEntryLayer{l.Layer, placed(l.Range), l.Expr, l.Value, inputViews(l.Inputs)})
		}
		out.Entries = append(out.Entries, entry)
	}
	return out
}

func layerViews(layers []config.UsedLayer) []explainedLayer {
	out := []explainedLayer{}
	for _, l := range layers {
		out = append(out, explainedLayer{string(l.Kind), l.Owner, l.Block, placed(l.Range), l.Expr, l.Value, string(l.Result), inputViews(l.Inputs)})
	}
	return out
}

func inputViews(in []config.Input) []explainedInput {
	var out []explainedInput
	for _, i := range in {
		out = append(out, explainedInput{i.Name, i.Value, i.Origin, placed(i.Range), inputViews(i.Inputs)})
	}
	return out
}

func orEmpty(ss []string) []string {
	if ss == nil {
		return []string{}
	}
	return ss
}

func orNull(raw json.RawMessage) json.RawMessage {
	if raw == nil {
		return json.RawMessage("null")
	}
	return raw
}
