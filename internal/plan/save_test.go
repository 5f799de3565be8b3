package plan

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/graph"
)

// fill gives every field of a value something.
func fill(rnd *rand.Rand, v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(fmt.Sprintf("s%d\n${\"é", rnd.IntN(1000)))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(rnd.Int64N(1000) + 1)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(rnd, v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fill(rnd, v.Index(i))
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		elem := reflect.New(v.Type().Elem()).Elem()
		fill(rnd, elem)
		v.SetMapIndex(reflect.ValueOf("attr"), elem)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(rnd, v.Field(i))
		}
	case reflect.Interface:
		all := []config.Source{config.Local{Path: "github.com/a"}, config.Remote{URL: "u"}, config.Image{Ref: "i"}, config.FromTarget{Target: "t"}, config.Layout{Ref: "l"}, config.Stored{Ref: "s"}}
		v.Set(reflect.ValueOf(all[rnd.IntN(len(all))]))
	default:
		panic(v.Kind().String())
	}
}

// Whatever a target has, a saved plan brings it back.
func TestTargetsComeBack(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		want := &config.Target{}
		v := reflect.ValueOf(want).Elem()
		for i := range v.NumField() {
			if v.Type().Field(i).Name != "Deferred" { // errors, which nothing is saved with
				fill(rnd, v.Field(i))
			}
		}
		data, err := json.Marshal(encode(want))
		if err != nil {
			t.Fatal(err)
		}
		var saved savedTarget
		if err := json.Unmarshal(data, &saved); err != nil {
			t.Fatal(err)
		}
		got, err := saved.decode()
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Fatal(err, diff)
		}
	}
}

// reopened saves a plan and reads it again.
func reopened(t *testing.T, m made) *Plan {
	t.Helper()
	if err := m.Save(m.g, "abc", func(s string) string { return s }); err != nil {
		t.Fatal(err)
	}
	p, err := Read(encoded(t, m.Plan))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// A plan that was saved builds the same targets in the same order, and is
// planned as the same.
func TestSaved(t *testing.T) {
	files := maps.Clone(shop)
	files["build.hcl"] = strings.Replace(files["build.hcl"], "user:s3cr3tpass@", "", 1)
	m := makePlan(t, write(t, files), nil)
	p := reopened(t, m)
	if diff := cmp.Diff(m.Plan, p, cmpopts.IgnoreUnexported(KeyValue{}), cmpopts.IgnoreFields(Build{}, "Definition")); diff != "" {
		t.Errorf("the plan itself did not come back:\n%s", diff)
	}
	text := string(encoded(t, p))
	if strings.Contains(text, "hunter2") {
		t.Error("a secret is in the file")
	}
	if _, err := p.Build.Config(func(string) (string, bool) { return "", false }); err == nil || !strings.Contains(err.Error(), "set NPM_TOKEN (args of api-prod), NPM_TOKEN (args of api-dev)") {
		t.Errorf("without the secret: %v", err)
	}
	cfg, err := p.Build.Config(func(name string) (string, bool) { return "hunter2-hunter2", name == "NPM_TOKEN" })
	if err != nil {
		t.Fatal(err)
	}
	g, diags := graph.New(cfg)
	if !diags.HasErrors() {
		g, diags = g.Select(p.Build.Requested...)
	}
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	for i, n := range g.Nodes() {
		want := *m.g.Nodes()[i]
		after := n.Target.DependsOn
		n.Target.DependsOn = want.Target.DependsOn
		if diff := cmp.Diff(want.Target, n.Target); diff != "" || want.Requested != n.Requested {
			t.Errorf("target %d differs:\n%s", i, diff)
		}
		if len(after) != len(want.After) || len(n.After) != len(want.After) || len(n.Needs) != len(want.Needs) {
			t.Errorf("%s waits for %v, needs %v", n.Name(), after, n.Needs)
		}
	}
}

// What a plan rests on is what decides how targets are built.
func TestSavedFiles(t *testing.T) {
	dir := write(t, map[string]string{
		"build.hcl":    "target \"a\" { context = \"a\" }\ntarget \"b\" { context = \"b\" }\ntarget \"c\" { dockerfile-inline = \"FROM scratch\" }\ntarget \"d\" { dockerfile = \"none\" }",
		"a/Dockerfile": "FROM scratch\n", "a/.dockerignore": "x\n",
		"b/Dockerfile": "FROM scratch\n", "b/.dockerignore": "x\n", "b/Dockerfile.dockerignore": "y\n",
	})
	var got []string
	for _, f := range reopened(t, makePlan(t, dir, nil, "*")).Build.Files {
		state := "is there"
		if f.Digest == "" {
			state = "is not there"
		}
		got = append(got, f.Path+" "+state)
	}
	want := []string{".dockerignore is not there", "a/.dockerignore is there", "a/Dockerfile is there", "a/Dockerfile.dockerignore is not there", "b/Dockerfile is there", "b/Dockerfile.dockerignore is there"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Secrets that a plan cannot leave out, it is not saved with.
func TestSaveRefusesSecrets(t *testing.T) {
	for _, tt := range []struct{ hcl, want string }{
		{`target "a" { context = "https://me:s3cr3tpass@example.com/x.git" }`, `target "a" reads the context https://*************@example.com/x.git, whose address has a password in it`},
		{`target "a" { tags = ["x:s3cr3tpass"] }`, `target "a" has the value of a variable of the environment that looks like a secret`},
	} {
		m := makePlan(t, write(t, map[string]string{"build.hcl": tt.hcl, "Dockerfile": "FROM scratch\n"}), nil, "a")
		err := m.Save(m.g, "", func(s string) string { return strings.ReplaceAll(s, "s3cr3tpass", "(hidden)") })
		if !errors.Is(err, ErrSecret) || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("got %v, want %s", err, tt.want)
		}
	}
}

func TestRead(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{`target "a" {}`, "it is no plan, but invalid character"},
		{`{"version":1}`, "it is JSON, but no plan of kiln's"},
		{`{"version":2,"kind":"plan"}`, "it is a plan of version 2, and this kiln knows version 1"},
		{`{"version":1,"kind":"plan","targets":"a"}`, "the plan is broken"},
	} {
		if _, err := Read([]byte(tt.text)); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %s", tt.text, err, tt.want)
		}
	}
	for _, broken := range []string{`{}`, `[null]`, `[{"Name":"a"}]`, `[{"Name":"a","Context":{"Kind":"local","Value":"."},"Contexts":[{"Name":"b"}]}]`} {
		b := &Build{Definition: []byte(broken)}
		if _, err := b.Config(nil); err == nil || !strings.HasPrefix(err.Error(), "the plan is broken") {
			t.Errorf("%s: %v", broken, err)
		}
	}
}
