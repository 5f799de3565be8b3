package config

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	"github.com/docker/go-units"
	"github.com/hashicorp/hcl/v2"
)

// Checks of values that matter only if a target is built, as in bake: what
// they find goes to Target.Deferred.

// A checker looks over one target.
type checker struct {
	t     *Target
	diags hcl.Diagnostics
}

func check(t *Target) hcl.Diagnostics {
	c := &checker{t: t}
	c.contexts()
	c.platforms()
	c.annotations()
	c.sizes()
	c.ulimits()
	c.outputs()
	for _, s := range t.Secrets {
		if s.ID == "" {
			c.failf("secret", "a secret has no id. Add id=NAME, by which the Dockerfile mounts it.")
		}
	}
	slices.SortStableFunc(c.diags, func(a, b *hcl.Diagnostic) int {
		return cmp.Or(strings.Compare(a.Subject.Filename, b.Subject.Filename), cmp.Compare(a.Subject.Start.Byte, b.Subject.Start.Byte))
	})
	return c.diags
}

func (c *checker) failf(attr, format string, args ...any) {
	rng, ok := c.t.AttrRange[attr]
	if !ok {
		rng = c.t.DeclRange
	}
	c.diags = append(c.diags, problem(hcl.DiagError, rng, "Unsuitable value", "Attribute %q of target %q: %s", attr, c.t.Name, fmt.Sprintf(format, args...)))
}

func (c *checker) contexts() {
	if l, ok := c.t.Context.(Local); ok && l.Path == "-" {
		c.failf("context", "a context from standard input is possible only for a build of one Dockerfile; name a directory.")
	}
	if c.t.Dockerfile == "-" {
		c.failf("dockerfile", "a Dockerfile from standard input is not possible; use dockerfile-inline.")
	}
}

func (c *checker) platforms() {
	for _, list := range c.t.Platforms {
		for _, p := range strings.Split(list, ",") {
			if strings.EqualFold(p, "local") {
				continue
			}
			if _, err := platforms.Parse(p); err != nil {
				c.failf("platforms", "%q is no platform; write os/arch or os/arch/variant, as linux/arm64.%s", clip(p), near(p, knownPlatforms))
			}
		}
	}
}

var knownPlatforms = []string{"linux/amd64", "linux/arm64", "linux/arm/v7", "linux/arm/v6", "linux/386", "linux/ppc64le", "linux/s390x", "linux/riscv64", "windows/amd64", "darwin/amd64", "darwin/arm64"}

var annotationType = regexp.MustCompile(`^([a-z-]+)(?:\[([A-Za-z0-9_/-]+)\])?$`)

var annotationTypes = []string{"manifest", "index", "manifest-descriptor", "index-descriptor"}

func (c *checker) annotations() {
	for _, a := range c.t.Annotations {
		key, _, ok := strings.Cut(a, "=")
		if !ok {
			c.failf("annotations", "%q is not of the form [TYPE:]KEY=VALUE.", clip(a))
			continue
		}
		types, _, ok := strings.Cut(key, ":")
		if !ok {
			continue
		}
		for _, t := range strings.Split(types, ",") {
			c.annotationType(a, t)
		}
	}
}

func (c *checker) annotationType(annotation, t string) {
	m := annotationType.FindStringSubmatch(t)
	if m == nil {
		c.failf("annotations", "%q begins with %q, which is not of the form TYPE or TYPE[PLATFORM].", clip(annotation), clip(t))
		return
	}
	if _, known := oneOf(annotationTypes...)(m[1]); !known {
		c.failf("annotations", "%q has the type %q; there are %s.%s", clip(annotation), m[1], list(annotationTypes), near(m[1], annotationTypes))
	}
	if m[2] != "" {
		if _, err := platforms.Parse(m[2]); err != nil {
			c.failf("annotations", "%q is for %q, which is no platform.%s", clip(annotation), m[2], near(m[2], knownPlatforms))
		}
	}
}

func (c *checker) sizes() {
	if c.t.IsSet("shm-size") {
		c.size("shm-size", "", c.t.ShmSize)
	}
	r := c.t.Resources
	if r == nil {
		return
	}
	if r.Memory != nil {
		c.size("resources", "memory ", strings.TrimSpace(*r.Memory))
	}
	if r.MemorySwap != nil && strings.TrimSpace(*r.MemorySwap) != "-1" {
		c.size("resources", "memory-swap ", strings.TrimSpace(*r.MemorySwap))
	}
}

func (c *checker) size(attr, what, s string) {
	if _, err := units.RAMInBytes(s); err != nil {
		c.failf(attr, "%s%q is no size; write bytes, or a number with k, m or g.", what, clip(s))
	}
}

func (c *checker) ulimits() {
	for _, u := range c.t.Ulimits {
		if _, err := units.ParseUlimit(u); err != nil {
			c.failf("ulimits", "%q is no limit: %v. Write NAME=SOFT or NAME=SOFT:HARD, as nofile=1024:2048.", clip(u), err)
		}
	}
}

func (c *checker) outputs() {
	stdout := 0
	for _, o := range c.t.Outputs {
		isDir, isFile := o.Writes()
		switch {
		case isDir && o.Dest == "":
			c.failf("output", "an output of type %s needs a directory: add dest=DIRECTORY.", o.Type)
		case isDir && o.Dest == "-":
			c.failf("output", "an output of type %s is a directory and cannot go to standard output.", o.Type)
		case isFile && o.Dest == "-":
			stdout++
		}
	}
	if stdout > 1 {
		c.failf("output", "%d outputs go to standard output, where there is room for one. Give the others a dest.", stdout)
	}
}
