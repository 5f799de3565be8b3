// Package reference writes kiln's reference from the tables of attributes,
// functions, commands and environment variables: as Markdown for
// docs/reference, and as text for `kiln help`. It decides nothing; what it
// says stands in the tables.
package reference

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/internal/gitfacts"
)

// A Page is one file of the reference.
type Page struct{ Name, Text string }

// A Variable is an environment variable that kiln reads.
type Variable struct {
	Name    string
	Topic   string // what it is listed under
	Doc     string
	Default string // "" if none is worth telling
}

// Pages returns the whole reference, in Markdown, by name.
func Pages(root *cobra.Command, env []Variable) []Page {
	return []Page{
		{"attributes.md", markdown("Attributes of a target", attributeIntro, attributeEntries())},
		{"commands.md", Commands(root)},
		{"environment.md", markdown("Environment variables", environmentIntro, environmentEntries(env))},
		{"functions.md", markdown("Functions", functionIntro, functionEntries())},
	}
}

const (
	attributeIntro = "What a `target` block may say. In a `variant` block the same attributes say what differs."
	functionIntro  = "What expressions may call without declaring it. A function that a file declares under one of these names has no effect."
	// The facts are listed with the functions, being what else expressions have.
	factIntro        = "Read from git, and only when an expression uses them; using one outside of a work tree is an error that `try` can catch."
	environmentIntro = "What kiln reads from the environment. A flag wins over its variable."
)

// Attributes returns the attributes of a target as text.
func Attributes() string { return plain(attributeEntries()) }

// Functions returns the functions as text.
func Functions() string { return plain(functionEntries()) }

// Environment returns the environment variables as text.
func Environment(env []Variable) string { return plain(environmentEntries(env)) }

// An entry is one thing of a page: a heading of its own in Markdown, a few
// lines in text.
type entry struct {
	topic   string // heading above it where it differs from the entry before
	intro   string // text under that heading
	name    string
	title   string // with parameters and the like; the name if ""
	facts   []fact
	doc     string
	example string
}

// A fact is a word and what it is: "default" and ".".
type fact struct{ word, value string }

func attributeEntries() []entry {
	var entries []entry
	for _, a := range config.Attributes() {
		e := entry{name: a.Name, doc: a.Doc, example: a.Example, facts: []fact{{"type", a.Type}}}
		if a.Default != "" {
			e.facts = append(e.facts, fact{"default", a.Default})
		}
		rule := a.Rule
		if rule == "" {
			rule = "not inherited"
		}
		e.facts = append(e.facts, fact{"merging", rule})
		keys := "no"
		if len(a.SetKeys) > 0 {
			keys = strings.Join(a.SetKeys, ", ")
		}
		e.facts = append(e.facts, fact{"--set", keys})
		entries = append(entries, e)
	}
	return entries
}

func functionEntries() []entry {
	var entries []entry
	for _, f := range config.BuiltinFunctions() {
		entries = append(entries, entry{
			topic: topicOf(f.Topic), name: f.Name, title: f.Signature(), doc: f.Doc,
			example: f.Example + "\n→ " + f.Result,
		})
	}
	slices.SortStableFunc(entries, func(a, b entry) int { return strings.Compare(a.topic, b.topic) })
	for _, f := range gitfacts.Facts() {
		entries = append(entries, entry{topic: "Facts", intro: factIntro, name: "git." + f.Name, doc: sentence(f.Doc)})
	}
	return entries
}

// topicOf writes a function's topic as a heading.
func topicOf(topic string) string {
	return "On " + map[string]string{
		"encoding": "encodings", "hash": "hashes and identifiers", "list": "lists", "logic": "truth and errors", "map": "maps",
		"network": "networks", "number": "numbers", "path": "paths", "set": "sets", "string": "text", "time": "time", "type": "types",
	}[topic]
}

func environmentEntries(env []Variable) []entry {
	var entries []entry
	for _, v := range env {
		e := entry{topic: v.Topic, name: v.Name, doc: sentence(v.Doc)}
		if v.Default != "" {
			e.facts = []fact{{"default", v.Default}}
		}
		entries = append(entries, e)
	}
	return entries
}

// sentence makes one of a phrase.
func sentence(s string) string {
	if s == "" || strings.HasSuffix(s, ".") {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:] + "."
}

const generated = "<!-- Written by `make reference` from kiln's own tables; changes here are lost. -->\n"

func markdown(title, intro string, entries []entry) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n%s\n%s\n", title, generated, intro)
	topic, level := "", "##"
	for _, e := range entries {
		if e.topic != topic {
			topic, level = e.topic, "###"
			fmt.Fprintf(&b, "\n## %s\n", topic)
			if e.intro != "" {
				fmt.Fprintf(&b, "\n%s\n", e.intro)
			}
		}
		fmt.Fprintf(&b, "\n%s `%s`\n\n%s\n", level, e.heading(), e.doc)
		if len(e.facts) > 0 {
			b.WriteString("\n")
		}
		for _, f := range e.facts {
			fmt.Fprintf(&b, "- %s: %s\n", f.word, f.value)
		}
		if e.example != "" {
			fmt.Fprintf(&b, "\n```hcl\n%s\n```\n", strings.ReplaceAll(e.example, "\n→", "\n# →"))
		}
	}
	return b.String()
}

func (e entry) heading() string {
	if e.title != "" {
		return e.title
	}
	return e.name
}

func plain(entries []entry) string {
	var b strings.Builder
	topic := ""
	for i, e := range entries {
		if i > 0 {
			b.WriteString("\n")
		}
		if e.topic != topic {
			topic = e.topic
			fmt.Fprintf(&b, "%s\n\n", strings.ToUpper(topic))
		}
		fmt.Fprintf(&b, "%s\n%s", e.heading(), indented(wrapped(strings.ReplaceAll(e.doc, "`", ""), 74)))
		var words []string
		for _, f := range e.facts {
			words = append(words, f.word+": "+f.value)
		}
		if len(words) > 0 {
			b.WriteString(indented(wrapped(strings.Join(words, "; "), 74)))
		}
		if e.example != "" {
			b.WriteString(indented("  " + strings.ReplaceAll(e.example, "\n", "\n  ")))
		}
	}
	return b.String()
}

// indented puts blanks before each line.
func indented(s string) string { return "    " + strings.ReplaceAll(s, "\n", "\n    ") + "\n" }

// wrapped breaks text into lines between words.
func wrapped(s string, width int) string {
	var b strings.Builder
	line := 0
	for i, word := range strings.Fields(s) {
		switch {
		case i == 0:
		case line+1+len(word) > width:
			b.WriteString("\n")
			line = 0
		default:
			b.WriteString(" ")
			line++
		}
		b.WriteString(word)
		line += len(word)
	}
	return b.String()
}

// Commands describes a command and all below it, in Markdown.
func Commands(root *cobra.Command) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Commands\n\n%s", generated)
	describe(&b, root)
	return b.String()
}

func describe(b *strings.Builder, c *cobra.Command) {
	c.InitDefaultHelpFlag()
	long := c.Long
	if long == "" {
		long = sentence(c.Short)
	}
	fmt.Fprintf(b, "\n## `%s`\n\n%s\n", c.CommandPath(), long)
	if c.Runnable() && c.HasParent() {
		fmt.Fprintf(b, "\n```\n%s\n```\n", c.UseLine())
	}
	if len(c.Aliases) > 0 {
		fmt.Fprintf(b, "\nAlso: `%s`\n", strings.Join(c.Aliases, "`, `"))
	}
	if c.Example != "" {
		fmt.Fprintf(b, "\nFor example:\n\n```sh\n%s\n```\n", unindented(c.Example))
	}
	flags(b, "Flags", c.NonInheritedFlags())
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() && sub.Name() != "help" {
			describe(b, sub)
		}
	}
}

func unindented(s string) string {
	lines := strings.Split(strings.Trim(s, "\n"), "\n")
	for i, l := range lines {
		lines[i] = strings.TrimPrefix(l, "  ")
	}
	return strings.Join(lines, "\n")
}

func flags(b *strings.Builder, title string, set *pflag.FlagSet) {
	if !set.HasAvailableFlags() {
		return
	}
	fmt.Fprintf(b, "\n%s:\n\n| flag | meaning | default |\n|---|---|---|\n", title)
	set.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Deprecated != "" || f.Name == "help" {
			return
		}
		value, usage := pflag.UnquoteUsage(f)
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		if value != "" {
			name += " " + value
		}
		def := f.DefValue
		switch def {
		case "", "[]", "false", "0":
			def = ""
		default:
			def = "`" + def + "`"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", name, strings.ReplaceAll(usage, "|", "\\|"), def)
	})
}
