package buildkit_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/exec/buildkit"
)

// A statement is an attestation of an image.
type statement struct {
	Type      string          `json:"predicateType"`
	Predicate json.RawMessage `json:"predicate"`
}

// index returns an image of several manifests in the store.
func (l *lab) index(t *testing.T, ref string) ocispec.Index {
	t.Helper()
	desc, err := l.store.Resolve(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	var index ocispec.Index
	if err := json.Unmarshal(blob(t, l.store.Content(), desc), &index); err != nil {
		t.Fatal(err)
	}
	return index
}

// statements returns the attestations of an image in the store.
func (l *lab) statements(t *testing.T, ref string) []statement {
	t.Helper()
	var out []statement
	for _, d := range l.index(t, ref).Manifests {
		if d.Annotations["vnd.docker.reference.type"] != "attestation-manifest" {
			continue
		}
		var m ocispec.Manifest
		if err := json.Unmarshal(blob(t, l.store.Content(), d), &m); err != nil {
			t.Fatal(err)
		}
		for _, layer := range m.Layers {
			var s statement
			if err := json.Unmarshal(blob(t, l.store.Content(), layer), &s); err != nil {
				t.Fatal(err)
			}
			var compact bytes.Buffer
			if err := json.Compact(&compact, s.Predicate); err != nil {
				t.Fatal(err)
			}
			s.Predicate = compact.Bytes()
			out = append(out, s)
		}
	}
	return out
}

// imageEffects are those of what an image says of itself.
func imageEffects() []effect {
	return []effect{
		{"args", "values", func(t *testing.T, l *lab) {
			l.must(t, `target "t" {
				args = { A = "a b", EMPTY = "", BASE = "scratch" }
				dockerfile-inline = "ARG BASE\nFROM $BASE\nARG A=d\nARG EMPTY=d\nARG UNSET=d\nENV GOT=$A,$EMPTY,$UNSET\n"
			}`)
			if _, img := l.image(t, "t"); !slices.Contains(img.Config.Env, "GOT=a b,,d") {
				t.Errorf("the environment is %q", img.Config.Env)
			}
		}},
		{"args", "proxies", func(t *testing.T, l *lab) {
			l.opt.Lower.Proxies = kv("HTTP_PROXY", "http://theirs.example", "NO_PROXY", "x.example")
			l.must(t, `target "t" {
				args = { http_proxy = "http://mine.example" }
				dockerfile-inline = "${sh}RUN echo $HTTP_PROXY,$http_proxy,$NO_PROXY > /got\n"
				output = ["out"]
			}`)
			l.contents(t, map[string]string{"out/got": "http://mine.example,http://mine.example,x.example"})
		}},
		{"args", "SOURCE_DATE_EPOCH", epochEffect},
		{"args", "built-in", func(t *testing.T, l *lab) {
			l.must(t, `target "t" {
				args = { BUILDKIT_MULTI_PLATFORM = "1", BUILDKIT_SANDBOX_HOSTNAME = "kilnhost" }
				dockerfile-inline = "${sh}RUN hostname > /got\n"
				output = ["out"]
			}
			target "index" {
				args = { BUILDKIT_MULTI_PLATFORM = "1" }
				dockerfile-inline = "FROM scratch\n"
			}`)
			l.contents(t, map[string]string{"out/linux_amd64/got": "kilnhost"})
			if n := len(l.index(t, "index").Manifests); n != 1 {
				t.Errorf("the forced index has %d manifests", n)
			}
		}},
		{"labels", "over the Dockerfile's", func(t *testing.T, l *lab) {
			l.must(t, `target "t" {
				labels = { a = "1", b = "over" }
				dockerfile-inline = "FROM scratch\nLABEL b=under c=3\n"
			}`)
			if _, img := l.image(t, "t"); !equalMaps(img.Config.Labels, map[string]string{"a": "1", "b": "over", "c": "3"}) {
				t.Errorf("the labels are %v", img.Config.Labels)
			}
		}},
		{"labels", "of git", func(t *testing.T, l *lab) {
			l.opt.Lower.Git = &buildkit.GitInfo{Revision: "abc", Source: "https://example.com/r", Root: ".", Labels: true}
			l.files(t, map[string]string{"sub/Dockerfile": "FROM scratch\n"})
			l.must(t, `target "t" {
				context = "sub"
				labels = { "org.opencontainers.image.revision" = "mine" }
			}`)
			want := map[string]string{"org.opencontainers.image.revision": "abc", "org.opencontainers.image.source": "https://example.com/r", "com.docker.image.source.entrypoint": "sub/Dockerfile"}
			if _, img := l.image(t, "t"); !equalMaps(img.Config.Labels, want) {
				t.Errorf("the labels are %v", img.Config.Labels)
			}
		}},
		{"annotations", "every place", annotationEffect},
		{"tags", "names", func(t *testing.T, l *lab) {
			out := l.must(t, `target "t" {
				tags = ["team/app:1", "registry.example.com/app"]
				dockerfile-inline = "FROM scratch\nLABEL a=1\n"
			}`)
			for _, ref := range []string{"docker.io/team/app:1", "registry.example.com/app:latest"} {
				if desc, err := l.store.Resolve(t.Context(), ref); err != nil || desc.Digest.String() != out["t"].Output.Digest {
					t.Errorf("%s is %s, %v", ref, desc.Digest, err)
				}
			}
		}},
		{"platforms", "several, local and list", func(t *testing.T, l *lab) {
			l.opt.Lower.Platform = "linux/arm64"
			l.files(t, map[string]string{"word": "w"})
			l.must(t, `target "t" {
				platforms = ["local", "linux/amd64,linux/arm/v7"]
				dockerfile-inline = "FROM --platform=$BUILDPLATFORM scratch AS b\nARG TARGETPLATFORM TARGETARCH TARGETVARIANT\nCOPY word /$TARGETARCH$TARGETVARIANT\nFROM scratch\nCOPY --from=b / /\n"
				output = ["out"]
			}
			target "one" {
				inherits = ["t"]
				platforms = ["arm64"]
				output = []
			}`)
			l.contents(t, map[string]string{"out/linux_arm64/arm64": "w", "out/linux_amd64/amd64": "w", "out/linux_arm_v7/armv7": "w"})
			if _, img := l.image(t, "one"); img.Architecture != "arm64" {
				t.Errorf("one is for %s", img.Architecture)
			}
		}},
		{"attest", "provenance", provenanceEffect},
		{"attest", "no artifacts", noArtifactsEffect},
		{"attest", "sbom", sbomEffect},
	}
}

func equalMaps(a, b map[string]string) bool {
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	return bytes.Equal(x, y)
}

// epochEffect builds with a fixed time, by argument and from outside.
func epochEffect(t *testing.T, l *lab) {
	l.opt.Lower.Epoch = "1600000000"
	l.files(t, map[string]string{"word": "w"})
	l.must(t, `target "env" { dockerfile-inline = "FROM scratch\nCOPY word /\n" }
	target "arg" {
		inherits = ["env"]
		args = { SOURCE_DATE_EPOCH = "1500000000" }
	}
	target "none" {
		inherits = ["env"]
		args = { SOURCE_DATE_EPOCH = "" }
	}
	target "files" {
		inherits = ["env"]
		output = ["type=oci,dest=files.tar,rewrite-timestamp=true"]
	}`)
	for name, want := range map[string]int64{"env": 1600000000, "arg": 1500000000} {
		if _, img := l.image(t, name); img.Created == nil || img.Created.Unix() != want {
			t.Errorf("%s was created at %v, want %d", name, img.Created, want)
		}
	}
	if _, img := l.image(t, "none"); img.Created == nil || time.Since(*img.Created) > 24*time.Hour {
		t.Errorf("none was created at %v", img.Created)
	}
	for _, h := range layerFiles(t, []byte(l.read(t, "files.tar"))) {
		if h.Name == "word" && h.ModTime.Unix() != 1600000000 {
			t.Errorf("the file is of %v", h.ModTime)
		}
	}
}

// annotationEffect looks for annotations of all kinds where they belong.
func annotationEffect(t *testing.T, l *lab) {
	out := l.must(t, `target "t" {
		platforms = ["linux/amd64", "linux/arm64"]
		annotations = ["plain=1", "manifest:m=2", "manifest[linux/arm64]:arm=3", "index:i=4", "manifest-descriptor:md=5", "index-descriptor:id=6", "index,manifest:both=7"]
		dockerfile-inline = "FROM scratch\nLABEL a=1\n"
	}`)
	index := l.index(t, "t")
	has := func(what string, have map[string]string, want ...string) {
		t.Helper()
		for i := 0; i < len(want); i += 2 {
			if have[want[i]] != want[i+1] {
				t.Errorf("the annotation %s of the %s is %q, want %q", want[i], what, have[want[i]], want[i+1])
			}
		}
	}
	has("index", index.Annotations, "i", "4", "both", "7", "plain", "", "m", "")
	for _, d := range index.Manifests {
		has("descriptor of the manifest", d.Annotations, "md", "5")
		m, _ := imageOf(t, l.store, d)
		arm := ""
		if d.Platform.Architecture == "arm64" {
			arm = "3"
		}
		has("manifest", m.Annotations, "plain", "1", "m", "2", "both", "7", "arm", arm, "i", "")
	}
	var desc ocispec.Descriptor
	data, err := base64.StdEncoding.DecodeString(out["t"].Output.Metadata["containerimage.descriptor"])
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &desc); err != nil {
		t.Fatal(err)
	}
	has("descriptor of the index", desc.Annotations, "id", "6")
}

// provenanceEffect asks for each form of provenance.
func provenanceEffect(t *testing.T, l *lab) {
	l.opt.Lower.Provenance = true
	l.must(t, `target "t" {
		args = { A = "told" }
		dockerfile-inline = "FROM scratch\nARG A\nCOPY busybox /b\n"
		tags = ["t"]
	}
	target "min" {
		inherits = ["t"]
		tags = ["min"]
		attest = ["type=provenance,mode=min"]
	}
	target "max" {
		inherits = ["t"]
		tags = ["max"]
		attest = [{ type = "provenance", mode = "max" }]
	}
	target "off" {
		inherits = ["max"]
		tags = ["off"]
		attest = [{ type = "provenance", disabled = true }]
	}`)
	low, high := string(l.provenance(t, "min")), string(l.provenance(t, "max"))
	if strings.Contains(low, "told") || strings.Contains(low, `"llbDefinition"`) {
		t.Errorf("the minimal provenance tells of arguments or steps:\n%s", low)
	}
	if !strings.Contains(high, `"build-arg:A":"told"`) || !strings.Contains(high, `"llbDefinition"`) {
		t.Errorf("the full provenance lacks arguments or steps:\n%s", high)
	}
	for _, plain := range []string{"t", "off"} { // the store is a file to BuildKit: no provenance unless asked for
		if m, _ := l.image(t, plain); m.Config.Digest == "" {
			t.Errorf("%s is not a plain manifest", plain)
		}
	}
}

// noArtifactsEffect asks for attestations in the form of images.
func noArtifactsEffect(t *testing.T, l *lab) {
	l.opt.Lower.NoArtifacts = true
	l.must(t, `target "stored" {
		dockerfile-inline = "FROM scratch\nCOPY busybox /b\n"
		attest = ["type=provenance,mode=min"]
	}
	target "written" {
		inherits = ["stored"]
		output = ["type=oci,dest=written.tar"]
	}
	target "artifact" {
		inherits = ["stored"]
		output = ["type=oci,dest=artifact.tar,oci-artifact=true"]
	}`)
	stored := ""
	for _, d := range l.index(t, "stored").Manifests {
		stored += string(blob(t, l.store.Content(), d))
	}
	const mark = `"artifactType"`
	for name, text := range map[string]string{"stored": stored, "written": l.read(t, "written.tar"), "artifact": l.read(t, "artifact.tar")} {
		if got, want := strings.Contains(text, mark), name == "artifact"; got != want || !strings.Contains(text, "in-toto.io/predicate-type") {
			t.Errorf("%s holds an artifact: %v, want %v", name, got, want)
		}
	}
}

// scanner is an image that answers as BuildKit's protocol of SBOM scanners has
// it: it lists the files of what it is given.
const scanner = `#!/bin/sh
set -e
files=$(cd "$BUILDKIT_SCAN_SOURCE" && find . -type f | sort | sed 's/.*/{"name":"&","SPDXID":"SPDXRef-File"}/' | tr '\n' ',' | sed 's/,$//')
echo '{"_type":"https://in-toto.io/Statement/v0.1","predicateType":"https://spdx.dev/Document","predicate":{"spdxVersion":"SPDX-2.3","name":"'"$BUILDKIT_SCAN_NOTE"'","packages":['"$files"']}}' > "$BUILDKIT_SCAN_DESTINATION/sbom.spdx.json"
`

// sbomEffect has a scanner of our own look at the result.
func sbomEffect(t *testing.T, l *lab) {
	reg := newWatchedRegistry(t)
	busybox := l.read(t, "busybox")
	pushFiles(t, reg.host+"/scanner:1", map[string]string{"bin/busybox!": busybox, "bin/sh!": busybox, "scan!": scanner}, v1.Config{Entrypoint: []string{"/scan"}, Env: []string{"PATH=/bin"}})
	// busybox is not installed under its names: the shell finds them itself.
	l.files(t, map[string]string{"word": "w"})
	l.must(t, `target "t" {
		dockerfile-inline = "FROM scratch\nCOPY word /deep/word\n"
		attest = ["type=sbom,generator=`+reg.host+`/scanner:1,NOTE=by kiln"]
	}
	target "off" {
		inherits = ["t"]
		attest = ["type=sbom,disabled=true"]
		tags = ["off"]
	}`)
	var boms []string
	for _, s := range l.statements(t, "t") {
		if s.Type == "https://spdx.dev/Document" {
			boms = append(boms, string(s.Predicate))
		}
	}
	if len(boms) != 1 || !strings.Contains(boms[0], `"./deep/word"`) || !strings.Contains(boms[0], `"name":"by kiln"`) {
		t.Errorf("the SBOMs are %q", boms)
	}
	if m, _ := l.image(t, "off"); m.Config.Digest == "" {
		t.Error("off is not a plain manifest")
	}
}
