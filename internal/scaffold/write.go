package scaffold

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"

	"github.com/kilnbuild/kiln/config"
)

// tagVariable is the variable that the tags have in common.
const tagVariable = "TAG"

// result writes the file.
func (s *scaffold) result() Result {
	out := Result{}
	for _, k := range s.known {
		out.Targets = append(out.Targets, k.name)
	}
	for _, t := range s.targets {
		out.Targets = append(out.Targets, t.instances()...)
	}
	if len(out.Targets) == 0 {
		out.Notes = s.notes
		return out
	}
	w := &writer{}
	s.header(w)
	for _, name := range s.includes {
		w.line("include %s {}", quoted(strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(name)))
	}
	w.blank()
	s.variable(w)
	s.groups(w)
	for _, t := range s.targets {
		s.target(w, t)
	}
	for _, r := range s.written {
		w.line("# Of %s as it resolves. It is not included:", r.files)
		w.line("# %s.", oneLine(r.why))
		for _, g := range r.groups {
			w.line("group %s { targets = %s }", quoted(g.Name), list(g.Members))
		}
		for _, t := range r.targets {
			resolved(w, t)
		}
	}
	out.Text = string(hclwrite.Format([]byte(w.text())))
	out.Notes = s.notes
	return out
}

// instances are the names of what a target becomes.
func (t *target) instances() []string {
	if len(t.variants) == 0 {
		return []string{t.name}
	}
	var out []string
	for _, v := range t.variants {
		out = append(out, t.name+"-"+v.name)
	}
	return out
}

func (s *scaffold) header(w *writer) {
	w.line("# The images of %s, as kiln init found them. This file is yours now.", oneLine(s.Name))
	w.line("#")
	w.line("#   kiln build                  all of the default group")
	for _, t := range s.targets {
		if len(t.variants) > 0 {
			w.line("#   kiln build --variant %-6s of those that have variants, these", t.variants[0].name)
			break
		}
	}
	w.line("#   kiln plan                   what would be built, from what, and what is doubtful")
	w.blank()
}

// variable declares the tag, unless an included file does.
func (s *scaffold) variable(w *writer) {
	if len(s.targets) == 0 || s.tagDeclared && !s.tagEmpty {
		return
	}
	w.line("variable %s {", quoted(s.tag()))
	w.line("description = \"of the images\"")
	w.line("default = \"latest\"")
	w.line("}")
	w.blank()
}

// tag is the name of the variable in tags.
func (s *scaffold) tag() string {
	if s.tagEmpty {
		return "IMAGE_" + tagVariable
	}
	return tagVariable
}

// groups declares the default group, or, where an included file has one that
// is to stay what it is, a group of the rest.
func (s *scaffold) groups(w *writer) {
	var members []string
	add := func(name string) {
		if !slices.Contains(members, name) {
			members = append(members, name)
		}
	}
	for _, t := range s.targets {
		add(t.name)
	}
	for _, r := range s.written {
		for _, t := range r.targets {
			if isShown(t) {
				add(t.Name)
			}
		}
	}
	name := "default"
	if s.hasDefault {
		if len(members) == 0 {
			return
		}
		for name = "others"; !s.take(name); {
			name += "-too"
		}
		s.note("the default group is that of the included files; kiln build %s builds what they do not", name)
	} else {
		for _, k := range s.known {
			add(k.name)
		}
	}
	w.line("group %s {", quoted(name))
	w.line("targets = %s", list(members))
	w.line("}")
	w.blank()
}

func (s *scaffold) target(w *writer, t *target) {
	w.line("target %s {", quoted(t.name))
	if t.context != "." {
		w.line("context = %s", literal(t.context))
	}
	if t.dockerfile != "" {
		w.line("dockerfile = %s", literal(t.dockerfile))
	}
	if len(t.contexts) > 0 {
		w.line("contexts = {")
		for _, c := range t.contexts {
			w.line("%s = %s", literal(c.ref), quoted("target:"+c.to))
		}
		w.line("}")
	}
	image := strings.ToLower(t.name)
	if len(t.variants) == 0 {
		w.line("tags = [\"%s:${%s}\"]", image, s.tag())
	}
	for i, v := range t.variants {
		w.blank()
		w.line("variant %s {", quoted(v.name))
		if v.dockerfile != "" {
			w.line("dockerfile = %s", literal(v.dockerfile))
		}
		if v.stage != "" {
			w.line("target = %s", literal(v.stage))
		}
		suffix := ""
		if i > 0 {
			suffix = "-" + v.name
		}
		w.line("tags = [\"%s:${%s}%s\"]", image, s.tag(), suffix)
		w.line("}")
	}
	w.line("}")
	w.blank()
}

// templated are the attributes whose values --print writes with their template
// sequences escaped, as a file has them.
var templated = []string{"args", "labels", "annotations", "extra-hosts", "dockerfile-inline"}

// resolved writes a target with every attribute that --print has of it.
func resolved(w *writer, t *config.Target) {
	w.line("target %s {", quoted(t.Name))
	dec := json.NewDecoder(strings.NewReader(string(config.PrintTarget(t))))
	dec.UseNumber()
	_, _ = dec.Token() // {
	for dec.More() {
		key, _ := dec.Token()
		var value any
		if dec.Decode(&value) != nil {
			break // it is JSON that we wrote
		}
		name, _ := key.(string)
		if name == "context" && value == "." || name == "dockerfile" && value == "Dockerfile" {
			continue
		}
		w.line("%s = %s", name, hclwrite.TokensForValue(valueOf(value, slices.Contains(templated, name))).Bytes())
	}
	if len(t.DependsOn) > 0 {
		var names []string
		for _, ref := range t.DependsOn {
			names = append(names, ref.Name)
		}
		w.line("depends-on = %s", list(names))
	}
	w.line("}")
	w.blank()
}

// valueOf turns JSON into a value of the language; of text that is escaped,
// the text that it means.
func valueOf(v any, escaped bool) cty.Value {
	switch v := v.(type) {
	case string:
		if escaped {
			v = strings.NewReplacer("$${", "${", "%%{", "%{").Replace(v)
		}
		return cty.StringVal(v)
	case bool:
		return cty.BoolVal(v)
	case json.Number:
		if n, err := cty.ParseNumberVal(v.String()); err == nil {
			return n
		}
		return cty.StringVal(v.String())
	case []any:
		var out []cty.Value
		for _, e := range v {
			out = append(out, valueOf(e, escaped))
		}
		return cty.TupleVal(out)
	case map[string]any:
		out := map[string]cty.Value{}
		for key, e := range v { // an object sorts its attributes
			out[key] = valueOf(e, escaped)
		}
		return cty.ObjectVal(out)
	}
	return cty.NullVal(cty.DynamicPseudoType)
}

// literal writes text as the language does, with nothing in it to evaluate.
func literal(s string) string { return string(hclwrite.TokensForValue(cty.StringVal(s)).Bytes()) }

// quoted writes a name that needs no escapes but those of any text.
func quoted(s string) string { return literal(s) }

func list(names []string) string {
	var out []string
	for _, n := range names {
		out = append(out, quoted(n))
	}
	if text := strings.Join(out, ", "); len(text) < 80 {
		return "[" + text + "]"
	}
	return "[\n" + strings.Join(out, ",\n") + ",\n]"
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

func number(n int) string { return strconv.Itoa(n) }

// A writer gathers lines; the layout comes later.
type writer struct{ lines []string }

func (w *writer) line(format string, args ...any) {
	w.lines = append(w.lines, fmt.Sprintf(format, args...))
}

// blank parts what comes next from what was before, once.
func (w *writer) blank() {
	if n := len(w.lines); n > 0 && w.lines[n-1] != "" {
		w.lines = append(w.lines, "")
	}
}

func (w *writer) text() string {
	return strings.TrimRight(strings.Join(w.lines, "\n"), "\n") + "\n"
}
