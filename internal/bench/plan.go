package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
)

// A shape is a way to write n targets.
type shape struct {
	name  string
	write func(n int) string
}

var shapes = []shape{
	{"plain", func(n int) string { return definition(n, plainTarget) }},
	{"matrix", matrix},
	{"inherits 5 deep", func(n int) string { return parents + definition(n, heir) }},
	{"functions", func(n int) string { return functions + definition(n, caller) }},
	{"links", func(n int) string { return definition(n, linked) }},
}

// sizes are the numbers of targets; bake is measured up to bakeMost.
var sizes = []int{100, 1_000, 3_200, 10_000, 30_000}

const bakeMost = 3_200

// definition is n targets, and the group of all.
func definition(n int, target func(i int) string) string {
	var text strings.Builder
	text.WriteString("variable \"TAG\" {\n  default = \"1.0\"\n}\n\ngroup \"default\" {\n  targets = [")
	for i := range n {
		fmt.Fprintf(&text, "%q,", fmt.Sprintf("t%d", i))
	}
	text.WriteString("]\n}\n\n")
	for i := range n {
		text.WriteString(target(i))
	}
	return text.String()
}

func plainTarget(i int) string {
	return fmt.Sprintf(`target "t%d" {
  context    = "services/s%d"
  dockerfile = "Dockerfile"
  args       = { NAME = "s%d", LEVEL = "info", TAG = TAG }
  labels     = { "org.example.service" = "s%d" }
  tags       = ["registry.example.com/s%d:${TAG}", "registry.example.com/s%d:latest"]
  platforms  = ["linux/amd64", "linux/arm64"]
}
`, i, i, i, i, i, i)
}

func matrix(n int) string {
	var items []string
	for i := range n {
		items = append(items, fmt.Sprintf("%q", fmt.Sprintf("s%d", i)))
	}
	return `variable "TAG" {
  default = "1.0"
}

target "default" {
  name      = "t-${s}"
  matrix    = { s = [` + strings.Join(items, ",") + `] }
  context   = "services/${s}"
  args      = { NAME = s, LEVEL = "info", TAG = TAG }
  tags      = ["registry.example.com/${s}:${TAG}"]
  platforms = ["linux/amd64", "linux/arm64"]
}
`
}

const parents = `target "p1" {
  args = { A = "1", LEVEL = "info" }
}

target "p2" {
  inherits = ["p1"]
  args     = { B = "2" }
}

target "p3" {
  inherits  = ["p2"]
  platforms = ["linux/amd64"]
}

target "p4" {
  inherits = ["p3"]
  labels   = { "org.example.team" = "shop" }
}

target "p5" {
  inherits = ["p4"]
  args     = { A = "5" }
}

`

func heir(i int) string {
	return fmt.Sprintf(`target "t%d" {
  inherits = ["p5"]
  context  = "services/s%d"
  args     = { NAME = "s%d" }
  tags     = ["registry.example.com/s%d:${TAG}"]
}
`, i, i, i, i)
}

const functions = `function "image" {
  params = [name, tag]
  result = "registry.example.com/${lower(name)}:${tag}"
}

`

func caller(i int) string {
	return fmt.Sprintf(`target "t%d" {
  context = "services/s%d"
  args    = { SUM = sha256("s%d"), NAME = upper("s%d") }
  tags    = [for t in distinct([TAG, "latest", TAG]) : image("S%d", t)]
  labels  = merge({ "org.example.service" = "s%d" }, { "org.example.short" = substr("service-%d", 0, 7) })
}
`, i, i, i, i, i, i, i)
}

// linked reads from the target of half its number: a tree.
func linked(i int) string {
	contexts := ""
	if i > 0 {
		contexts = fmt.Sprintf("  contexts = { base = \"target:t%d\" }\n", i/2)
	}
	return fmt.Sprintf("target \"t%d\" {\n  context = \"services/s%d\"\n  tags    = [\"registry.example.com/s%d:${TAG}\"]\n%s}\n", i, i, i, contexts)
}

// plan measures --print.
func (b *bench) plan(ctx context.Context) error {
	fmt.Fprintf(b.out, "\nplanning: kiln build --print, buildx bake --print; median of %d\n\n", b.runs)
	t := tabwriter.NewWriter(b.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "definition\ttargets\tkiln\tCPU\tmemory\tper target\tbake\tCPU\tmemory\tbake/kiln\tCPU\t\t")
	for _, s := range shapes {
		for _, n := range sizes {
			if err := b.planRow(ctx, t, s, n); err != nil {
				return err
			}
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(b.out, "\nbake is not measured above %d targets.\n", bakeMost)
	return nil
}

func (b *bench) planRow(ctx context.Context, t *tabwriter.Writer, s shape, n int) error {
	dir, err := os.MkdirTemp(b.work, "plan-")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "docker-bake.hcl"), []byte(s.write(n)), 0o644); err != nil {
		return err
	}
	k, err := b.measure(ctx, dir, []string{b.kiln, "build", "--print"}, nil)
	if err != nil {
		return err
	}
	fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s\t%d µs\t", s.name, n, ms(k.wall), ms(k.cpu), mib(k.rss), k.wall.Microseconds()/int64(n))
	if n > bakeMost {
		fmt.Fprintf(t, "\t\t\t\t\t%s\t\n", b.noteRuns(k))
		return nil
	}
	x, err := b.measure(ctx, dir, []string{b.buildx, "bake", "--print"}, nil)
	if err != nil {
		return err
	}
	fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t\n", ms(x.wall), ms(x.cpu), mib(x.rss), ratio(k.wall, x.wall), ratio(k.cpu, x.cpu), b.noteRuns(x))
	return nil
}

// start measures what a user waits for before anything happens.
func (b *bench) start(ctx context.Context) error {
	dir := filepath.Join(b.work, "start")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	text := definition(3, plainTarget)
	if err := os.WriteFile(filepath.Join(dir, "docker-bake.hcl"), []byte(text), 0o644); err != nil {
		return err
	}
	fmt.Fprintf(b.out, "\nstarting: median of %d\n\n", b.runs)
	t := tabwriter.NewWriter(b.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "command\tkiln\tmemory\tbuildx\tmemory\tbuildx/kiln\t")
	for _, row := range []struct {
		name         string
		kiln, buildx []string
	}{
		{"version", []string{"version"}, []string{"version"}},
		{"--print, 3 targets", []string{"build", "--print"}, []string{"bake", "--print"}},
	} {
		k, err := b.measure(ctx, dir, append([]string{b.kiln}, row.kiln...), nil)
		if err != nil {
			return err
		}
		x, err := b.measure(ctx, dir, append([]string{b.buildx}, row.buildx...), nil)
		if err != nil {
			return err
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t\n", row.name, ms(k.wall), mib(k.rss), ms(x.wall), mib(x.rss), ratio(k.wall, x.wall))
	}
	return t.Flush()
}
