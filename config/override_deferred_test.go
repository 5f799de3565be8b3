package config

import (
	"strings"
	"testing"
)

// TestOverrideThatDoesNotFit sets wrong values: they are told with the target
// and with what inherits from it, leave others alone, and change nothing.
func TestOverrideThatDoesNotFit(t *testing.T) {
	const text = `
target "heir" { inherits = ["app"] }
target "app" {
  output = ["type=cacheonly"]
  tags   = ["a"]
}
target "other" {}
`
	for key, want := range map[string]string{
		"output=foo,bar":          `"foo", which is not of the form key=value`,
		"cache-from=type=local,x": `"x", which is not of the form key=value`,
		"attest=foo":              `"foo", which is not of the form key=value`,
		"secret=foo,bar":          `"foo", which is not of the form key=value`,
		"secret.none=x":           `declares no secret "none"`,
		"weight=heavy":            `whole number`,
		"nosuch=1":                `no key "nosuch"`,
	} {
		k, value, _ := strings.Cut(key, "=")
		k, sub, has := strings.Cut(k, ".")
		set := Override{Pattern: "app", Key: k, Sub: sub, HasSub: has, Value: value, Flag: "--set app." + key}
		cfg, diags := Load([]File{{Name: "build.hcl", Data: []byte(text)}}, Inputs{Overrides: []Override{set}})
		if diags.HasErrors() {
			t.Errorf("%s: %v", key, diags)
			continue
		}
		for _, name := range []string{"app", "heir"} {
			x := cfg.Target(name)
			if len(x.Deferred) != 1 || !strings.Contains(x.Deferred[0].Detail, want) {
				t.Errorf("%s: target %s has %v, want one error with %q", key, name, x.Deferred, want)
			}
			if len(x.Outputs) != 1 || x.Outputs[0].Type != "cacheonly" || len(x.Secrets) != 0 {
				t.Errorf("%s: target %s was changed: %+v", key, name, x)
			}
		}
		if x := cfg.Target("other"); len(x.Deferred) > 0 {
			t.Errorf("%s: target other has %v", key, x.Deferred)
		}
	}
}

// TestOverrideWithoutAName sets the empty name, which bake takes as one.
func TestOverrideWithoutAName(t *testing.T) {
	var sets []Override
	for _, key := range []string{"args", "labels", "contexts"} {
		sets = append(sets, Override{Pattern: "app", Key: key, HasSub: true, Value: "x", Flag: "--set app." + key + ".=x"})
	}
	cfg, diags := Load([]File{{Name: "build.hcl", Data: []byte(`target "app" {}` + "\n")}}, Inputs{Overrides: sets})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	var b strings.Builder
	if err := Print(&b, cfg.Groups, cfg.Targets); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(b.String(), `"": "x"`); got != 3 {
		t.Errorf("printed %d empty names, want 3:\n%s", got, b.String())
	}
}
