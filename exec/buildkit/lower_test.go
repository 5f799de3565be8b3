package buildkit_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec/buildkit"
)

func num(n int64) *int64 { return &n }

func str(s string) *string { return &s }

// lowerCases has at least one for each row of bake.md §7.1.
var lowerCases = []struct {
	name   string
	target config.Target
	opt    buildkit.LowerOptions
}{
	{name: "plain", target: config.Target{Context: local(".")}},
	{name: "args_labels", target: config.Target{Args: kv("A", "1", "B", ""), Labels: kv("l", "2")}},
	{name: "stage_platforms", target: config.Target{Stage: "prod", Platforms: []string{"amd64,linux/arm/v7", "local"}}, opt: buildkit.LowerOptions{Platform: "linux/arm64"}},
	{name: "no_cache", target: config.Target{NoCache: true, NoCacheFilter: []string{"a"}}},
	{name: "no_cache_filter", target: config.Target{NoCacheFilter: []string{"a", "b"}, Pull: true}},
	{name: "network_host", target: config.Target{Network: "host", Entitlements: []string{"security.insecure"}}},
	{name: "network_none", target: config.Target{Network: "none"}},
	{name: "network_default", target: config.Target{Network: "default"}},
	{name: "extra_hosts", target: config.Target{ExtraHosts: kv("h", "1.1.1.1,2.2.2.2", "six", "[::1]")}},
	{name: "limits", target: config.Target{ShmSize: "64m", Ulimits: []string{"nofile=1024:2048", "nproc=5000"}}},
	{name: "resources", target: config.Target{Resources: &config.Resources{Memory: str("1g"), MemorySwap: str(" -1"), CPUShares: num(512), CPUPeriod: num(0), CPUQuota: num(50000), CPUSetCPUs: str("0-1"), CPUSetMems: str("0")}}},
	{name: "attest", target: config.Target{Outputs: []config.Export{{Type: "oci", Dest: "x"}}, Attest: []config.Attestation{
		{Type: "provenance", Attrs: kv("mode", "max", "note", "a,b")}, {Type: "sbom"}}}},
	{name: "attest_disabled", target: config.Target{Outputs: []config.Export{{Type: "image"}}, Attest: []config.Attestation{{Type: "provenance", Disabled: true}}}, opt: buildkit.LowerOptions{Provenance: true}},
	{name: "provenance_default", target: config.Target{Outputs: []config.Export{{Type: "oci", Dest: "x"}}}, opt: buildkit.LowerOptions{Provenance: true}},
	{name: "provenance_image", target: config.Target{Outputs: []config.Export{{Type: "image"}}}, opt: buildkit.LowerOptions{Provenance: true}},
	{name: "contexts", target: config.Target{Contexts: []config.NamedSource{
		{Name: "alpine:latest", From: config.Image{Ref: "x/y:1"}},
		{Name: "context", From: local("sub/")},
		{Name: "git", From: config.Remote{URL: "https://host/x.git#main"}},
		{Name: "layout", From: config.Layout{Ref: "./oci:tag@sha256:abc"}},
		{Name: "other", From: local("cwd://other")},
		from("base", "base"),
	}}},
	{name: "dockerfile", target: config.Target{Context: local("ctx"), Dockerfile: "../d/my.file"}},
	{name: "dockerfile_cwd", target: config.Target{Context: local("ctx"), Dockerfile: "cwd://d/my.file"}},
	{name: "dockerfile_absolute", target: config.Target{Context: local("ctx"), Dockerfile: "/d/my.file"}},
	{name: "dockerfile_inline", target: config.Target{Context: local("ctx"), Dockerfile: "x", DockerfileInline: "FROM scratch\n"}},
	{name: "remote", target: config.Target{Context: config.Remote{URL: "https://host/x.git"}, Dockerfile: "sub/Dockerfile"}},
	{name: "remote_local_dockerfile", target: config.Target{Context: config.Remote{URL: "git@host:x.git"}, Dockerfile: "cwd://d/Dockerfile"}},
	{name: "tags_annotations", target: config.Target{Tags: []string{"app", "r.io/app:1"}, Annotations: []string{"a=1", "index,manifest[linux/amd64]:b=2=3"},
		Outputs: []config.Export{{Type: "image", Attrs: kv("name", "replaced", "push", "true")}, {Type: "local", Dest: "out"}}}},
	{name: "outputs", target: config.Target{Outputs: []config.Export{
		{Type: "registry", Attrs: kv("name", "r.io/x")}, {Type: "oci"}, {Type: "docker"}, {Type: "tar", Dest: "t"}, {Type: "oci", Dest: "d", Attrs: kv("tar", "false")}, {Type: "cacheonly"}, {Type: "other", Attrs: kv("a", "b")}}}},
	{name: "stored", target: config.Target{Tags: []string{"app"}}, opt: buildkit.LowerOptions{Stored: true}},
	{name: "stored_annotated", target: config.Target{Annotations: []string{"a=1"}}, opt: buildkit.LowerOptions{Stored: true}},
	{name: "cacheonly", target: config.Target{Outputs: cacheOnly}, opt: buildkit.LowerOptions{Stored: true}},
	{name: "caches", target: config.Target{
		CacheFrom: []config.Cache{{Type: "registry", Attrs: kv("ref", "r/c")}, {Type: "local", Attrs: kv("src", "c")}, {Type: "gha"}, {Type: "s3", Attrs: kv("bucket", "b")}},
		CacheTo:   []config.Cache{{Type: "registry", Attrs: kv("ref", "r/c", "mode", "max")}, {Type: "azblob", Attrs: kv("name", "n")}}}},
	{name: "inline_cache", target: config.Target{Args: kv("BUILDKIT_INLINE_CACHE", "1")}},
	{name: "secrets_ssh", target: config.Target{Secrets: []config.Secret{{ID: "a", Src: "f"}, {ID: "b", Env: "B"}}, SSH: []config.SSH{{ID: "default"}, {ID: "k", Paths: []string{"p"}}}}},
	{name: "syntax", target: config.Target{Args: kv("BUILDKIT_SYNTAX", "docker/dockerfile:1 x")}},
	{name: "syntax_builtin", target: config.Target{Args: kv("BUILDKIT_SYNTAX", "dockerfile.v0")}},
	{name: "call", target: config.Target{Call: "check", Outputs: toDir("out"), Contexts: []config.NamedSource{{Name: "x", From: local("x")}}}},
	{name: "call_outline", target: config.Target{Call: "outline"}},
	{name: "epoch_proxy", target: config.Target{Args: kv("http_proxy", "mine")}, opt: buildkit.LowerOptions{Epoch: "5", Proxies: kv("HTTP_PROXY", "theirs", "NO_PROXY", "x")}},
	{name: "epoch_set", target: config.Target{Args: kv("SOURCE_DATE_EPOCH", "")}, opt: buildkit.LowerOptions{Epoch: "5"}},
	{name: "git", target: config.Target{Context: local("svc/api")}, opt: buildkit.LowerOptions{Git: &buildkit.GitInfo{Revision: "abc-dirty", Source: "https://host/x", Root: "."}}},
	{name: "git_labels", target: config.Target{Context: local("svc/api"), Labels: kv("org.opencontainers.image.revision", "mine")}, opt: buildkit.LowerOptions{Git: &buildkit.GitInfo{Revision: "abc", Root: ".", Labels: true}}},
	{name: "policy", target: config.Target{Policy: []config.Policy{{Filename: "p.json", More: []string{"cwd://q.JSON"}}}}},
	{name: "policy_disabled", target: config.Target{Policy: []config.Policy{{Filename: "p.rego", Disabled: true}}}},
}

func TestLower(t *testing.T) {
	for _, tt := range lowerCases {
		t.Run(tt.name, func(t *testing.T) {
			tt.target.Name = "app"
			req, diags := buildkit.Lower(&tt.target, tt.opt)
			if diags.HasErrors() {
				t.Fatal(diags)
			}
			got, err := json.MarshalIndent(req, "", "\t")
			if err != nil {
				t.Fatal(err)
			}
			golden(t, filepath.Join("testdata", "lower", tt.name+".json"), string(got)+"\n")
		})
	}
}

// golden compares with a file, or with KILN_UPDATE writes it.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if os.Getenv("KILN_UPDATE") != "" {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(read(t, file), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

func TestLowerMistakes(t *testing.T) {
	for _, tt := range []struct {
		target config.Target
		want   string
	}{
		{config.Target{Tags: []string{"UPPER", "ok"}}, `Invalid tag; Target "app": "UPPER" is not the name of an image`},
		{config.Target{Context: config.Image{Ref: "x"}}, `Unsupported context; Target "app": the context "docker-image://x" is neither a directory nor a URL`},
		{config.Target{Context: config.FromTarget{Target: "x"}}, `"target:x" is neither a directory nor a URL`},
		{config.Target{Contexts: []config.NamedSource{{Name: "Not OK", From: local(".")}}}, `Invalid context name; Target "app": "Not OK" cannot name a context`},
		{config.Target{Network: "bridge"}, `Unsupported network; Target "app": the network "bridge"`},
		{config.Target{Platforms: []string{"a/b/c/d"}}, `Invalid platform`},
		{config.Target{ExtraHosts: kv("h", "bogus")}, `host "h": "bogus" is not an IP address`},
		{config.Target{ExtraHosts: kv("h", "host-gateway")}, `"host-gateway" has a meaning for newer Docker Engines only`},
		{config.Target{Ulimits: []string{"bogus"}}, `Invalid ulimit`},
		{config.Target{ShmSize: "many"}, `Invalid size; Target "app": "many" is not a size`},
		{config.Target{Resources: &config.Resources{Memory: str("x")}}, `Invalid size`},
		{config.Target{Annotations: []string{"novalue", "x:k=v", "manifest[a/b/c/d/e]:k=v"}}, `Invalid annotation; Target "app": "novalue" has no value`},
		{config.Target{Outputs: []config.Export{{Type: "registry"}}}, `Missing tag; Target "app": the image is to be pushed, but has no name`},
		{config.Target{Outputs: []config.Export{{Type: "local"}}}, `Missing directory`},
		{config.Target{Outputs: []config.Export{{Type: "oci", Attrs: kv("tar", "false")}}}, `an output of type "oci" with tar=false needs a directory`},
		{config.Target{Platforms: []string{"linux/amd64", "linux/arm64"}, Outputs: []config.Export{{Type: "docker", Dest: "x.tar"}}}, `an output of type "docker" to a file holds one platform and no attestations`},
		{config.Target{Attest: []config.Attestation{{Type: "sbom"}}, Outputs: []config.Export{{Type: "docker", Dest: "x.tar"}}}, `Unsupported output`},
		{config.Target{CacheTo: []config.Cache{{Type: "local"}}}, `a cache of type "local" needs "dest"`},
		{config.Target{CacheFrom: []config.Cache{{Type: "registry"}}}, `a cache of type "registry" needs "ref"`},
		{config.Target{Args: kv("BUILDKIT_SYNTAX", "")}, `Empty frontend`},
		{config.Target{Policy: []config.Policy{{Filename: "p.rego"}}}, `the policy "p.rego" cannot be enforced: kiln has no interpreter of Rego`},
	} {
		tt.target.Name = "app"
		tt.target.AttrRange = map[string]hcl.Range{"tags": {Filename: "build.hcl", Start: hcl.Pos{Line: 3}}}
		req, diags := buildkit.Lower(&tt.target, buildkit.LowerOptions{})
		var text []string
		for _, d := range diags {
			text = append(text, d.Summary+"; "+d.Detail)
			if d.Subject == nil {
				t.Errorf("%s has no place", d.Summary)
			}
		}
		if all := strings.Join(text, "\n"); req != nil || !strings.Contains(all, tt.want) {
			t.Errorf("diagnostics are\n%s\nwant %s", all, tt.want)
		}
	}
}
