package cli

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/kilnbuild/kiln/config"
)

func TestParseSets(t *testing.T) {
	for _, c := range []struct {
		set  string
		want config.Override
	}{
		{"app.tags=a", config.Override{Pattern: "app", Key: "tags", Value: "a"}},
		{"app.tag=a=b", config.Override{Pattern: "app", Key: "tag", Value: "a=b"}},
		{"app.tag=", config.Override{Pattern: "app", Key: "tag"}},
		{"app.tag+=", config.Override{Pattern: "app", Key: "tag", Append: true}},
		{"*.platform+=linux/amd64,linux/arm64", config.Override{Pattern: "*", Key: "platform", Value: "linux/amd64,linux/arm64", Append: true}},
		{"a-[bc]?.output=type=docker", config.Override{Pattern: "a-[bc]?", Key: "output", Value: "type=docker"}},
		{"t.labels.a.b.c=1", config.Override{Pattern: "t", Key: "labels", Sub: "a.b.c", HasSub: true, Value: "1"}},
		{"t.args.X.Y=1", config.Override{Pattern: "t", Key: "args", Sub: "X.Y", HasSub: true, Value: "1"}},
		{"t.args.X+=1", config.Override{Pattern: "t", Key: "args", Sub: "X", HasSub: true, Value: "1", Append: true}},
		{"t.args.X", config.Override{Pattern: "t", Key: "args", Sub: "X", HasSub: true, NoValue: true}},
		{"t.arg.X", config.Override{Pattern: "t", Key: "arg", Sub: "X", HasSub: true, NoValue: true}},
		{"t.args.=1", config.Override{Pattern: "t", Key: "args", HasSub: true, Value: "1"}},
		{"t.args=1", config.Override{Pattern: "t", Key: "args", Value: "1"}},
		{"t.contexts.base=", config.Override{Pattern: "t", Key: "contexts", Sub: "base", HasSub: true}},
		{"t.extra-hosts.a.example=1.1.1.1", config.Override{Pattern: "t", Key: "extra-hosts", Sub: "a.example", HasSub: true, Value: "1.1.1.1"}},
		{"t.secret.tok=env=X", config.Override{Pattern: "t", Key: "secret", Sub: "tok", HasSub: true, Value: "env=X"}},
		{"t.secrets=id=tok,src=x", config.Override{Pattern: "t", Key: "secrets", Value: "id=tok,src=x"}},
		{"t.resources.memory=1g", config.Override{Pattern: "t", Key: "resources", Sub: "memory", HasSub: true, Value: "1g"}},
		{"t.context=../x", config.Override{Pattern: "t", Key: "context", Value: "../x"}},
		{"t.no-cache=true", config.Override{Pattern: "t", Key: "no-cache", Value: "true"}},
		{"t.push=false", config.Override{Pattern: "t", Key: "push", Value: "false"}},
		{"t.attest=type=sbom", config.Override{Pattern: "t", Key: "attest", Value: "type=sbom"}},
		{"t.nosuch=1", config.Override{Pattern: "t", Key: "nosuch", Value: "1"}}, // config knows the keys
	} {
		c.want.Flag = "--set " + c.set
		got, err := parseSets([]string{c.set})
		if err != nil {
			t.Errorf("%s: %v", c.set, err)
		} else if diff := cmp.Diff([]config.Override{c.want}, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.set, diff)
		}
	}
	for set, want := range map[string]string{
		"":              "a target and a key are needed",
		"app":           "a target and a key are needed",
		"app=x":         "a target and a key are needed",
		".tags=x":       "a target and a key are needed",
		"app.=x":        "a target and a key are needed",
		"foo*.no-cache": `--set "foo*.no-cache": a value is needed, as in foo*.no-cache=VALUE`,
		"app.tags+":     "a value is needed, as in app.tags=VALUE",
	} {
		if _, err := parseSets([]string{"ok.tags=1", set}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", set, err, want)
		}
	}
}

func TestParseVars(t *testing.T) {
	got, err := parseVars([]string{"A=1", "", "B=x=y", "A=2", "C="})
	if diff := cmp.Diff(map[string]string{"A": "2", "B": "x=y", "C": ""}, got); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	for _, bad := range []string{"X", "=x"} {
		if _, err := parseVars([]string{bad}); err == nil || !strings.Contains(err.Error(), "a name and a value are needed") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// flags parses arguments as a command does and returns the overrides, each as
// KEY[+]=VALUE.
func flags(args string) (string, error) {
	var s shortFlags
	f := pflag.NewFlagSet("build", pflag.ContinueOnError)
	s.register(f)
	if err := f.Parse(strings.Fields(args)); err != nil {
		return "", err
	}
	s.changed(f)
	all, err := s.overrides()
	var words []string
	for _, o := range all {
		op := "="
		if o.Append {
			op = "+="
		}
		if o.Pattern != "*" || !strings.HasPrefix(o.Flag, "--") {
			words = append(words, "?")
		}
		words = append(words, o.Key+op+o.Value)
	}
	return strings.Join(words, " "), err
}

func TestShortFlags(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"", ""},
		{"--push", "push=true"},
		{"--push=false --load=false", ""},
		{"--pull --no-cache --load --push --policy strict=true --provenance=mode=max --sbom=true --call=outline",
			"push=true load=true call=outline no-cache=true pull=true attest=type=sbom,disabled=false attest=type=provenance,mode=max policy+=strict=true"},
		{"--pull=false --no-cache=false", "no-cache=false pull=false"},
		{"--sbom=false --provenance=0", "attest=type=sbom,disabled=true attest=type=provenance,disabled=true"},
		{"--sbom= --provenance=", ""},
		{"--call=build", ""},
		{"--call=build,format=json", ""},
		{"--call=format=json", "call="},
		{"--check", "call=lint"},
		{"--check=false", ""},
		{"--call=check,format=json,ignorestatus=true", "call=lint"},
		{"--call=targets --check", "call=lint"},
		{"--check --call=targets", "call=targets"},
		{"--check --call=build", ""},
		{"--policy strict=true,log-level=debug --policy strict=0", "policy+=strict=true,log-level=debug policy+=strict=0"},
		{"--policy disabled=true", "policy= policy=disabled=true"},
		{"--policy disabled=false", "policy+=disabled=false"},
	} {
		got, err := flags(c.args)
		if got != c.want || err != nil {
			t.Errorf("%s: %s %v, want %s", c.args, got, err, c.want)
		}
	}
	for args, want := range map[string]string{
		"--provenance=max":                         "as in --provenance=mode=max",
		"--check=maybe":                            "invalid syntax",
		"--call=a,b":                               "second method",
		"--call=a,fromat=json":                     "format",
		"--call=a,ignorestatus=x":                  "ignorestatus is true or false",
		"--policy filename=x":                      "filename is for the policy of a target",
		"--policy reset=true":                      "reset is for the policy of a target",
		"--policy strict":                          "KEY=VALUE is needed",
		"--policy strict=x":                        "strict is true or false",
		"--policy stritc=true":                     "strict",
		"--policy disabled=true,strict=true":       "cannot be combined",
		"--policy strict=true --policy disabled=1": "cannot be combined",
	} {
		if got, err := flags(args); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %s %v, want %s", args, got, err, want)
		}
	}
}

func TestParseCall(t *testing.T) {
	got, err := parseCall("check,format=json,ignorestatus=1")
	if want := (callSpec{"lint", true, true, true}); got != want || err != nil {
		t.Errorf("%v %v", got, err)
	}
	if got, err := parseCall(""); got != (callSpec{}) || err != nil {
		t.Errorf("%v %v", got, err)
	}
}
