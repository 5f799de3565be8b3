package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
)

// The cold build: thirty targets, four deep. One chain of four takes long, and
// should decide how long the whole takes; the others fit in beside it.

const coldDockerfile = `FROM scratch
COPY --chmod=755 busybox /bin/busybox
RUN ["/bin/busybox", "sh", "-c", "/bin/busybox seq 1 20000 > /root.txt"]
`

const coldStep = `FROM below
ARG SALT
ARG WORK
RUN ["/bin/busybox", "sh", "-c", "/bin/busybox echo $SALT > /salt && /bin/busybox sleep $WORK && /bin/busybox sha256sum /root.txt > /sum"]
`

const (
	coldChains = 7 // of four, and two more targets
	coldDepth  = 4
	coldLong   = "1"   // seconds of a step in the long chain
	coldShort  = "0.1" // in the others
)

// coldDefinition names targets cCdD, of chain C at depth D; c0 is the long one.
func coldDefinition() string {
	var text strings.Builder
	var names []string
	text.WriteString("variable \"SALT\" {\n  default = \"\"\n}\n\ntarget \"root\" {\n  dockerfile = \"root.Dockerfile\"\n  output = [\"type=cacheonly\"]\n}\n\n")
	target := func(name, below, seconds string) {
		names = append(names, name)
		fmt.Fprintf(&text, `target %q {
  dockerfile = "step.Dockerfile"
  contexts   = { below = "target:%s" }
  args       = { SALT = "${SALT}%s", WORK = %q }
  output     = ["type=cacheonly"]
}

`, name, below, name, seconds)
	}
	for c := range coldChains {
		below, seconds := "root", coldShort
		if c == 0 {
			seconds = coldLong
		}
		for d := 1; d < coldDepth; d++ { // the root is the first
			name := fmt.Sprintf("c%dd%d", c, d)
			target(name, below, seconds)
			below = name
		}
	}
	for i := len(names); i < 29; i++ {
		target(fmt.Sprintf("x%d", i), "root", coldShort)
	}
	fmt.Fprintf(&text, "group \"all\" {\n  targets = [%s]\n}\n", quoted(append(names, "root")))
	return text.String()
}

// cold measures a build of which nothing is cached but the root's files.
func (b *bench) cold(ctx context.Context) error {
	dir := filepath.Join(b.work, "cold")
	program, err := os.ReadFile(filepath.Join(filepath.Dir(b.kiln), "busybox"))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, f := range []struct{ name, text string }{
		{"root.Dockerfile", coldDockerfile}, {"step.Dockerfile", coldStep}, {"docker-bake.hcl", coldDefinition()}, {"busybox", string(program)},
	} {
		if err := os.WriteFile(filepath.Join(dir, f.name), []byte(f.text), 0o644); err != nil {
			return err
		}
	}
	return b.onEngine(ctx, func(d daemon) error {
		fmt.Fprintf(b.out, "\ncold build, 30 targets, four deep, on kiln's engine: median of %d\n\n", b.runs)
		t := tabwriter.NewWriter(b.out, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintln(t, "longest chain alone\tkiln\tkiln/chain\tbake\tbake/kiln\t\t")
		salt := 0
		measure := func(args []string) (sample, error) {
			var all []sample
			for range b.runs {
				salt++
				s, err := b.once(ctx, dir, append(b.setting(fmt.Sprintf("SALT=%d", salt)), args...))
				if err != nil {
					return sample{}, err
				}
				all = append(all, s)
			}
			return summary(all), nil
		}
		chain, err := measure(d.kiln(b, fmt.Sprintf("c0d%d", coldDepth-1)))
		if err != nil {
			return err
		}
		k, err := measure(d.kiln(b, "all"))
		if err != nil {
			return err
		}
		x, err := measure(d.bake(b, "all"))
		if err != nil {
			return err
		}
		fmt.Fprintf(t, "%s\t%s\t%.2f\t%s\t%s\t\n", ms(chain.wall), ms(k.wall), k.wall.Seconds()/chain.wall.Seconds(), ms(x.wall), ratio(k.wall, x.wall))
		return t.Flush()
	})
}
