package buildkit_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec"
)

// TestDeepLinks: a chain of sixty targets, of which each reads the one before
// and adds to its files and to its configuration.
func TestDeepLinks(t *testing.T) {
	const depth = 60
	for _, frontend := range []bool{false, true} {
		t.Run(fmt.Sprintf("frontend=%t", frontend), func(t *testing.T) {
			t.Parallel()
			l := newLab(t, frontend)
			l.files(t, map[string]string{"word": "w"})
			r := &recorder{}
			l.sink = r
			l.must(t, fmt.Sprintf(`target "t0" {
				dockerfile-inline = "FROM scratch\nENV DEPTH=0\nCOPY word /f0\n"
				output = ["type=cacheonly"]
			}
			target "chain" {
				name = "t${n}"
				matrix = { n = range(1, %d) }
				contexts = { below = "target:t${n - 1}" }
				dockerfile-inline = "FROM below\nENV DEPTH=${n} LAST=$DEPTH\nCOPY word /f${n}\n"
				output = n == %d ? ["out"] : ["type=cacheonly"]
			}
			target "config" {
				contexts = { below = "target:t%d" }
				dockerfile-inline = "FROM below\nLABEL depth=$DEPTH last=$LAST\n"
			}`, depth+1, depth, depth))
			for _, n := range []int{0, 1, depth / 2, depth} {
				l.contents(t, map[string]string{fmt.Sprint("out/f", n): "w"})
			}
			if _, img := l.image(t, "config"); img.Config.Labels["depth"] != fmt.Sprint(depth) || img.Config.Labels["last"] != fmt.Sprint(depth-1) {
				t.Errorf("the labels are %v", img.Config.Labels)
			}
		})
	}
}

// runsOf counts how often steps whose name holds text ran, or were found in
// the cache.
func (r *recorder) runsOf(text string) int {
	var seen []string
	for _, e := range r.of(exec.VertexKind) {
		if strings.Contains(e.Vertex.Name, text) && !e.Vertex.Completed.IsZero() && !slices.Contains(seen, e.Vertex.Digest) {
			seen = append(seen, e.Vertex.Digest)
		}
	}
	return len(seen)
}

// TestWideLinks: fifty targets read one base, whose step runs once.
func TestWideLinks(t *testing.T) {
	for _, frontend := range []bool{false, true} {
		t.Run(fmt.Sprintf("frontend=%t", frontend), func(t *testing.T) {
			t.Parallel()
			l := newLab(t, frontend)
			r := &recorder{}
			l.sink = r
			l.must(t, `target "base" {
				dockerfile-inline = "${sh}RUN echo `+t.Name()+`; cat /proc/sys/kernel/random/uuid > /id\n"
				output = ["type=cacheonly"]
			}
			target "wide" {
				name = "w${n}"
				matrix = { n = range(50) }
				contexts = { base = "target:base" }
				dockerfile-inline = "FROM scratch\nCOPY --from=base /id /id\nCOPY --from=base /bin/sh /sh${n}\n"
				output = ["out/${n}"]
			}`)
			first := l.read(t, "out/0/id")
			for n := range 50 {
				l.contents(t, map[string]string{fmt.Sprintf("out/%d/id", n): strings.TrimSpace(first)})
			}
			if n := r.runsOf("RUN echo"); n != 1 {
				t.Errorf("the base's step ran %d times", n)
			}
		})
	}
}

// TestLinksOfPlatforms: targets for several platforms read each other,
// platform by platform, with their configuration.
func TestLinksOfPlatforms(t *testing.T) {
	for _, frontend := range []bool{false, true} {
		t.Run(fmt.Sprintf("frontend=%t", frontend), func(t *testing.T) {
			t.Parallel()
			l := newLab(t, frontend)
			l.files(t, map[string]string{"word": "w"})
			l.must(t, `target "base" {
				platforms = ["linux/amd64", "linux/arm64", "linux/riscv64"]
				dockerfile-inline = <<E
FROM scratch
ARG TARGETARCH
COPY word /$TARGETARCH
ENV ARCH=$TARGETARCH
WORKDIR /of-$TARGETARCH
USER 7
ENTRYPOINT ["/e"]
LABEL arch=$TARGETARCH
ONBUILD COPY word /onbuild
E
			}
			target "app" {
				platforms = ["linux/amd64", "linux/arm64"]
				contexts = { base = "target:base" }
				dockerfile-inline = "FROM base\nCOPY word here-$ARCH\nLABEL app=$ARCH\n"
				output = ["out", "type=oci,dest=app.tar"]
			}
			target "top" {
				inherits = ["app"]
				platforms = ["arm64"]
				contexts = { base = "target:app" }
				dockerfile-inline = "FROM base\nLABEL top=$ARCH\n"
				output = []
			}
			target "tool" {
				contexts = { base = "target:base" }
				dockerfile-inline = "FROM base\n"
			}`)
			l.contents(t, map[string]string{
				"out/linux_amd64/amd64": "w", "out/linux_arm64/arm64": "w", "out/linux_amd64/of-amd64/here-amd64": "w",
				"out/linux_arm64/of-arm64/here-arm64": "w", "out/linux_arm64/onbuild": "w",
			})
			_, top := l.image(t, "top")
			if got := top.Config; got.User != "7" || got.WorkingDir != "/of-arm64" || !slices.Equal(got.Entrypoint, []string{"/e"}) ||
				!equalMaps(got.Labels, map[string]string{"arch": "arm64", "app": "arm64", "top": "arm64"}) || top.Architecture != "arm64" {
				t.Errorf("top is for %s, with %+v", top.Architecture, got)
			}
			if _, img := l.image(t, "tool"); img.Config.Labels["arch"] != "amd64" {
				t.Errorf("a reader without platforms got %v", img.Config.Labels)
			}
		})
	}
}

// TestPlatformsReadOneLink: platforms that are converted side by side read
// the same result. It is the race detector that finds fault.
func TestPlatformsReadOneLink(t *testing.T) {
	l := newLab(t, false)
	l.files(t, map[string]string{"word": "w"})
	for range 5 {
		l.must(t, `target "tool" { dockerfile-inline = "FROM scratch\nCOPY word /tool\n" }
		target "app" {
			platforms = formatlist("linux/%s", ["386", "amd64", "arm64", "arm/v7", "mips64le", "ppc64le", "riscv64", "s390x"])
			contexts = { tool = "target:tool" }
			dockerfile-inline = "FROM --platform=$BUILDPLATFORM tool AS t\nARG TARGETARCH\nCOPY word /$TARGETARCH\n\nFROM scratch\nCOPY --from=t / /\n"
			output = ["out"]
		}`)
	}
	l.contents(t, map[string]string{"out/linux_s390x/tool": "w", "out/linux_s390x/s390x": "w", "out/linux_arm_v7/arm": "w"})
}

// TestCheckThroughLinks: a check finds what is wrong in a Dockerfile whose
// base is another target, builds nothing, and does not fail for the link.
func TestCheckThroughLinks(t *testing.T) {
	for _, frontend := range []bool{false, true} {
		l := newLab(t, frontend)
		r := &recorder{}
		l.sink = r
		out := l.must(t, `target "base" {
			call = "check"
			dockerfile-inline = "${sh}ENV A=1\nRUN echo `+t.Name()+`\n"
		}
		target "app" {
			call = "check"
			contexts = { base = "target:base" }
			dockerfile-inline = "FROM base as x\nCOPY --from=base /a /b\n"
		}
		target "mixed" {
			contexts = { base = "target:built" }
			call = "check"
			dockerfile-inline = "FROM base AS x\nMAINTAINER me\n"
		}
		target "built" {
			dockerfile-inline = "FROM scratch\nCOPY busybox /b\n"
			output = ["out"]
		}`)
		for target, want := range map[string]string{"base": "", "app": "FromAsCasing", "mixed": "MaintainerDeprecated"} {
			answer := out[target].Output.Metadata["result.json"]
			if want == "" && strings.Contains(answer, "ruleName") || !strings.Contains(answer, want) || answer == "" {
				t.Errorf("frontend=%t: %s: %s", frontend, target, answer)
			}
		}
		if n := r.runsOf("RUN echo"); n != 0 {
			t.Errorf("frontend=%t: a check ran a step", frontend)
		}
		if _, err := l.store.Resolve(t.Context(), "app"); err == nil {
			t.Error("a check stored an image")
		}
		l.read(t, "out/b")
	}
}

// TestLinkDigests: images on other targets are the same by both paths.
func TestLinkDigests(t *testing.T) {
	dir, names := featureWorld(t)
	base := &config.Target{Name: "base", DockerfileInline: names.Replace("SHRUN echo base > /base\nENV A=1\nWORKDIR /w\nONBUILD COPY word /on\n"), Outputs: cacheOnly}
	many := &config.Target{Name: "base", DockerfileInline: "FROM scratch\nARG TARGETARCH\nCOPY word /$TARGETARCH\nENV A=$TARGETARCH\n", Platforms: []string{"linux/amd64", "linux/arm64"}, Outputs: cacheOnly}
	mid := &config.Target{Name: "mid", Contexts: []config.NamedSource{from("base", "base")}, DockerfileInline: "FROM base\nENV B=$A\nCOPY deep deep\n", Outputs: cacheOnly}
	top := config.Target{Contexts: []config.NamedSource{from("mid", "mid"), from("base", "base")}, DockerfileInline: "FROM mid\nCOPY --from=base / /copy/\nLABEL b=$B\n"}
	topMany := config.Target{Contexts: []config.NamedSource{from("base", "base")}, DockerfileInline: "FROM base\nLABEL a=$A\n", Platforms: many.Platforms}
	replaced := config.Target{Contexts: []config.NamedSource{from("golang:1.26", "base")}, DockerfileInline: "FROM golang:1.26 AS b\nFROM scratch\nCOPY --from=golang:1.26 /base /b\nCOPY --from=b /on /on\n"}
	bare := &config.Target{Name: "base", DockerfileInline: "FROM scratch\nENV A=1\nWORKDIR /\n", Outputs: cacheOnly}
	onBare := config.Target{Contexts: []config.NamedSource{from("base", "base")}, DockerfileInline: "FROM base AS b\nCOPY word /w\nFROM b\nLABEL a=$A\nCOPY --from=base / /all/\n"}
	(&session{dir: dir}).bothPaths(t, &onBare, bare)
	(&session{dir: dir}).bothPaths(t, &top, base, mid)
	(&session{dir: dir}).bothPaths(t, &topMany, many)
	(&session{dir: dir}).bothPaths(t, &replaced, base)
}
