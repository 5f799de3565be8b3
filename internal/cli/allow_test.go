package cli

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kilnbuild/kiln/config"
)

// targetOf evaluates a definition that has a target of that line alone.
func targetOf(t *testing.T, line string) *config.Target {
	t.Helper()
	file := config.File{Name: "docker-bake.hcl", Data: []byte("target \"t\" {\n" + line + "\n}\n")}
	cfg, diags := config.Load([]config.File{file}, config.Inputs{})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	return cfg.Target("t")
}

// needLines are needs as "GRANT: WHY".
func needLines(needs []need) []string {
	out := []string{}
	for _, n := range needs {
		out = append(out, n.String()+": "+n.why)
	}
	return out
}

// TestNeeds has a row for each way to need something.
func TestNeeds(t *testing.T) {
	root := map[string]string{"fs.read=.": "context", "fs.read=Dockerfile": "dockerfile"}
	for _, test := range []struct {
		name, line string
		want       []string // beside root, unless the line sets context or dockerfile
	}{
		{"nothing", "", nil},
		{"network.host", `entitlements = ["network.host"]`, []string{"network.host: entitlements"}},
		{"the host's network", `network = "host"`, []string{"network.host: entitlements"}},
		{"another network", `network = "none"`, nil},
		{"security.insecure", `entitlements = ["security.insecure"]`, []string{"security.insecure: entitlements"}},
		{"all devices", `entitlements = ["device"]`, []string{"device: entitlements"}},
		{"a device", `entitlements = ["device=vendor.com/gpu=0"]`, []string{"device=vendor.com/gpu=0: entitlements"}},
		{"context", `context = "a/../b"`, []string{"fs.read=b: context", "fs.read=b/Dockerfile: dockerfile"}},
		{"remote context", `context = "https://example.com/r.git"`, []string{}},
		{"remote context, local Dockerfile", "context = \"https://example.com/r.git\"\ndockerfile = \"cwd://d/D\"", []string{"fs.read=d/D: dockerfile"}},
		{"remote context, Dockerfile in it", "context = \"https://example.com/r.git\"\ndockerfile = \"d/D\"", []string{}},
		{"named context", `contexts = { x = "../x", y = "docker-image://y", z = "https://example.com/z.git" }`, []string{"fs.read=../x: context x"}},
		{"layout", `contexts = { x = "oci-layout://../x:tag@sha256:` + strings.Repeat("0", 64) + `" }`, []string{"fs.read=../x: context x"}},
		{"Dockerfile", `dockerfile = "../D"`, []string{"fs.read=.: context", "fs.read=../D: dockerfile"}},
		{"absolute Dockerfile", `dockerfile = "/d/D"`, []string{"fs.read=.: context", "fs.read=/d/D: dockerfile"}},
		{"Dockerfile of the working directory", "context = \"c\"\ndockerfile = \"cwd://D\"", []string{"fs.read=c: context", "fs.read=D: dockerfile"}},
		{"no Dockerfile", "context = \"c\"\ndockerfile-inline = \"FROM scratch\"", []string{"fs.read=c: context"}},
		{"local cache", `cache-from = ["type=local,src=../c", "type=registry,ref=r.example.com/c"]`, []string{"fs.read=../c: cache-from"}},
		{"secret file", `secret = ["id=a,src=../s", "id=b,env=E", { id = "c", src = "s" }]`, []string{"fs.read=../s: secret a", "fs.read=s: secret c"}},
		{"secret without a source", `secret = ["id=s", "id=IS_SET"]`, []string{"fs.read=s: secret s"}},
		{"SSH keys", `ssh = ["a=k1,k2"]`, []string{"fs.read=k1: ssh a", "fs.read=k2: ssh a"}},
		{"SSH agent", `ssh = ["default"]`, []string{"ssh: ssh agent"}},
		{"context by SSH", `context = "git@example.com:team/r.git"`, []string{"ssh: context by SSH"}},
		{"context by SSH, with a key", "context = \"git@example.com:team/r.git\"\nssh = [\"default=k\"]", []string{"fs.read=k: ssh default"}},
		{"local output", `output = ["../o"]`, []string{"fs.write=../o: output"}},
		{"archives", `output = ["type=tar,dest=o.tar", "type=oci,dest=/o", "type=docker,dest=d.tar"]`, []string{"fs.write=o.tar: output", "fs.write=/o: output", "fs.write=d.tar: output"}},
		{"standard output", `output = ["type=tar"]`, nil},
		{"image output", `output = ["type=image,push=true", "type=registry", "type=docker", "type=cacheonly"]`, nil},
		{"cache destination", `cache-to = ["type=local,dest=../c", "type=inline"]`, []string{"fs.write=../c: cache-to"}},
		{"deletion", `output = ["type=local,dest=o,mode=delete"]`, []string{"fs.write=o: output", "buildx.local.delete: output with mode=delete"}},
		{"no deletion", `output = ["type=local,dest=o,mode=copy"]`, []string{"fs.write=o: output"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := &app{dir: t.TempDir(), env: map[string]string{"IS_SET": "1", "SSH_AUTH_SOCK": "/agent"}}
			got := needLines(a.needsOf([]*config.Target{targetOf(t, test.line)}))
			want := slices.Clone(test.want)
			if !strings.Contains(test.line, "context =") && !strings.Contains(test.line, "dockerfile") {
				for _, g := range slices.Sorted(maps.Keys(root)) {
					want = append(want, g+": "+root[g])
				}
			}
			slices.Sort(got)
			slices.Sort(want)
			if diff := cmp.Diff(want, got, cmp.Transformer("nil", func(s []string) []string { return append([]string{}, s...) })); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestCovers has a row for each kind of grant, paths and links.
func TestCovers(t *testing.T) {
	top := t.TempDir()
	work := filepath.Join(top, "work")
	for _, dir := range []string{"work/in", "out/deep", "outer"} {
		if err := os.MkdirAll(filepath.Join(top, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, to := range map[string]string{
		"work/way": "../out", "work/near": "in", "work/dangling": "../out/new", "work/loop": "loop", "work/chain": "way/deep",
		"work/far": filepath.Join(top, "out"), "entrance": "work",
	} {
		if err := os.Symlink(to, filepath.Join(top, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		grant, need string
		want        bool
	}{
		{"network.host", "network.host", true},
		{"security.insecure", "network.host", false},
		{"device", "device", true},
		{"device", "device=a", true},
		{"device=a", "device=a", true},
		{"device=a", "device=b", false},
		{"device=a", "device", false},
		{"ssh", "ssh", true},
		{"buildx.local.delete", "buildx.local.delete", true},
		{"fs.write=o", "buildx.local.delete", false},
		{"image", "network.host", false},
		{"fs.read=.", "fs.read=in", true},
		{"fs.read=.", "fs.read=new/not/there", true},
		{"fs.read=.", "fs.write=in", false},
		{"fs.write=.", "fs.read=in", false},
		{"fs=.", "fs.write=in", true},
		{"fs=.", "fs.read=../out", false},
		{"fs=*", "fs.read=/anywhere", true},
		{"fs.read=*", "fs.write=/anywhere", false},
		{"fs=../out", "fs.read=../outer", false},
		{"fs=../out", "fs.read=../out/deep/x", true},
		{"fs=../out/deep", "fs.read=../out", false},
		{"fs=.", "fs.read=in/../../out", false},
		{"fs=.", "fs.read=way", false},
		{"fs=.", "fs.write=way/new", false},
		{"fs=.", "fs.write=far/new", false},
		{"fs=.", "fs.read=chain/x", false},
		{"fs=.", "fs.write=dangling", false},
		{"fs=.", "fs.write=dangling/x", false},
		{"fs=../out", "fs.write=dangling/x", true},
		{"fs=../out", "fs.read=way/deep", true},
		{"fs=way", "fs.read=../out/deep", true},
		{"fs=.", "fs.read=near/x", true},
		{"fs=.", "fs.read=loop", true},
		{"fs=../entrance", "fs.read=in", true},
		{"fs=.", "fs.read=../entrance/in", true},
		{"fs=/", "fs.write=../out", true},
		{"fs=.", "fs.read=", true},
	} {
		parse := func(s string) grant { k, v, _ := strings.Cut(s, "="); return grant{grantKind(k), v} }
		if got := parse(test.grant).covers(parse(test.need), work); got != test.want {
			t.Errorf("--allow %s covers %s: %v, want %v", test.grant, test.need, got, test.want)
		}
	}
}

func TestParseAllow(t *testing.T) {
	for _, test := range []struct{ value, want string }{
		{"network.host", "network.host"},
		{"network.host, ssh", "network.host ssh"},
		{"fs=/a,fs.read=b,fs.write=*", "fs=/a fs.read=b fs.write=*"},
		{"device", "device"},
		{"device=vendor.com/gpu=0", "device=vendor.com/gpu=0"},
		{"image.push=r.example.com/x", "image.push=r.example.com/x"},
		{"image.load=x", "image.load=x"},
		{"image=x", "image=x"},
		{"buildx.local.delete", "buildx.local.delete"},
	} {
		grants, err := parseAllow([]string{test.value})
		var got []string
		for _, g := range grants {
			got = append(got, g.String())
		}
		if err != nil || strings.Join(got, " ") != test.want {
			t.Errorf("--allow %s: %q, %v", test.value, got, err)
		}
	}
	for value, want := range map[string]string{
		"":                       "unknown entitlement key",
		"netwrok.host":           `did you mean "network.host"?`,
		"fs":                     "needs a path",
		"fs.read=":               "needs a path",
		"buildx.local.delete=no": "takes no value",
		"network.host=x":         "takes no value",
		"security.insecure=1":    "takes no value",
		"ssh,bogus":              `unknown entitlement key "bogus"`,
	} {
		if _, err := parseAllow([]string{value}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("--allow %q: %v, want %q in it", value, err, want)
		}
	}
}

// TestOverrideGrants: what --set asks for itself is granted, but for contexts.
func TestOverrideGrants(t *testing.T) {
	for set, want := range map[string]string{
		"t.output=../o":                             "fs.write=../o",
		"t.output=type=local,dest=../o":             "fs.write=../o",
		"t.output+=type=tar,\"dest=../o,x\"":        "fs.write=../o,x",
		"t.output=type=image,push=true":             "",
		"t.output=type=docker":                      "",
		"t.output=":                                 "",
		"t.output=type=local,dest=../o,mode=delete": "fs.write=../o",
		"t.cache-from=type=local,src=../c":          "fs.read=../c",
		"t.cache-from=r.example.com/c":              "",
		"t.cache-to=type=local,dest=../c":           "fs.write=../c",
		"t.secret=id=a,src=../s":                    "fs.read=../s",
		"t.secrets=id=a,source=../s":                "fs.read=../s",
		"t.secret.a=src=../s":                       "fs.read=../s",
		"t.secret=id=a,env=E":                       "",
		"t.secret=type=env,id=a":                    "",
		"t.secret=id=a":                             "fs.read=a",
		"t.ssh=default":                             "ssh",
		"t.ssh=key=../k,l":                          "fs.read=../k fs.read=l",
		"t.entitlements=network.host":               "network.host",
		"t.entitlement=security.insecure":           "security.insecure",
		"t.entitlements=device=a":                   "device=a",
		"t.network=host":                            "network.host",
		"t.network=none":                            "",
		"t.context=../x":                            "",
		"t.contexts.a=../x":                         "",
		"t.dockerfile=../D":                         "",
		"t.args.A=../x":                             "",
		"t.tags=type=local,dest=../o":               "",
	} {
		overrides, err := parseSets([]string{set})
		if err != nil {
			t.Errorf("--set %s: %v", set, err)
			continue
		}
		var got []string
		for _, g := range overrideGrants(overrides) {
			got = append(got, g.String())
		}
		if strings.Join(got, " ") != want {
			t.Errorf("--set %s grants %q, want %q", set, got, want)
		}
	}
}

// TestImplied: the directories of files that the user named, or that were
// looked for, are granted; those of included and fetched ones are not.
func TestImplied(t *testing.T) {
	got := implied([]config.File{
		{Name: "../build.hcl", Base: ".."},
		{Name: "docker-bake.hcl"},
		{Name: "../services/a/build.hcl", Base: "../services/a", Included: true},
		{Name: "../../evil/build.hcl", Base: "../../evil", Included: true},
		{Name: "../x/docker-bake.hcl", Base: "../x", ContextsOnly: true},
		{Name: "../../r/docker-bake.hcl", Base: "../../r", ContextsOnly: true, Remote: true},
	})
	want := []grant{{grantFS, "."}, {grantFS, ".."}, {grantFS, "../x"}}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestEnforced: what the environment says not to insist on.
func TestEnforced(t *testing.T) {
	needs := []need{
		{grant: grant{grantFSRead, "/r"}}, {grant: grant{grantFSWrite, "/w"}}, {grant: grant{kind: grantSSH}},
		{grant: grant{kind: grantNetworkHost}}, {grant: grant{kind: grantInsecure}}, {grant: grant{kind: grantDevice}}, {grant: grant{kind: grantLocalDelete}},
	}
	for _, test := range []struct {
		fs, access string // of BUILDX_BAKE_ENTITLEMENTS_FS and BAKE_ALLOW_REMOTE_FS_ACCESS
		remote     bool
		want       int
	}{
		{"", "", false, 7}, {"1", "", false, 7}, {"0", "", false, 4}, {"false", "", true, 4}, {"nonsense", "", false, 7},
		{"", "1", false, 7}, {"", "1", true, 4}, {"", "0", true, 7}, {"1", "1", true, 7}, {"0", "0", true, 4},
	} {
		a := &app{env: map[string]string{"BUILDX_BAKE_ENTITLEMENTS_FS": test.fs, "BAKE_ALLOW_REMOTE_FS_ACCESS": test.access}}
		if got := a.enforced(needs, test.remote); len(got) != test.want {
			t.Errorf("%+v: %d needs are enforced, want %d", test, len(got), test.want)
		}
	}
}

// A need that comes with another is not told beside it.
func TestMissing(t *testing.T) {
	read := func(p string) need { return need{grant: grant{grantFSRead, p}} }
	got := needLines(missing([]need{read("../a"), read("../a/Dockerfile"), read("in"), read("../b"), {grant: grant{grantFSWrite, "../a"}}}, []grant{{grantFS, "."}}, t.TempDir()))
	want := []string{"fs.read=../a: ", "fs.read=../b: ", "fs.write=../a: "}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// The command that is told grants what is missing, wherever the flags go.
func TestWithFlags(t *testing.T) {
	for _, test := range []struct{ args, want []string }{
		{[]string{"build"}, []string{"build", "--allow", "ssh"}},
		{[]string{"bake", "-f", "a b.hcl", "api"}, []string{"bake", "--allow", "ssh", "-f", "'a b.hcl'", "api"}},
		{[]string{"-D", "build", "https://example.com/r.git"}, []string{"-D", "build", "--allow", "ssh", "https://example.com/r.git"}},
	} {
		if got := withFlags(test.args, []string{"--allow", "ssh"}); !slices.Equal(got, test.want) {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}
