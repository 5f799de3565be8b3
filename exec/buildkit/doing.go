package buildkit

import (
	"strings"

	"github.com/distribution/reference"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/graph"
)

// Doing says what a step of a node is busy with, in words that go on after
// "silent for five minutes:". BuildKit tells it by the step's name, and of an
// export by the part that moves.
func Doing(n *graph.Node, v exec.Vertex) string {
	name := v.Name
	for _, d := range doings {
		rest, ok := strings.CutPrefix(name, d.prefix)
		if !ok {
			continue
		}
		switch d.what {
		case anImage:
			return d.text + imageAndHost(rest)
		case theName:
			return d.text + redactURL(name)
		case aContext:
			return d.text + contextOf(n.Target, rest)
		case anExport:
			return exporting(n.Target, rest, v.Part)
		case theRest:
			return d.text + redactURL(rest)
		}
		return d.text
	}
	if head, rest, ok := strings.Cut(name, "] "); ok && strings.HasPrefix(head, "[") {
		name = rest // of "[build 2/5] RUN make"
	}
	switch instruction, rest, _ := strings.Cut(name, " "); instruction {
	case "RUN":
		return "running " + strings.TrimSpace(rest)
	case "FROM":
		return "pulling " + imageAndHost(strings.TrimSpace(rest))
	}
	return redactURL(name)
}

// What the rest of a step's name is.
const (
	noRest = iota
	theRest
	theName
	anImage
	aContext
	anExport
)

// doings are the names that BuildKit gives to steps that are no instruction
// of a Dockerfile.
var doings = []struct {
	prefix string
	what   int
	text   string
}{
	{"[internal] load metadata for ", anImage, "asking for the metadata of "},
	{"resolve image config for ", anImage, "asking for the metadata of "},
	{"[auth] ", theRest, "asking for a token: "},
	{"importing cache manifest from ", theRest, "reading cache from "},
	{"[internal] load build definition from ", theRest, "sending the Dockerfile "},
	{"[internal] load .dockerignore", noRest, "sending .dockerignore"},
	{"[internal] load build context", aContext, "sending the directory "},
	{"[context ", aContext, "sending the directory "},
	{"[internal] load remote build context", noRest, "fetching the context"},
	{"exporting cache", theRest, "exporting the cache"},
	{"exporting to ", anExport, ""},
	{"docker-image://", anImage, "pulling "},
	{"oci-layout://", anImage, "reading the image "},
	{"local://", noRest, "sending a directory"},
	{"git://", theName, "fetching "},
	{"https://", theName, "fetching "},
	{"http://", theName, "fetching "},
}

// imageAndHost names an image and the registry that it comes from.
func imageAndHost(ref string) string {
	ref, _, _ = strings.Cut(strings.TrimPrefix(ref, "docker-image://"), " ")
	short, _, _ := strings.Cut(ref, "@")
	named, err := reference.ParseNormalizedNamed(short)
	if err != nil || !strings.Contains(short, "/") { // a cache that is no image: "local:…"
		return redactURL(short)
	}
	return short + " from " + reference.Domain(named)
}

// contextOf names the directory of a context: the target's own, or that which
// a step calls "NAME] load from client".
func contextOf(t *config.Target, rest string) string {
	name, _, named := strings.Cut(rest, "]")
	source := t.Context
	for _, c := range t.Contexts {
		if named && c.Name == name {
			source = c.From
		}
	}
	if l, ok := source.(config.Local); ok {
		return l.Path
	}
	return "of a context"
}

// exporting says where the result of a target goes to, and what of it moves.
func exporting(t *config.Target, kind, part string) string {
	text := "exporting to " + kind
	if strings.HasPrefix(part, "pushing") {
		text = "pushing"
	}
	switch {
	case kind == "image" || strings.HasPrefix(kind, "docker") || strings.HasPrefix(kind, "oci"):
		if len(t.Tags) > 0 {
			text += " " + strings.Join(t.Tags, ", ")
		}
	default:
		for _, o := range t.Outputs {
			if o.Dest != "" {
				text += " " + o.Dest
			}
		}
	}
	if part != "" {
		text += ", " + part
	}
	return text
}
