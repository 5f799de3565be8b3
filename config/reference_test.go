package config_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/graph"
)

// A recorded case is a definition, a command line, and what buildx bake
// v0.38.2 printed for it; Out is "" where that failed.
type recorded struct {
	Name, File, Text string
	Args             []string
	Env              map[string]string
	Out              string
}

// TestReference compares with what the reference tool printed, byte for byte
// but for line breaks and indents.
func TestReference(t *testing.T) {
	f, err := os.Open("testdata/bake.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n := 0
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var c recorded
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		n++
		got, diags := printed(t, c)
		if got != c.Out {
			t.Errorf("%s\n%s\nargs %q\n got %s\nwant %s\n%v", c.Name, c.Text, c.Args, got, c.Out, diags)
		}
	}
	if err := lines.Err(); err != nil || n < 1000 {
		t.Fatalf("%d cases, %v", n, err)
	}
}

var lineBreak = regexp.MustCompile(`\n\s*`)

// printed runs a case; "" if it fails.
func printed(t *testing.T, c recorded) (string, hcl.Diagnostics) {
	t.Helper()
	in := config.Inputs{Env: c.Env, Vars: map[string]string{}, Platform: "linux/amd64"}
	if in.Env == nil {
		in.Env = map[string]string{}
	}
	in.Epoch = in.Env["SOURCE_DATE_EPOCH"]
	var names []string
	for i := 0; i < len(c.Args); i++ {
		switch a := c.Args[i]; {
		case a == "--var":
			i++
			k, v, _ := strings.Cut(c.Args[i], "=")
			in.Vars[k] = v
		case a == "--set":
			i++
			o, ok := override(c.Args[i])
			if !ok {
				return "", nil
			}
			in.Overrides = append(in.Overrides, o)
		default:
			names = append(names, a)
		}
	}
	// the short flags come after --set, wherever they stand
	names = shortFlags(&in, names)
	cfg, diags := config.Load([]config.File{{Name: c.File, Data: []byte(c.Text)}}, in)
	if diags.HasErrors() {
		return "", diags
	}
	g, diags := graph.New(cfg)
	if diags.HasErrors() {
		return "", diags
	}
	if g, diags = g.Select(names...); diags.HasErrors() {
		return "", diags
	}
	var targets []*config.Target
	for _, n := range g.Nodes() {
		targets = append(targets, n.Target)
	}
	var out bytes.Buffer
	if err := config.Print(&out, g.Groups(), targets); err != nil {
		t.Fatal(err)
	}
	return lineBreak.ReplaceAllString(out.String(), ""), nil
}

func shortFlags(in *config.Inputs, args []string) (names []string) {
	for _, a := range args {
		if flag, ok := strings.CutPrefix(a, "--"); ok {
			key, value, has := strings.Cut(flag, "=")
			if has && value == "false" {
				continue
			}
			in.Overrides = append(in.Overrides, config.Override{Pattern: "*", Key: key, Value: "true", Flag: a})
			continue
		}
		names = append(names, a)
	}
	return names
}

// override reads a value of --set as the command line does.
func override(s string) (config.Override, bool) {
	left, value, has := strings.Cut(s, "=")
	o := config.Override{Value: value, NoValue: !has, Flag: "--set " + s}
	left, o.Append = strings.CutSuffix(left, "+")
	parts := strings.SplitN(left, ".", 3)
	if len(parts) < 2 {
		return o, false
	}
	o.Pattern, o.Key = parts[0], parts[1]
	if len(parts) == 3 {
		o.Sub, o.HasSub = parts[2], true
	}
	return o, true
}
