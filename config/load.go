package config

import (
	"maps"
	"runtime"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

// Load reads build files, in the order of the command line, into a Config.
// The Config is nil if and only if the diagnostics hold an error.
func Load(files []File, in Inputs) (*Config, hcl.Diagnostics) {
	cfg, _, diags := evaluated(files, in)
	return cfg, diags
}

// evaluated is Load, with the evaluator that has done it.
func evaluated(files []File, in Inputs) (*Config, *evaluator, hcl.Diagnostics) {
	files = slices.DeleteFunc(slices.Clone(files), func(f File) bool { return len(f.Data) == 0 })
	rep := &report{}
	mod := &module{files: map[string]*hcl.File{}}
	p := &parser{mod: mod, rep: rep}
	p.parseFiles(files, in)
	if rep.errors > 0 {
		return nil, nil, rep.sorted(files)
	}
	ev := newEvaluator(mod, in, rep)
	cfg := ev.run()
	diags := rep.sorted(files)
	if rep.errors > 0 {
		return nil, nil, diags
	}
	return cfg, ev, diags
}

func newEvaluator(mod *module, in Inputs, rep *report) *evaluator {
	if in.CmdContext == "" {
		in.CmdContext = "cwd://"
	}
	if in.Platform == "" {
		in.Platform = runtime.GOOS + "/" + runtime.GOARCH
	}
	env := &funcEnv{Now: in.Now, Home: in.Home}
	return &evaluator{
		mod: mod, in: &in, rep: rep,
		meter:    &meter{spent: &env.spent},
		root:     &hcl.EvalContext{Variables: map[string]cty.Value{}, Functions: builtins(env)},
		vars:     map[string]*variable{},
		funcs:    map[string]*userFunc{},
		targets:  map[string]*instance{},
		labels:   map[string]*label{},
		families: map[string][]string{},
		groups:   map[string]*groupDecl{},
		facts:    map[string]fact{},
	}
}

// run goes through the steps that follow parsing. Each finds all the errors
// it can; what depends on something that failed is passed over.
func (ev *evaluator) run() *Config {
	ev.checkIncluded()
	ev.declareVariables()
	ev.declareFunctions()
	ev.checkFunctions()
	for _, b := range ev.mod.variables {
		if v := ev.vars[b.label]; v != nil && v.block == b {
			ev.variable(b.label)
		}
	}
	ev.validate()
	ev.declareGroups()
	e := &expander{ev: ev}
	e.expand(append(ev.composedBlocks(), ev.mod.targets...))
	e.layVariants(ev.mod.variants)
	e.families()
	ev.expanded = true
	if ev.rep.errors == 0 {
		ev.overrides()
	}
	return ev.config(e)
}

// config evaluates all that is left and puts the Config together.
func (ev *evaluator) config(e *expander) *Config {
	cfg := &Config{Files: ev.mod.files, targets: make(map[string]*Target, len(ev.order)), groups: map[string]*Group{}}
	cfg.Targets = make([]*Target, 0, len(ev.order))
	for _, b := range ev.mod.groups {
		if g := ev.groups[b.label]; g.block == b {
			ev.group(g)
		}
	}
	ev.ahead()
	for _, t := range ev.order {
		if out := ev.decode(t); out != nil {
			cfg.Targets = append(cfg.Targets, out)
			cfg.targets[out.Name] = out
		}
	}
	ev.hold(cfg)
	for _, a := range ev.mod.free {
		if ev.known(a.name) {
			ev.variable(a.name)
		}
	}
	cfg.Groups, cfg.Shadowed = ev.allGroups(e)
	for _, g := range cfg.Groups {
		if cfg.groups[g.Name] == nil {
			cfg.groups[g.Name] = g
		}
	}
	cfg.Variables = ev.listVariables()
	if cfg.Variables == nil && ev.mod.native {
		cfg.Variables = []*Variable{}
	}
	for _, b := range ev.mod.functions {
		if f := ev.funcs[b.label]; f != nil && f.block == b {
			cfg.Functions = append(cfg.Functions, &Function{Name: f.name, Params: f.params, Variadic: f.variadic, DeclRange: b.rng})
		}
	}
	return cfg
}

func (ev *evaluator) targetNames() []string { return slices.Sorted(maps.Keys(ev.targets)) }

// composedBlocks makes blocks of the targets that Compose files yield.
func (ev *evaluator) composedBlocks() []*block {
	if ev.mod.composed == nil {
		return nil
	}
	var out []*block
	for _, t := range ev.mod.composed.Targets {
		u := &unit{name: t.Range.Filename, compose: true}
		if t.Base != "" && t.Base != "." {
			u.base = &pathBase{dir: t.Base, contexts: true}
		}
		b := &block{kind: "target", label: t.Name, rng: t.Range, labelRange: t.Range, file: u}
		for i := range attributes {
			name := attributes[i].name
			if v, ok := t.Attrs[name]; ok {
				rng, ok := t.Ranges[name]
				if !ok {
					rng = t.Range
				}
				b.attrs = append(b.attrs, attrExpr{index: i, name: name, rng: rng, expr: literal(v, rng)})
			}
		}
		out = append(out, b)
	}
	return out
}

// checkIncluded reports names that an included file declares and that another
// file declares as well.
func (ev *evaluator) checkIncluded() {
	type place struct {
		file *unit
		rng  hcl.Range
	}
	seen := map[string]place{}
	check := func(kind, name string, u *unit, rng hcl.Range) {
		key := kind + " " + name
		first, ok := seen[key]
		if !ok {
			seen[key] = place{u, rng}
			return
		}
		if first.file != u && (first.file.included || u.included) {
			ev.rep.errorf(rng, "Name already taken", "There is a %s %q at %s already. Files that are included share their names with all others; rename one of them.", kind, name, at(first.rng))
		}
	}
	for _, bs := range [][]*block{ev.mod.targets, ev.mod.groups, ev.mod.variables, ev.mod.functions, ev.mod.variants} {
		for _, b := range bs {
			check(b.kind, b.label, b.file, b.rng)
		}
	}
	for _, a := range ev.mod.free {
		check("variable", a.name, a.file, a.rng)
	}
}
