package plan

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/charmbracelet/x/ansi"
	"github.com/distribution/reference"
	"github.com/docker/go-units"

	"github.com/kilnbuild/kiln/internal/diag"
)

// TextOptions change how text looks. The zero value is plain text, unwrapped.
type TextOptions struct {
	Color bool
	Width int // of the terminal; 0 is no limit
}

const (
	labelWidth = 12 // of "needed by", and two blanks
	leastText  = 24 // columns of text, however narrow the terminal is
)

// A writer writes text in rows of a label and what belongs to it.
type writer struct {
	TextOptions
	b strings.Builder
}

var (
	bold   = ansi.Style{}.Bold()
	faint  = ansi.Style{}.Faint()
	yellow = ansi.Style{}.ForegroundColor(ansi.Yellow)
	red    = ansi.Style{}.ForegroundColor(ansi.Red)
	green  = ansi.Style{}.ForegroundColor(ansi.Green)
)

func (w *writer) paint(style ansi.Style, text string) string {
	if !w.Color || text == "" {
		return text
	}
	return style.Styled(text)
}

// row writes a label and text, wrapped, at a depth of blanks. No text is no row.
func (w *writer) row(depth int, label, text string) {
	if text == "" {
		return
	}
	indent := strings.Repeat(" ", depth)
	for i, line := range w.wrap(depth+labelWidth, diag.Visible(text)) {
		name := ""
		if i == 0 {
			name = label
		}
		pad := strings.Repeat(" ", max(labelWidth-len(name), 1))
		if name == "" && i > 0 {
			pad = strings.Repeat(" ", labelWidth)
		}
		w.b.WriteString(strings.TrimRight(indent+w.paint(faint, name)+pad+line, " ") + "\n")
	}
}

// wrap breaks text between words.
func (w *writer) wrap(indent int, text string) []string {
	if w.Width == 0 {
		return []string{text}
	}
	var lines []string
	line, room := "", max(w.Width-indent, leastText)
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == "":
			line = word
		case ansi.StringWidth(line)+1+ansi.StringWidth(word) > room:
			lines = append(lines, line)
			line = word
		default:
			line += " " + word
		}
	}
	return append(lines, line)
}

func (w *writer) line(text string) { w.b.WriteString(text + "\n") }

// Text is the plan for people.
func (p *Plan) Text(o TextOptions) string {
	w := &writer{TextOptions: o}
	w.line(w.paint(bold, p.headline()))
	byName := map[string]*Target{}
	for _, t := range p.Targets {
		byName[t.Name] = t
	}
	for i, wave := range p.Waves {
		w.line("")
		w.line(w.paint(bold, fmt.Sprintf("Wave %d", i+1)))
		for j, name := range wave {
			if j > 0 {
				w.line("")
			}
			w.target(byName[name])
		}
	}
	w.sends(p.Sends)
	w.warnings(p.Warnings)
	return w.b.String()
}

func (p *Plan) headline() string {
	if len(p.Targets) == 0 {
		return "nothing to build"
	}
	text := fmt.Sprintf("%s in %s", count(int64(len(p.Targets)), "target"), count(int64(len(p.Waves)), "wave"))
	if len(p.Files) > 0 {
		text += ", from " + some(p.Files)
	}
	return text
}

// count is a number of things.
func count(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// at is a place of a file, as "build.hcl:12".
func (p Place) at() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d", p.File, p.Line)
}

func (w *writer) target(t *Target) {
	name, place := t.Name, t.Declared.at()
	if t.Variant != "" {
		place = "variant " + t.Variant + ", " + place
	}
	if !t.Requested {
		place = "for others only, " + place
	}
	gap := "  "
	if w.Width > 0 {
		gap = strings.Repeat(" ", max(2, min(w.Width, 100)-2-ansi.StringWidth(name)-ansi.StringWidth(place)))
	}
	w.line("  " + w.paint(bold, name) + gap + w.paint(faint, place))
	row := func(label, text string) { w.row(4, label, text) }
	if t.Description != "" {
		for _, line := range w.wrap(4, diag.Visible(t.Description)) {
			w.line("    " + line)
		}
	}
	row("dockerfile", t.Dockerfile.text())
	for _, kv := range t.Dockerfile.FromArgs {
		row("", "with "+kv.text())
	}
	for i, c := range t.Contexts {
		label := ""
		if i == 0 {
			label = "context"
		}
		row(label, c.text())
	}
	if t.Sends != nil {
		row("sends", t.Sends.text())
	}
	for _, u := range t.Unsure {
		row("", "not sure: "+u)
	}
	for i, b := range t.Bases {
		label := ""
		if i == 0 {
			label = "from"
		}
		row(label, b.text(t))
	}
	row("needs", strings.Join(t.Needs, ", "))
	row("after", strings.Join(t.After, ", "))
	row("needed by", strings.Join(t.Needers, ", "))
	row("platforms", strings.Join(t.Platforms, ", "))
	row("args", pairsText(t.Args))
	row("labels", pairsText(t.Labels))
	row("output", t.outputText())
	for i, tag := range t.Tags {
		if !t.Requested {
			break // it gives no name to anything
		}
		label := ""
		if i == 0 {
			label = "tags"
		}
		row(label, familiar(tag))
	}
	row("cache from", cachesText(t.CacheFrom))
	row("cache to", cachesText(t.CacheTo))
	row("access", t.Access.text())
	row("steps", t.Steps.text())
}

func (d Dockerfile) text() string {
	text := d.Path
	switch d.Where {
	case "inline":
		text = "in the build file"
	case "remote":
		text += ", fetched by the builder"
	}
	if d.Stage != "" && (d.Stage != "0" || len(d.Stages) != 1) {
		text += ", " + d.stageText()
	}
	if d.Frontend != "" {
		text += ", read by " + d.Frontend
	}
	return text
}

// stageText tells the stage that is built; one without a name by its place.
func (d Dockerfile) stageText() string {
	n := slices.Index(d.Stages, d.Stage)
	of := ""
	if len(d.Stages) > 1 {
		of = fmt.Sprintf(" of %d", len(d.Stages))
	}
	switch {
	case n < 0 || d.Stage != strconv.Itoa(n):
		return "stage " + d.Stage + of
	case n == len(d.Stages)-1:
		return "the last stage" + of
	}
	return fmt.Sprintf("stage %s (from 0)%s", d.Stage, of)
}

func (kv KeyValue) text() string { return kv.Key + "=" + kv.Value }

func pairsText(kvs []KeyValue) string {
	var out []string
	for _, kv := range kvs {
		out = append(out, kv.text())
	}
	return strings.Join(out, ", ")
}

func (c Context) text() string {
	text := contextText(c)
	if c.Name != "" {
		text = c.Name + ": " + text
	}
	return text
}

// contextText says where a context comes from.
func contextText(c Context) string {
	switch c.Type {
	case "local":
		return c.From
	case "git", "url":
		return c.From + " (fetched by the builder)"
	case "oci-layout":
		return "OCI layout " + c.From
	case "store":
		return c.From + " of kiln's image store"
	}
	return c.Type + " " + c.From
}

func (b Base) text(t *Target) string {
	text := familiar(b.Ref)
	if b.Context != "" {
		from := ""
		for _, c := range t.Contexts {
			if c.Name == b.Context {
				from = contextText(c)
			}
		}
		text = fmt.Sprintf("%s: %s in its place", familiar(b.Ref), cmp.Or(from, "the context "+b.Context))
	}
	if b.Line > 0 {
		text += fmt.Sprintf(" (line %d)", b.Line)
	}
	switch {
	case b.Stored != "":
		text += ", the one in kiln's image store: " + b.Stored
	case b.Context == "" && !b.Pinned:
		text += ", not pinned"
	}
	return text
}

func (t *Target) outputText() string {
	var out []string
	for _, o := range t.Outputs {
		switch {
		case o.Type == "store":
			out = append(out, "kiln's image store")
		case o.Type == noOutput && t.Requested:
			out = append(out, "none")
		case o.Type == noOutput:
		case o.Type == "registry" && len(o.Attrs) == 0, o.Type == "image" && o.Attrs["push"] == "true" && len(o.Attrs) == 1:
			out = append(out, "pushed to the registry")
		default:
			text := "type=" + o.Type
			if o.Dest != "" {
				text += ",dest=" + o.Dest
			}
			out = append(out, text+attrsText(o.Attrs))
		}
	}
	return strings.Join(out, "; ")
}

func attrsText(attrs map[string]string) string {
	text := ""
	for _, k := range slices.Sorted(maps.Keys(attrs)) {
		text += "," + k + "=" + attrs[k]
	}
	return text
}

func cachesText(caches []Cache) string {
	var out []string
	for _, c := range caches {
		out = append(out, "type="+c.Type+attrsText(c.Attrs))
	}
	return strings.Join(out, "; ")
}

func (a Access) text() string {
	var out []string
	for _, s := range a.Secrets {
		text := "secret " + s.ID
		if s.From != "" {
			text += " (" + s.From + ")"
		}
		out = append(out, text)
	}
	for _, s := range a.SSH {
		text := "ssh " + s.ID
		if len(s.Paths) > 0 {
			text += " (" + strings.Join(s.Paths, ", ") + ")"
		}
		out = append(out, text)
	}
	out = append(out, a.Entitlements...)
	if a.Network != "" && a.Network != "default" && !slices.Contains(a.Entitlements, "network."+a.Network) {
		out = append(out, "network "+a.Network)
	}
	return strings.Join(out, ", ")
}

func (s Steps) text() string {
	var out []string
	add := func(on bool, format string, args ...any) {
		if on {
			out = append(out, fmt.Sprintf(format, args...))
		}
	}
	add(s.Call != "", "none: the frontend is asked for %s", s.Call)
	add(s.Pull, "bases looked up anew")
	add(s.NoCache, "without cache")
	add(len(s.NoCacheStages) > 0, "without cache: %s", strings.Join(s.NoCacheStages, ", "))
	add(s.Weight > 1, "weight %d", s.Weight)
	add(s.Timeout != "", "at most %s", s.Timeout)
	add(len(s.Attest) > 0, "attested: %s", strings.Join(s.Attest, "; "))
	return strings.Join(out, ", ")
}

// text is "14 files, 120kB: src 96kB, docs 20kB".
func (a Amount) text() string {
	text := a.total()
	if len(a.Heaviest) > 0 {
		var heavy []string
		for _, w := range a.Heaviest {
			heavy = append(heavy, w.Dir+" "+size(w.Bytes))
		}
		text += ": " + strings.Join(heavy, ", ")
	}
	return text
}

func (a Amount) total() string {
	if a.Files == 0 {
		return "nothing"
	}
	text := count(a.Files, "file") + ", " + size(a.Bytes)
	if a.AtLeast {
		text = "more than " + text
	}
	return text
}

func size(bytes int64) string { return units.HumanSizeWithPrecision(float64(bytes), 3) }

// familiar is a reference as people write it.
func familiar(ref string) string {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return ref
	}
	return reference.FamiliarString(named)
}

// sends tells what is sent in all.
func (w *writer) sends(s *Sends) {
	if s == nil {
		return
	}
	w.line("")
	w.line(w.paint(bold, "To send to a builder that has nothing of it: "+s.total()))
	for _, u := range s.Uploads {
		w.line("  " + cmp.Or(diag.Visible(u.Dir), "Dockerfile in the build file"))
		w.row(4, "sends", u.Amount.text())
		w.row(4, "for", some(u.Targets))
		for _, f := range u.List {
			w.line(fmt.Sprintf("    %10s  %s", size(f.Bytes), diag.Visible(f.Path)))
		}
	}
}

func (w *writer) warnings(all []Warning) {
	if len(all) == 0 {
		return
	}
	w.line("")
	w.line(w.paint(bold, count(int64(len(all)), "warning")))
	for _, x := range all {
		style := yellow
		if x.Code == WouldFail {
			style = red
		}
		text := x.Text
		if x.Place != nil {
			text = x.Place.at() + ": " + text
		}
		for i, line := range w.wrap(2, diag.Visible(text)) {
			if i == 0 {
				w.line(w.paint(style, "! ") + line)
				continue
			}
			w.line("  " + line)
		}
	}
}

// Text is the changes for people.
func (c *Changes) Text(o TextOptions) string {
	w := &writer{TextOptions: o}
	head := fmt.Sprintf("%s → %s: ", c.Old, c.New)
	if !c.Any() {
		w.line(w.paint(bold, head+"the plans are the same"))
		return w.b.String()
	}
	w.line(w.paint(bold, head+fmt.Sprintf("%d added, %d removed, %d changed, %d the same", len(c.Added), len(c.Removed), len(c.Changed), c.Same)))
	for _, name := range c.Added {
		w.line(w.paint(green, "+ "+name))
	}
	for _, name := range c.Removed {
		w.line(w.paint(red, "- "+name))
	}
	for _, t := range c.Changed {
		w.line(w.paint(yellow, "~ ") + w.paint(bold, t.Name))
		for _, f := range t.Fields {
			w.field(f)
		}
	}
	return w.b.String()
}

func (w *writer) field(f Field) {
	label := f.Name
	if len(label) >= labelWidth {
		w.line("    " + w.paint(faint, label))
		label = ""
	}
	if f.Old != nil || f.New != nil {
		w.row(4, label, valueText(f.Old)+" → "+valueText(f.New))
		return
	}
	for _, e := range f.Removed {
		w.row(4, label, "- "+e)
		label = ""
	}
	for _, e := range f.Added {
		w.row(4, label, "+ "+e)
		label = ""
	}
}

func valueText(s *string) string {
	switch {
	case s == nil:
		return "(not set)"
	case *s == "":
		return `""`
	case strings.HasPrefix(*s, "sha256:"):
		return (*s)[:min(len(*s), len("sha256:")+12)]
	}
	return *s
}
