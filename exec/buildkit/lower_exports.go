package buildkit

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/config"
)

func pairs(kvs []config.KeyValue) map[string]string {
	m := make(map[string]string, len(kvs))
	for _, kv := range kvs {
		m[kv.Key] = kv.Value
	}
	return m
}

// exports lowers the outputs. Each is one exporter, but cacheonly, which is none.
func (l *lowering) exports() {
	for _, o := range l.t.Outputs {
		e := Export{Type: o.Type, Dest: o.Dest, Attrs: pairs(o.Attrs)}
		if o.Type == "cacheonly" {
			continue
		}
		l.export(&e)
		l.req.Exports = append(l.req.Exports, e)
	}
	switch {
	case len(l.t.Outputs) > 0:
	case l.o.Docker != nil && !l.o.Docker.NoLoad:
		e := Export{Type: client.ExporterDocker, Attrs: map[string]string{}}
		l.export(&e)
		l.req.Exports = append(l.req.Exports, e)
	case l.o.Docker == nil && l.o.Stored:
		l.req.Stored = true
	}
}

func (l *lowering) export(e *Export) {
	switch e.Type {
	case "registry":
		e.Type = client.ExporterImage
		e.Attrs["push"] = "true"
		if _, ok := e.Attrs["unpack"]; !ok {
			e.Attrs["unpack"] = "false"
		}
		l.name(e)
	case client.ExporterImage, client.ExporterOCI, client.ExporterDocker:
		l.name(e)
	case client.ExporterTar:
	case client.ExporterLocal:
		if e.Dest == "" || e.Dest == "-" {
			l.wrong("output", "Missing directory", "an output of type %q needs a directory, as in %q.", "local", "type=local,dest=out")
		}
		return
	default: // the daemon may know it
		return
	}
	if e.Dest == "" && (e.Type == client.ExporterTar || e.Type == client.ExporterOCI) {
		e.Dest = "-"
	}
	if isDirectory(e) && (e.Dest == "" || e.Dest == "-") {
		l.wrong("output", "Missing directory", "an output of type %q with tar=false needs a directory, as in %q.", e.Type, "type=oci,tar=false,dest=out")
	}
}

// isDirectory reports whether e writes an OCI layout as a directory.
func isDirectory(e *Export) bool {
	if e.Type != client.ExporterOCI && e.Type != client.ExporterDocker {
		return false
	}
	tar, err := strconv.ParseBool(e.Attrs["tar"])
	return err == nil && !tar
}

// name gives an image output the names of the tags, which win over its own.
func (l *lowering) name(e *Export) {
	if len(l.req.Tags) > 0 {
		e.Attrs["name"] = strings.Join(l.req.Tags, ",")
	}
	push, _ := strconv.ParseBool(e.Attrs["push"])
	if push && e.Attrs["name"] == "" && len(l.t.Tags) == 0 {
		l.wrong("output", "Missing tag", "the image is to be pushed, but has no name. Set %q, or %q in the output.", "tags", "name")
	}
}

// annotationType is "manifest", or "index[linux/amd64]".
var annotationType = regexp.MustCompile(`^([a-z-]+)(?:\[([A-Za-z0-9_/-]+)\])?$`)

func (l *lowering) annotations() {
	attrs := map[string]string{}
	for _, a := range l.t.Annotations {
		head, value, ok := strings.Cut(a, "=")
		if !ok {
			l.wrong("annotations", "Invalid annotation", "%q has no value. An annotation looks like %q.", a, "manifest:key=value")
			continue
		}
		types, key, ok := strings.Cut(head, ":")
		if !ok {
			types, key = "", head
		}
		for t := range strings.SplitSeq(types, ",") {
			if k, ok := l.annotationKey(a, t, key); ok {
				attrs[k] = value
			}
		}
	}
	for i := range l.req.Exports {
		maps.Copy(l.req.Exports[i].Attrs, attrs)
	}
	if l.req.Stored && len(attrs) > 0 {
		// The store's exporter is made when it runs; it takes these along.
		l.req.Exports = append(l.req.Exports, Export{Type: client.ExporterOCI, Dest: storeDest, Attrs: attrs})
		l.req.Stored = false
	}
}

// storeDest is the destination of an export that goes to kiln's store.
const storeDest = "store:"

func (l *lowering) annotationKey(whole, typ, key string) (string, bool) {
	k := exptypes.AnnotationKey{Key: key}
	if typ != "" {
		m := annotationType.FindStringSubmatch(typ)
		known := []string{exptypes.AnnotationManifest, exptypes.AnnotationIndex, exptypes.AnnotationManifestDescriptor, exptypes.AnnotationIndexDescriptor}
		if m == nil || !slices.Contains(known, m[1]) {
			l.wrong("annotations", "Invalid annotation", "%q: %q is not a place for an annotation. There are %s.", whole, typ, strings.Join(known, ", "))
			return "", false
		}
		k.Type = m[1]
		if m[2] != "" {
			p, err := platforms.Parse(m[2])
			if err != nil {
				l.wrong("annotations", "Invalid annotation", "%q: %q is not a platform.", whole, m[2])
				return "", false
			}
			k.Platform = &ocispec.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant}
		}
	}
	return k.String(), true
}

const (
	attestPrefix      = "attest:"
	defaultProvenance = "mode=min,inline-only=true"
)

func (l *lowering) attestations() {
	mentioned := false
	for _, a := range l.t.Attest {
		mentioned = mentioned || a.Type == "provenance"
		if a.Disabled {
			continue
		}
		var fields []string
		for _, kv := range a.Attrs {
			fields = append(fields, kv.Key+"="+kv.Value)
		}
		l.req.Attrs[attestPrefix+a.Type] = csvFields(fields)
		l.req.Attested = l.req.Attested || len(l.req.Exports) > 0 || l.req.Stored
	}
	if mentioned || !l.o.Provenance || l.o.Docker.classic() {
		return
	}
	// bake's default; "inline only" keeps it out of files and directories.
	l.req.Attrs[attestPrefix+"provenance"] = defaultProvenance
	l.req.Attested = l.req.Attested || slices.ContainsFunc(l.req.Exports, func(e Export) bool { return e.Type == client.ExporterImage })
}

// fileFormats refuses what Docker's format of files cannot hold.
func (l *lowering) fileFormats() {
	if l.o.Docker.classic() || !l.req.isIndex() {
		return
	}
	for _, e := range l.req.Exports {
		if e.Type == client.ExporterDocker && e.Dest != "" {
			l.wrong("output", "Unsupported output", "an output of type %q to a file holds one platform and no attestations. Make it type %q, or ask for one platform and no attestations.", "docker", "oci")
			return
		}
	}
}

// artifacts gives image outputs the form of attestations that the run asks for.
func (l *lowering) artifacts() {
	if !l.o.NoArtifacts || l.o.Docker.classic() {
		return
	}
	for _, e := range l.req.Exports {
		if e.Type == client.ExporterImage || e.Type == client.ExporterOCI || e.Type == mobyExporter {
			noArtifact(e.Attrs)
		}
	}
}

func noArtifact(attrs map[string]string) {
	key := string(exptypes.OptKeyOCIArtifact)
	if _, ok := attrs[key]; !ok {
		attrs[key] = "false"
	}
}

func (l *lowering) caches() {
	lower := func(in []config.Cache) (out []Cache) {
		for _, c := range in {
			out = append(out, Cache{Type: c.Type, Attrs: pairs(c.Attrs)})
		}
		return out
	}
	l.req.CacheFrom, l.req.CacheTo = lower(l.t.CacheFrom), lower(l.t.CacheTo)
	for _, f := range []struct {
		attr, typ, key string
		in             []Cache
	}{
		{"cache-from", "registry", "ref", l.req.CacheFrom}, {"cache-to", "registry", "ref", l.req.CacheTo},
		{"cache-from", "local", "src", l.req.CacheFrom}, {"cache-to", "local", "dest", l.req.CacheTo},
	} {
		for _, c := range f.in {
			if c.Type == f.typ && c.Attrs[f.key] == "" {
				l.wrong(f.attr, "Incomplete cache", "a cache of type %q needs %q.", f.typ, f.key)
			}
		}
	}
	inline, _ := strconv.ParseBool(l.req.Attrs["build-arg:BUILDKIT_INLINE_CACHE"])
	if inline && !slices.ContainsFunc(l.req.CacheTo, func(c Cache) bool { return c.Type == "inline" }) {
		l.req.CacheTo = append(l.req.CacheTo, Cache{Type: "inline"})
	}
}
