package scaffold

import (
	"path"
	"slices"
	"strings"
)

// A target is one to be written: an image of one Dockerfile, or of several
// that are its flavours.
type target struct {
	name       string
	context    string
	dockerfile string // relative to the context; "" is "Dockerfile"
	variants   []variant
	images     []string // of its Dockerfiles
	contexts   []link
}

// findTargets makes targets of the Dockerfiles that no set builds.
func (s *scaffold) findTargets() {
	var order []key
	files := map[key][]flavour{}
	for _, d := range s.Dockerfiles {
		if s.covered[d.Path] {
			continue
		}
		name, suffix, _ := stem(path.Base(d.Path))
		k := key{path.Dir(d.Path), name}
		if files[k] == nil {
			order = append(order, k)
		}
		files[k] = append(files[k], flavour{d, suffix})
	}
	for _, k := range order {
		all := files[k]
		if len(all) == 1 && all[0].suffix != "" { // a Dockerfile.dev without a sibling
			all[0].suffix = ""
		}
		variants, ok := flavours(all)
		if !ok {
			for _, f := range all {
				alone := []flavour{{f.Dockerfile, ""}}
				variants, _ := flavours(alone)
				s.addTarget(key{k.dir, path.Base(f.Path)}, alone, variants)
			}
			continue
		}
		s.addTarget(k, all, variants)
	}
}

// A key is what Dockerfiles of one target have in common: the directory, and
// what their names say beside a variant.
type key struct{ dir, stem string }

// A flavour is a Dockerfile and the variant that its name says, "" if none.
type flavour struct {
	Dockerfile
	suffix string
}

// flavours returns the variants that Dockerfiles of one target make: each by
// its name, and what the stages of the one without a suffix suggest. If they
// suggest nothing, that one is prod, or dev beside a Dockerfile.prod. It is
// false where two would be the same variant, as of Dockerfile.prod and
// prod.Dockerfile.
func flavours(all []flavour) ([]variant, bool) {
	var out []variant
	has := func(name string) bool {
		return slices.ContainsFunc(out, func(v variant) bool { return v.name == name })
	}
	for _, f := range all {
		switch {
		case f.suffix == "":
		case has(f.suffix):
			return nil, false
		default:
			out = append(out, variant{name: f.suffix, dockerfile: f.Path})
		}
	}
	files := len(out)
	for _, f := range all {
		if f.suffix != "" {
			continue
		}
		if len(all) > files+1 {
			return nil, false // as Dockerfile and Containerfile
		}
		for _, v := range stageVariants(f.Stages) {
			if !has(v.name) {
				out = append(out, v)
			}
		}
		if len(out) > files || files == 0 {
			continue
		}
		plain := variant{name: "prod"}
		if has("prod") {
			plain.name = "dev"
		}
		if has(plain.name) {
			return nil, false
		}
		out = append(out, plain)
	}
	return inOrder(out), true
}

// stem takes the name of a Dockerfile apart: "" and "" of Dockerfile, "worker"
// and "" of Dockerfile.worker and worker.Dockerfile, "" and "dev" of
// Dockerfile.dev, whose end is the name of a variant.
func stem(name string) (stem, variant string, ok bool) {
	lower := strings.ToLower(name)
	for _, ignored := range []string{".dockerignore", ".containerignore", ".j2", ".jinja", ".jinja2", ".tmpl", ".tpl", ".template", ".erb", ".in", ".bak", ".orig", ".rej", ".swp", ".md", ".txt", ".sh", ".py", ".yml", ".yaml", ".json", ".rego", "~"} {
		if strings.HasSuffix(lower, ignored) {
			return "", "", false
		}
	}
	if strings.HasPrefix(name, "dockerfile.") && slices.Contains(sources, path.Ext(name)) {
		return "", "", false // as dockerfile.go, which reads Dockerfiles
	}
	rest := ""
	switch {
	case lower == "dockerfile" || lower == "containerfile":
	case strings.HasPrefix(lower, "dockerfile."):
		rest = name[len("dockerfile."):]
	case strings.HasPrefix(lower, "containerfile."):
		rest = name[len("containerfile."):]
	case strings.HasSuffix(lower, ".dockerfile"):
		rest = name[:len(name)-len(".dockerfile")]
	case strings.HasSuffix(lower, ".containerfile"):
		rest = name[:len(name)-len(".containerfile")]
	default:
		return "", "", false
	}
	if v := variantOf(rest); v != "" {
		return "", v, true
	}
	return rest, "", true
}

// sources are endings of programs.
var sources = []string{".go", ".rs", ".rb", ".js", ".ts", ".java", ".php", ".c", ".h", ".lua", ".vim", ".html", ".css"}

// addTarget makes the target of some Dockerfiles.
func (s *scaffold) addTarget(k key, all []flavour, variants []variant) {
	t := &target{context: s.contextOf(all[0].Dockerfile), name: s.name(k.dir, k.stem), variants: variants}
	for _, f := range all {
		for _, image := range f.Images {
			if !slices.Contains(t.images, image) {
				t.images = append(t.images, image)
			}
		}
		if f.suffix == "" {
			t.dockerfile = t.relative(f.Path)
		}
	}
	for i, v := range t.variants {
		if v.dockerfile != "" {
			t.variants[i].dockerfile = t.relative(v.dockerfile)
		}
	}
	for _, v := range t.variants {
		s.taken[t.name+"-"+v.name] = true
	}
	s.targets = append(s.targets, t)
}

// relative returns a Dockerfile's path as the attribute has it: relative to
// the context, "" where that is the default.
func (t *target) relative(file string) string {
	if t.context != "." {
		file = strings.TrimPrefix(file, t.context+"/")
	}
	if file == "Dockerfile" {
		return ""
	}
	return file
}

// contextOf guesses the context that a Dockerfile is written for. It is its
// own directory, unless that lacks what it copies and one above has it all; or
// unless there is nothing in it but Dockerfiles.
func (s *scaffold) contextOf(d Dockerfile) string {
	dir := path.Dir(d.Path)
	if len(d.Sources) == 0 {
		return dir
	}
	lacks := func(dir string) bool {
		return slices.ContainsFunc(d.Sources, func(source string) bool { return !s.Has(path.Join(dir, plainPart(source))) })
	}
	if !lacks(dir) && s.Holds(dir) {
		return dir
	}
	for above := dir; above != "."; {
		above = path.Dir(above)
		if !lacks(above) && s.Holds(above) {
			return above
		}
	}
	return dir
}

// plainPart is what leads a pattern before its first wildcard.
func plainPart(pattern string) string {
	if i := strings.IndexAny(pattern, `*?[\`); i >= 0 {
		return path.Dir(pattern[:i] + "x")
	}
	return pattern
}

// places are names of directories that say where Dockerfiles are kept, not
// what they build.
var places = []string{"docker", ".docker", "dockerfiles", "dockerfile", "build", "deploy", "deployment", "deployments", "container", "containers", "ci"}

// name finds a name for the target of a Dockerfile: what the file is called,
// else its directory, else the project; with more of the path where that is
// taken.
func (s *scaffold) name(dir, stem string) string {
	var parts []string // from the end
	if stem != "" {
		parts = append(parts, stem)
	}
	for d := dir; d != "."; d = path.Dir(d) {
		parts = append(parts, path.Base(d))
	}
	if stem == "" {
		for len(parts) > 0 && slices.Contains(places, strings.ToLower(parts[0])) {
			parts = parts[1:]
		}
	}
	parts = append(parts, s.Name)
	name := ""
	for i, p := range parts {
		if p = clean(p); i == 0 {
			name = p
		} else {
			name = p + "-" + name
		}
		if s.take(name) {
			return name
		}
	}
	for n := 2; ; n++ {
		if numbered := name + "-" + number(n); s.take(numbered) {
			return numbered
		}
	}
}

// take takes a name, if it is free.
func (s *scaffold) take(name string) bool {
	if s.taken[name] {
		return false
	}
	s.taken[name] = true
	return true
}

// clean makes a name that a target may have of any text. Hidden targets begin
// with an underscore: these do not.
func clean(text string) string {
	out := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return '-'
	}, text)
	out = strings.Trim(out, "-_")
	for strings.Contains(out, "--") {
		out = strings.ReplaceAll(out, "--", "-")
	}
	if out == "" {
		return "image"
	}
	return out
}
