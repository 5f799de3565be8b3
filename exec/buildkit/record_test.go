package buildkit_test

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/buildkit"
	"github.com/kilnbuild/kiln/internal/testenv"
)

// A predicate is what the tests look at in a provenance.
type predicate struct {
	BuildType  string
	Invocation struct {
		ConfigSource struct{ EntryPoint string }
		Parameters   struct {
			Frontend string
			Args     map[string]string
		}
	}
	BuildConfig json.RawMessage
	Metadata    json.RawMessage
}

func provenanceIn(t *testing.T, o exec.Outcome, key string) predicate {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(o.Output.Metadata[key])
	if err != nil {
		t.Fatal(err)
	}
	var p predicate
	if err := json.Unmarshal(raw, &p); err != nil {
		t.Fatalf("%s of %s: %v in %q, of %q", key, o.Node.Name(), err, raw, o.Output.Metadata)
	}
	return p
}

// TestRecords: where the daemon keeps records of builds, the metadata have
// the reference of each target's, and its provenance. The images are the same.
func TestRecords(t *testing.T) {
	d := testenv.Start(t, "KILN_ENGINE_RECORDS=20")
	conn, err := buildkit.Dial(t.Context(), buildkit.DialOptions{Addr: d.Addr, RecordPrefix: "builder/node/"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	dir := withBusybox(t, files(t, t.TempDir(), map[string]string{
		"base": busyboxLines + "RUN --mount=type=secret,id=token cat /run/secrets/token; echo base\n",
		"app":  "FROM base\nARG V\nLABEL v=$V\nRUN echo app\n",
		"two":  "FROM scratch\nCOPY app /\n",
	}))
	targets := func() []*config.Target {
		return []*config.Target{
			{Name: "base", Dockerfile: "base", Outputs: cacheOnly, Secrets: []config.Secret{{ID: "token", Env: "TOKEN_FOR_TEST"}}},
			{Name: "app", Dockerfile: "app", Contexts: []config.NamedSource{from("base", "base")}, Args: kv("V", "7")},
			{Name: "two", Dockerfile: "two", Platforms: []string{"linux/amd64", "linux/arm64"}},
		}
	}
	build := func(record buildkit.Record) map[string]exec.Outcome {
		s := &session{conn: conn, dir: dir, targets: targets(), opt: buildkit.Options{Record: record, Store: newStore(t), Getenv: env("TOKEN_FOR_TEST", "canary-5d41402abc")}}
		return s.must(t)
	}
	without := build(buildkit.RecordNone)
	for name, o := range without {
		for key := range o.Output.Metadata {
			if strings.HasPrefix(key, "buildx.") {
				t.Errorf("%s has %s though no record was asked for", name, key)
			}
		}
	}
	for _, record := range []buildkit.Record{buildkit.RecordMin, buildkit.RecordMax} {
		out := build(record)
		refs := map[string]string{}
		for name, o := range out {
			ref := o.Output.Metadata["buildx.build.ref"]
			if id, ok := strings.CutPrefix(ref, "builder/node/"); !ok || len(id) != 25 || refs[ref] != "" {
				t.Errorf("%s: the reference is %q, and that of %q", name, ref, refs[ref])
			}
			refs[ref] = name
			if diff := cmp.Diff(without[name].Output.Digest, o.Output.Digest); diff != "" {
				t.Errorf("the image of %s is another: %s", name, diff)
			}
			for key, value := range o.Output.Metadata {
				if raw, err := base64.StdEncoding.DecodeString(value); err == nil {
					value = string(raw)
				}
				if strings.Contains(value, "canary") {
					t.Errorf("%s of %s has the secret: %s", key, name, value)
				}
			}
		}
		for name, key := range map[string]string{"base": "", "app": "", "two": "/linux/arm64"} {
			p := provenanceIn(t, out[name], "buildx.build.provenance"+key)
			if p.BuildType != "https://mobyproject.org/buildkit@v1" || p.Invocation.ConfigSource.EntryPoint != name || p.Invocation.Parameters.Frontend != "dockerfile.v0" {
				t.Errorf("the provenance of %s is %+v", name, p)
			}
			if has := p.BuildConfig != nil && p.Metadata != nil; has != (record == buildkit.RecordMax) {
				t.Errorf("%s: the provenance of %s has steps and times: %t", record, name, has)
			}
		}
		if got := provenanceIn(t, out["app"], "buildx.build.provenance").Invocation.Parameters.Args["build-arg:V"]; got != "7" {
			t.Errorf("the provenance says V=%q", got)
		}
	}
}

// TestNoRecords: a daemon that keeps none adds nothing, and builds.
func TestNoRecords(t *testing.T) {
	s := &session{dir: files(t, t.TempDir(), map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"}),
		targets: []*config.Target{{Name: "app"}}, opt: buildkit.Options{Record: buildkit.RecordMax, Store: newStore(t)}}
	o := s.must(t)["app"]
	if o.Output.Digest == "" {
		t.Error("no image")
	}
	for key := range o.Output.Metadata {
		if strings.HasPrefix(key, "buildx.") {
			t.Errorf("there is %s=%q", key, o.Output.Metadata[key])
		}
	}
}
