package config

import (
	"path"
	"path/filepath"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

// Paths. A path stays as it was written, together with its base, until the
// values are decoded; so expressions that refer to it see what was written.

// A pathBase is what the relative paths of a file are relative to.
type pathBase struct {
	dir      string // relative to the working directory
	contexts bool   // only contexts are: BUILDX_BAKE_FILE_RELATIVE_PATHS
}

// context returns a context or named context relative to the working directory.
func (b *pathBase) context(p string) string {
	if b == nil || p == "" || filepath.IsAbs(p) || isSpecial(p) {
		return p
	}
	return path.Join(filepath.ToSlash(b.dir), filepath.ToSlash(p))
}

// layout does the same for the path of an OCI layout, which only kiln's own
// files can have relative to themselves.
func (b *pathBase) layout(p string) string {
	ref, ok := strings.CutPrefix(p, "oci-layout://")
	if !ok || b == nil || b.contexts || filepath.IsAbs(ref) {
		return p
	}
	return "oci-layout://" + path.Join(filepath.ToSlash(b.dir), ref)
}

// file returns a path of an output, a secret, a key or a cache relative to
// the working directory.
func (b *pathBase) file(p string) string {
	if b == nil || b.contexts || p == "" || p == "-" || filepath.IsAbs(p) {
		return p
	}
	return path.Join(filepath.ToSlash(b.dir), filepath.ToSlash(p))
}

// isSpecial reports whether a context is none of the file system, or is
// relative to the working directory in any case.
func isSpecial(p string) bool {
	for _, prefix := range []string{"cwd://", "target:", "docker-image:", "oci-layout://", "store://"} {
		if strings.HasPrefix(p, prefix) {
			return true
		}
	}
	return isRemote(p)
}

// contextKind reads the main context; its layers are contextPaths.
var contextKind = &kind{
	words: "string",
	fit: func(f *fitting, v cty.Value) any {
		s, ok := f.text(v, f.rng, "")
		if !ok {
			return nil
		}
		return contextPath{s, f.base}
	},
	value: func(v any) cty.Value {
		if v == nil {
			return textValue(nil)
		}
		return textValue(v.(contextPath).path)
	},
}

type contextPath struct {
	path string
	base *pathBase
}

// contextsKind reads the named contexts; its layers are sorted by name.
var contextsKind = &kind{
	words: "map of strings",
	fit:   fitContexts,
	join: func(lower, upper any) any {
		return overlay(lower.([]namedContext), upper.([]namedContext), func(c namedContext) string { return c.name })
	},
	tidy: func(v any) any {
		kept := []namedContext{}
		for _, c := range v.([]namedContext) {
			if c.path != "" {
				kept = append(kept, c)
			}
		}
		return kept
	},
	value: func(v any) cty.Value {
		if v == nil {
			return mapValue(nil)
		}
		kvs := []KeyValue{}
		for _, c := range v.([]namedContext) {
			kvs = append(kvs, KeyValue{c.name, c.path})
		}
		return stringMap(kvs)
	},
}

type namedContext struct {
	name string
	contextPath
	rng hcl.Range
}

func fitContexts(f *fitting, v cty.Value) any {
	kvs, ok := fitMap(f, v, false).([]KeyValue)
	if !ok {
		return nil
	}
	out := make([]namedContext, len(kvs))
	for i, kv := range kvs {
		out[i] = namedContext{kv.Key, contextPath{kv.Value, f.base}, f.placeOf(kv.Key)}
	}
	return out
}
