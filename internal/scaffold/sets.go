package scaffold

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/kilnbuild/kiln/config"
)

// FileName is the name of the file that is written.
const FileName = "build.hcl"

// A rewritten set is one that cannot be included: its targets are written as
// they resolve.
type rewritten struct {
	files   string // for people
	why     string
	targets []*config.Target // with the names and links that they get
	groups  []*config.Group
}

// addSets takes the build files that are there. Those are included that mean
// the same together as each by itself: one namespace holds them all, and all
// Compose files are one project.
func (s *scaffold) addSets() {
	var included []config.File
	var sum []planned
	for _, set := range s.Sets {
		if !slices.ContainsFunc(set.Files, func(f config.File) bool { return !isIn(included, f.Name) }) {
			continue // another set includes it
		}
		alone, diags := s.Load(set.Files)
		if diags.HasErrors() {
			s.note("%s is left out, for it does not load: %s", names(set), firstError(diags))
			continue
		}
		if !slices.ContainsFunc(alone.Targets, isShown) {
			continue // a Compose file of ready images, a file of variables
		}
		s.cover(alone)
		together := slices.Clone(included)
		for _, f := range set.Files {
			if !isIn(together, f.Name) {
				f.Base = baseOf(f.Name)
				f.Included = true
				together = append(together, f)
			}
		}
		if why := s.differ(together, append(sum, planned{alone, set.Dir == "."})); why != "" {
			s.rewrite(set, alone, why)
			continue
		}
		included, sum = together, append(sum, planned{alone, set.Dir == "."})
		for _, f := range set.Files {
			if !f.Included { // which comes with what includes it
				s.includes = append(s.includes, f.Name)
			}
		}
		s.include(alone, set.Dir == ".")
	}
}

// planned is what a set means alone. What bake builds without a name in the
// directory of the new file has to stay what it is; other sets' may add to it.
type planned struct {
	*config.Config
	here bool
}

// isIn reports whether a file is among others.
func isIn(files []config.File, name string) bool {
	return slices.ContainsFunc(files, func(f config.File) bool { return f.Name == name })
}

func baseOf(name string) string {
	if dir := path.Dir(name); dir != "." {
		return dir
	}
	return ""
}

// isShown reports whether a target is more than one to inherit from.
func isShown(t *config.Target) bool { return !strings.HasPrefix(t.Name, "_") }

func names(set Set) string {
	var out []string
	for _, f := range set.Files {
		out = append(out, f.Name)
	}
	return strings.Join(out, ", ")
}

func firstError(diags hcl.Diagnostics) string {
	for _, d := range diags {
		if d.Severity == hcl.DiagError {
			text := strings.TrimSuffix(d.Detail, ".")
			if text == "" {
				text = d.Summary
			}
			if d.Subject != nil {
				return fmt.Sprintf("%s (%s:%d)", text, d.Subject.Filename, d.Subject.Start.Line)
			}
			return text
		}
	}
	return ""
}

// cover notes which Dockerfiles are built already.
func (s *scaffold) cover(cfg *config.Config) {
	for _, t := range cfg.Targets {
		local, ok := t.Context.(config.Local)
		if ok && t.DockerfileInline == "" && !strings.Contains(t.Dockerfile, "://") {
			s.covered[path.Join(local.Path, t.Dockerfile)] = true
		}
	}
}

// differ says why files do not mean the same when they are included together
// as each set alone; "" if they do.
func (s *scaffold) differ(files []config.File, alone []planned) string {
	both, diags := s.Load(append([]config.File{{Name: FileName, Data: []byte("\n")}}, files...))
	if diags.HasErrors() {
		return firstError(diags)
	}
	seen := map[string]bool{}
	for _, cfg := range alone {
		for _, t := range cfg.Targets {
			same := both.Target(t.Name)
			if same == nil || !bytes.Equal(config.PrintTarget(t), config.PrintTarget(same)) {
				return fmt.Sprintf("target %s would not be the same beside the others", t.Name)
			}
		}
		for _, g := range cfg.Groups {
			same := both.Group(g.Name)
			if same == nil || (cfg.here || g.Name != "default") && !slices.Equal(g.Members, same.Members) {
				return fmt.Sprintf("group %s would not be the same beside the others", g.Name)
			}
		}
		for _, t := range cfg.Targets {
			seen[t.Name] = true
		}
	}
	if len(seen) != len(both.Targets) {
		return "together they declare other targets than each by itself"
	}
	return ""
}

// include notes what an included set declares. The default group of a Compose
// file can be added to, which is done unless it is the one of this directory.
func (s *scaffold) include(cfg *config.Config, here bool) {
	for _, t := range cfg.Targets {
		s.taken[t.Name] = true
		s.hasDefault = s.hasDefault || t.Name == "default"
		s.learn(t.Name, t)
	}
	for _, g := range cfg.Groups {
		s.taken[g.Name] = true
		ext := path.Ext(g.DeclRange.Filename)
		isCompose := ext == ".yaml" || ext == ".yml"
		s.hasDefault = s.hasDefault || g.Name == "default" && (here || !isCompose)
	}
	for _, v := range cfg.Variables {
		if v.Name == tagVariable {
			s.tagDeclared, s.tagEmpty = true, v.Null || v.Value == ""
		}
	}
}

// learn notes which images a target of a set builds.
func (s *scaffold) learn(name string, t *config.Target) {
	if !isShown(t) {
		return
	}
	k := known{name: name}
	for _, tag := range t.Tags {
		if repo := repository(tag); repo != "" {
			k.repos = append(k.repos, repo)
		}
	}
	s.known = append(s.known, k)
}

// rewrite writes the targets of a set out.
func (s *scaffold) rewrite(set Set, cfg *config.Config, why string) {
	out := rewritten{files: names(set), why: why}
	to := map[string]string{}
	prefix := clean(path.Base(set.Dir)) + "-"
	if set.Dir == "." {
		prefix = clean(s.Name) + "-"
	}
	// What is built without a name stays so, in the directory itself.
	keeps := set.Dir == "." && !s.hasDefault
	rename := func(name string) {
		if name == "default" && keeps {
			to[name], s.hasDefault = name, true
			return
		}
		for to[name] = clean(name); !s.take(to[name]); {
			to[name] = prefix + to[name]
		}
	}
	wanted := map[string]bool{} // hidden ones that others read
	for _, t := range cfg.Targets {
		for _, c := range t.Contexts {
			if from, ok := c.From.(config.FromTarget); ok {
				wanted[from.Target] = true
			}
		}
	}
	for _, t := range cfg.Targets {
		if isShown(t) || wanted[t.Name] {
			rename(t.Name)
		}
	}
	for _, g := range cfg.Groups {
		if _, isTarget := to[g.Name]; !isTarget && (g.Name != "default" || keeps) {
			rename(g.Name)
		}
	}
	for _, t := range cfg.Targets {
		if to[t.Name] == "" {
			continue
		}
		c := *t
		c.Name = to[t.Name]
		c.Contexts = slices.Clone(t.Contexts)
		for i, context := range c.Contexts {
			if from, ok := context.From.(config.FromTarget); ok {
				c.Contexts[i].From, c.Contexts[i].Text = config.FromTarget{Target: to[from.Target]}, ""
			}
		}
		out.targets = append(out.targets, &c)
		s.learn(c.Name, &c)
	}
	for _, g := range cfg.Groups {
		if to[g.Name] == "" {
			continue
		}
		c := config.Group{Name: to[g.Name]}
		for _, m := range g.Members {
			if to[m] != "" {
				c.Members = append(c.Members, to[m])
			}
		}
		out.groups = append(out.groups, &c)
	}
	s.written = append(s.written, out)
	s.note("%s cannot be included (%s): its targets are written out as they resolve now, without its variables", names(set), why)
}

func (s *scaffold) note(format string, args ...any) {
	s.notes = append(s.notes, fmt.Sprintf(format, args...))
}
