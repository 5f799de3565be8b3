package buildkit_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec/buildkit"
)

// newCaps are the capabilities of the BuildKit in an engine of today.
var newCaps = []string{"diffop", "exec.meta.linux.resources", "exec.meta.ulimit", "exporter.multiple", "mergeop", "source.ocilayout", "source.policy"}

// What a target asks of a Docker Engine is told, or becomes an export of it.
func TestLowerForDocker(t *testing.T) {
	old := &buildkit.Docker{Version: "20.10.24"}
	classic := &buildkit.Docker{Version: "29.0.0", Caps: newCaps}
	containerd := &buildkit.Docker{Version: "29.0.0", Containerd: true, Caps: newCaps}
	for _, tt := range []struct {
		name, target string
		on           *buildkit.Docker
		want         string // exports, or summaries of diagnostics
	}{
		{"no output", `tags = ["a:1", "b"]`, old, "moby name=docker.io/library/a:1,docker.io/library/b:latest"},
		{"no output, no tag", ``, old, "moby"},
		{"no output, not loaded", ``, &buildkit.Docker{NoLoad: true}, ""},
		{"load and push are one", "tags = [\"r.io/a\"]\noutput = [\"type=docker\", \"type=registry\"]", classic, "moby name=r.io/a:latest push=true"},
		{"names of several outputs", `output = ["type=image,name=x", "type=image,name=y"]`, containerd, "moby name=docker.io/library/x:latest,docker.io/library/y:latest"},
		{"files", `output = ["out", "type=tar,dest=o.tar"]`, old, "local; tar"},
		{"layouts of containerd's store", `output = ["type=oci,dest=o.tar", "type=docker,dest=d.tar"]`, containerd, "oci; docker"},
		{"a question", `call = "outline"`, old, ""},
		{"layouts", `output = ["type=oci,dest=o.tar", "type=docker,dest=d.tar"]`, classic, "Output not supported; Output not supported"},
		{"platforms", `platforms = ["linux/amd64", "linux/arm64"]`, classic, "Several platforms not supported"},
		{"platforms in files", "platforms = [\"linux/amd64\", \"linux/arm64\"]\noutput = [\"out\"]", classic, "local"},
		{"platforms in containerd's store", `platforms = ["linux/amd64", "linux/arm64"]`, containerd, "moby"},
		{"attestations", `attest = ["type=sbom", "type=provenance"]`, classic, "Attestations not supported; Attestations not supported"},
		{"disabled attestations", `attest = ["type=provenance,disabled=true"]`, classic, "moby"},
		{"annotations", `annotations = ["a=b"]`, classic, "Annotations not supported"},
		{"annotations in containerd's store", `annotations = ["a=b"]`, containerd, "moby annotation.a=b"},
		{"by digest", `output = ["type=image,name=x,push=true,push-by-digest=true"]`, classic, "Push by digest not supported"},
		{"inline cache", `cache-to = ["type=inline", "type=gha"]`, old, "moby"},
		{"gha cache in a runner", `cache-to = ["type=gha"]`, &buildkit.Docker{Actions: true}, "Cache not supported"},
		{"other caches", `cache-to = ["type=registry,ref=x/y", "type=local,dest=c"]`, classic, "Cache not supported; Cache not supported"},
		{"caches of containerd's store", `cache-to = ["type=registry,ref=x/y", "type=local,dest=c"]`, containerd, "moby"},
		{"no s3 anywhere", `cache-to = ["type=s3,bucket=b,region=r"]`, containerd, "Cache not supported"},
		{"layout as context", `contexts = { l = "oci-layout://l" }`, classic, "Context not supported"},
		{"kiln's store as context", `contexts = { l = "store://l" }`, classic, "Context not supported"},
		{"both with containerd's store", `contexts = { l = "oci-layout://l", m = "store://m" }`, containerd, "moby"},
		{"ulimits", `ulimits = ["nofile=1:1"]`, old, "Ulimits not supported"},
		{"ulimits of a newer engine", `ulimits = ["nofile=1:1"]`, classic, "moby"},
		{"policy", `policy = ["filename=p.json"]`, old, "Policy not supported"},
		{"old frontend", "context = \"https://x.io/r.git\"\ncontexts = { l = \"docker-image://l\" }", old, "Contexts not supported"},
		{"old frontend, another named", "context = \"https://x.io/r.git\"\ncontexts = { l = \"docker-image://l\" }\nargs = { BUILDKIT_SYNTAX = \"docker/dockerfile:1\" }", old, "moby"},
	} {
		cfg, diags := config.Load([]config.File{{Name: "build.hcl", Data: []byte("target \"app\" {\n" + tt.target + "\n}\n")}}, config.Inputs{})
		if diags.HasErrors() {
			t.Fatalf("%s: %v", tt.name, diags)
		}
		req, diags := buildkit.Lower(cfg.Target("app"), buildkit.LowerOptions{Provenance: true, Docker: tt.on})
		var got []string
		for _, d := range diags {
			got = append(got, d.Summary)
			if d.Subject == nil || d.Subject.Start.Line < 2 && tt.target != "" || !strings.Contains(d.Detail, "the Docker Engine ") || !strings.HasSuffix(d.Detail, ".") {
				t.Errorf("%s: %s at %v: %s", tt.name, d.Summary, d.Subject, d.Detail)
			}
		}
		if req != nil {
			for _, e := range req.Exports {
				got = append(got, exportText(e))
			}
			if req.Stored || tt.on == classic && req.Attested {
				t.Errorf("%s: the request is for kiln's store, or attested", tt.name)
			}
		}
		if diff := cmp.Diff(tt.want, strings.Join(got, "; ")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func exportText(e buildkit.Export) string {
	words := []string{e.Type}
	for k, v := range e.Attrs {
		words = append(words, k+"="+v)
	}
	slices.Sort(words[1:])
	return strings.Join(words, " ")
}

// TestHostGateway: the name that Docker has for its machine is its address, in
// an engine that tells of it.
func TestHostGateway(t *testing.T) {
	target := &config.Target{Name: "app", ExtraHosts: kv("host.docker.internal", "host-gateway")}
	req, diags := buildkit.Lower(target, buildkit.LowerOptions{Docker: &buildkit.Docker{Version: "29.0.0", HostGateway: "172.17.0.1"}})
	if diags.HasErrors() || req.Attrs["add-hosts"] != "host.docker.internal=172.17.0.1" {
		t.Errorf("%+v, %v", req, diags)
	}
	if req, diags = buildkit.Lower(target, buildkit.LowerOptions{Docker: &buildkit.Docker{Version: "20.10.24"}}); !diags.HasErrors() {
		t.Errorf("an engine that tells of no gateway has %+v", req)
	}
}
