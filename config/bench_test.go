package config_test

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/config"
)

// shapes are build files of about n targets, each of another kind.
var shapes = []struct {
	name string
	text func(n int) string
}{
	{"plain", func(n int) string {
		var b strings.Builder
		b.WriteString("variable \"TAG\" { default = \"latest\" }\nvariable \"REGISTRY\" { default = \"registry.example.com/team\" }\n")
		for i := range n {
			fmt.Fprintf(&b, `
target "app-%d" {
  context    = "services/app-%d"
  dockerfile = "Dockerfile"
  args       = { VERSION = TAG, NAME = "app-%d", DEBUG = "false" }
  labels     = { "org.opencontainers.image.title" = "app-%d" }
  tags       = ["${REGISTRY}/app-%d:${TAG}", "${REGISTRY}/app-%d:latest"]
  platforms  = ["linux/amd64", "linux/arm64"]
}
`, i, i, i, i, i, i)
		}
		return b.String()
	}},
	{"matrix", func(n int) string {
		side := 1
		for side*side < n {
			side++
		}
		axis := func(prefix string) string {
			var vals []string
			for i := range side {
				vals = append(vals, fmt.Sprintf("%q", fmt.Sprint(prefix, i)))
			}
			return "[" + strings.Join(vals, ", ") + "]"
		}
		return fmt.Sprintf(`
variable "REGISTRY" { default = "registry.example.com/team" }
target "app" {
  name    = "app-${os}-${version}"
  matrix  = { os = %s, version = %s }
  context = "images/${os}"
  args    = { VERSION = version, OS = os }
  tags    = ["${REGISTRY}/app:${version}-${os}"]
}
`, axis("os"), axis("v"))
	}},
	{"inherits", func(n int) string {
		var b strings.Builder
		b.WriteString("target \"_base0\" { labels = { team = \"core\" } }\n")
		for i := 1; i < 5; i++ {
			fmt.Fprintf(&b, "target \"_base%d\" {\n  inherits = [\"_base%d\"]\n  args = { LEVEL%d = \"%d\" }\n}\n", i, i-1, i, i)
		}
		for i := range n {
			fmt.Fprintf(&b, "target \"app-%d\" {\n  inherits = [\"_base4\"]\n  args = { NAME = \"app-%d\" }\n  tags = [\"r/app-%d\"]\n}\n", i, i, i)
		}
		return b.String()
	}},
	{"functions", func(n int) string {
		var b strings.Builder
		b.WriteString(`
variable "REGISTRY" { default = "registry.example.com/team" }
function "tag" {
  params = [name, version]
  result = ["${REGISTRY}/${lower(name)}:${version}", "${REGISTRY}/${lower(name)}:latest"]
}
`)
		for i := range n {
			fmt.Fprintf(&b, "target \"app-%d\" {\n  args = { V = join(\".\", [\"1\", \"%d\"]) }\n  tags = tag(\"App-%d\", \"1.%d\")\n}\n", i, i, i, i)
		}
		return b.String()
	}},
	{"links", func(n int) string {
		var b strings.Builder
		b.WriteString("target \"base\" { tags = [\"r/base\"] }\n")
		for i := range n {
			link := "base"
			if i%10 != 0 {
				link = fmt.Sprintf("app-%d", i-1)
			}
			fmt.Fprintf(&b, "target \"app-%d\" {\n  contexts = { base = \"target:%s\" }\n  tags = [\"r/app-%d\"]\n  args = { BASE = target.%s.tags[0] }\n}\n", i, link, i, link)
		}
		return b.String()
	}},
}

func BenchmarkLoad(b *testing.B) {
	for _, s := range shapes {
		for _, n := range []int{100, 1000, 3200, 10000, 30000} {
			b.Run(fmt.Sprintf("%s/%d", s.name, n), func(b *testing.B) {
				files := []config.File{{Name: "build.hcl", Data: []byte(s.text(n))}}
				b.ReportAllocs()
				for b.Loop() {
					if _, diags := config.Load(files, config.Inputs{}); diags.HasErrors() {
						b.Fatal(diags)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/float64(n), "µs/target")
			})
		}
	}
}

func BenchmarkPrint(b *testing.B) {
	cfg, diags := config.Load([]config.File{{Name: "build.hcl", Data: []byte(shapes[0].text(3200))}}, config.Inputs{})
	if diags.HasErrors() {
		b.Fatal(diags)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := config.Print(io.Discard, cfg.Groups, cfg.Targets); err != nil {
			b.Fatal(err)
		}
	}
}
