package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2"
)

// tree writes files below a new directory, which it returns. "path/" is an
// empty directory.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		dir := filepath.Dir(path)
		if strings.HasSuffix(name, "/") {
			dir = path
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if dir != path {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	return root
}

// definitions reads the definition for words "NAME=value" (environment) and
// others (-f), and returns "name:base" for each file, or the error.
func definitions(root, cwd, words, stdin string) (string, error) {
	env := map[string]string{}
	o := fileOptions{dir: filepath.Join(root, cwd), stdin: strings.NewReader(stdin)}
	for w := range strings.FieldsSeq(words) {
		if name, value, ok := strings.Cut(w, "="); ok {
			env[name] = strings.ReplaceAll(value, "_", " ")
		} else {
			o.names = append(o.names, w)
		}
	}
	o.getenv = func(name string) (string, bool) { v, ok := env[name]; return v, ok }
	files, err := readDefinitions(o)
	var got []string
	for _, f := range files {
		mark := ""
		if f.ContextsOnly {
			mark = "?"
		}
		if f.Included {
			mark += "+"
		}
		got = append(got, fmt.Sprintf("%s:%s%s", f.Name, f.Base, mark))
	}
	return strings.Join(got, " "), err
}

func TestWhichFiles(t *testing.T) {
	root := tree(t, map[string]string{
		"repo/.git/":                            "",
		"repo/build.hcl":                        "#",
		"repo/build.override.hcl":               "#",
		"repo/a/b/docker-bake.hcl":              "#",
		"repo/own/build.hcl":                    "#",
		"repo/own/empty/build.hcl":              "",
		"bake/.git":                             "gitdir: elsewhere",
		"build.hcl":                             "#",
		"bake/docker-bake.override.hcl":         "#",
		"bake/docker-bake.hcl":                  "#",
		"bake/docker-bake.json":                 "{}",
		"bake/docker-bake.override.json":        "{}",
		"bake/compose.yaml":                     "#",
		"bake/compose.yml":                      "#",
		"bake/docker-compose.yml":               "#",
		"bake/docker-compose.yaml":              "#",
		"bake/compose.override.yaml":            "#",
		"bake/sub/x.hcl":                        "#",
		"bake/sub/build.hcl":                    "#",
		"norepo/deep/er/":                       "",
		"bake/void/.git/":                       "",
		"bake/void/docker-bake.hcl":             "",
		"bake/comment/.git/":                    "",
		"bake/comment/docker-bake.hcl":          "# no targets",
		"bake/comment/docker-bake.override.hcl": "",
	})
	const all = "compose.yaml: compose.yml: docker-compose.yml: docker-compose.yaml: " +
		"docker-bake.json: docker-bake.hcl: docker-bake.override.json: docker-bake.override.hcl:"
	for _, c := range []struct{ name, cwd, words, want string }{
		{"beside", "repo", "", "build.hcl: build.override.hcl:"},
		{"above", "repo/a/b", "", "../../build.hcl:../.. ../../build.override.hcl:../.."},
		{"nearest", "repo/own", "", "build.hcl:"},
		{"empty counts as absent", "repo/own/empty", "", "../build.hcl:.."},
		{"the repository ends the search", "bake", "", all},
		{"no repository", "norepo/deep/er", "", "../../../build.hcl:../../.."},
		{"comment only", "bake/comment", "", "docker-bake.hcl:"},
		{"-f", "bake", "sub/x.hcl", "sub/x.hcl:"},
		{"-f twice", "bake", "sub/x.hcl docker-bake.hcl sub/x.hcl", "sub/x.hcl: docker-bake.hcl: sub/x.hcl:"},
		{"-f of kiln's own name", "bake", "sub/build.hcl", "sub/build.hcl:"},
		{"cwd://", "bake", "cwd://sub/x.hcl", "sub/x.hcl:"},
		{"stdin", "bake", "-", "-:"},
		{"stdin twice", "bake", "- -", "-: -:"},
		{"environment", "bake", "BUILDX_BAKE_FILE=sub/x.hcl:_:docker-bake.hcl_:", "sub/x.hcl: docker-bake.hcl:"},
		{"environment, separator", "bake", "BUILDX_BAKE_FILE=cwd://sub/x.hcl@@- BUILDX_BAKE_PATH_SEPARATOR=@@", "sub/x.hcl: -:"},
		{"environment, empty", "bake", "BUILDX_BAKE_FILE=_:_", all},
		{"-f wins", "bake", "BUILDX_BAKE_FILE=nosuch docker-bake.hcl", "docker-bake.hcl:"},
		{"relative", "bake", "BUILDX_BAKE_FILE_RELATIVE_PATHS=1 sub/x.hcl docker-bake.hcl", "sub/x.hcl:sub? docker-bake.hcl:?"},
		{"relative off", "bake", "BUILDX_BAKE_FILE_RELATIVE_PATHS=false sub/x.hcl", "sub/x.hcl:"},
		{"relative, own", "bake", "BUILDX_BAKE_FILE_RELATIVE_PATHS=1 sub/build.hcl", "sub/build.hcl:sub?"},
	} {
		got, err := definitions(root, c.cwd, c.words, "# input")
		if got != c.want || err != nil {
			t.Errorf("%s: got %q %v, want %q", c.name, got, err, c.want)
		}
	}
	for _, c := range []struct{ name, cwd, words, want string }{
		{"missing", "bake", "docker-bak.hcl", `-f docker-bak.hcl: no such file in ` + filepath.Join(root, "bake") + ` (did you mean "docker-bake.hcl"?)`},
		{"missing in the environment", "bake", "BUILDX_BAKE_FILE=nosuch.hcl", "BUILDX_BAKE_FILE nosuch.hcl: no such file"},
		{"directory", "bake", "sub", "-f sub: is a directory; name the file in it, as in -f sub/build.hcl"},
		{"directory without", "", "norepo", "-f norepo: is a directory, and there is no build file in it"},
		{"address", "bake", "https://x.example/a.hcl", "takes the address of a remote definition, as its first argument and without"},
		{"only empty", "bake/void", "", "there is no build file: looked in " + filepath.Join(root, "bake/void") + " for build.hcl (there and in the directories above), compose.yaml"},
		{"only empty -f", "bake", "void/docker-bake.hcl", "for void/docker-bake.hcl; write a build.hcl"},
		{"not a bool", "bake", "BUILDX_BAKE_FILE_RELATIVE_PATHS=maybe", `BUILDX_BAKE_FILE_RELATIVE_PATHS is "maybe"; it must be true or false`},
	} {
		if got, err := definitions(root, c.cwd, c.words, ""); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %q %v, want %q", c.name, got, err, c.want)
		}
	}
	if got, err := definitions(root, "bake", "-", ""); err == nil {
		t.Errorf("empty standard input: %s", got)
	}
}

// A directory that anybody may write to is not searched on the way up.
func TestFilesOfStrangers(t *testing.T) {
	root := tree(t, map[string]string{"build.hcl": "#", "open/mine/": "", "open/build.hcl": "#"})
	if err := os.Chmod(filepath.Join(root, "open"), 0o777); err != nil {
		t.Fatal(err)
	}
	if got, err := definitions(root, "open/mine", "", ""); err == nil {
		t.Errorf("found %s", got)
	}
	if got, err := definitions(root, "open", "", ""); got != "build.hcl:" || err != nil {
		t.Errorf("in the working directory itself: %s %v", got, err)
	}
}

func TestIncludes(t *testing.T) {
	root := tree(t, map[string]string{
		".git/":               "",
		"build.hcl":           "include \"svc/*/build.hcl\" {}\ninclude \"none/*.hcl\" { optional = true }\ninclude \"tools.hcl\" {}",
		"tools.hcl":           "#",
		"svc/b/build.hcl":     "include \"../../lib/*.hcl\" {}",
		"svc/a/build.hcl":     "include \"../../lib/l.hcl\" {}\ninclude \"../../tools.hcl\" {}",
		"lib/l.hcl":           "#",
		"lib/k.hcl":           "#",
		"loop/build.hcl":      "\ninclude \"one.hcl\" {}",
		"loop/one.hcl":        "include \"two.hcl\" {}",
		"loop/two.hcl":        "\n\ninclude \"build.hcl\" {}",
		"self/build.hcl":      "include \"*.hcl\" {}",
		"missing/build.hcl":   "include \"nope-*.hcl\" {}\ninclude \"gone.hcl\" {}",
		"bad/build.hcl":       "include \"[\" {}\ninclude \"\" {}",
		"dir/build.hcl":       "include \"sub\" {}",
		"dir/sub/x":           "",
		"abs/docker-bake.hcl": "#",
		"rel/docker-bake.hcl": "include \"x.hcl\" {}",
		"rel/x.hcl":           "#",
		"meta[1]/build.hcl":   "include \"x.hcl\" {}",
		"meta[1]/x.hcl":       "#",
	})
	for _, c := range []struct{ cwd, words, want string }{
		{"", "", "build.hcl: svc/a/build.hcl:svc/a+ lib/l.hcl:lib+ tools.hcl:+ svc/b/build.hcl:svc/b+ lib/k.hcl:lib+"},
		{"svc", "", "../build.hcl:.. a/build.hcl:a+ ../lib/l.hcl:../lib+ ../tools.hcl:..+ b/build.hcl:b+ ../lib/k.hcl:../lib+"},
		{"meta[1]", "", "build.hcl: x.hcl:+"},
		{"svc", "../rel/docker-bake.hcl", "../rel/docker-bake.hcl: ../rel/x.hcl:../rel+"},
	} {
		if got, err := definitions(root, c.cwd, c.words, ""); got != c.want || err != nil {
			t.Errorf("in %q: %v\ngot  %s\nwant %s", c.cwd, err, got, c.want)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "abs/docker-bake.hcl"), []byte(fmt.Sprintf("include %q {}", filepath.Join(root, "lib/*.hcl"))), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := definitions(root, "", "abs/docker-bake.hcl", ""); got != "abs/docker-bake.hcl: lib/k.hcl:lib+ lib/l.hcl:lib+" || err != nil {
		t.Errorf("absolute: %s %v", got, err)
	}
	for cwd, want := range map[string]string{
		"loop":    "two.hcl:3 Include loop; This includes build.hcl, which is what led here: build.hcl includes one.hcl (line 2), which includes two.hcl (line 1), which includes build.hcl (line 3).",
		"self":    "build.hcl:1 Include loop; This includes build.hcl, which is what led here: build.hcl includes build.hcl (line 1).",
		"missing": `build.hcl:1 Nothing to include; There is no file "nope-*.hcl" in ` + filepath.Join(root, "missing") + "; say optional = true if there need not be one.|build.hcl:2 Nothing to include;",
		"bad":     `build.hcl:1 Invalid include; "[" is not the name of a file`,
		"dir":     `build.hcl:1 Unreadable include; "sub" names sub, which cannot be read: is a directory.`,
	} {
		_, err := definitions(root, cwd, "", "")
		var diags hcl.Diagnostics
		if !errors.As(err, &diags) {
			t.Errorf("%s: %v", cwd, err)
			continue
		}
		var lines []string
		for _, d := range diags {
			lines = append(lines, fmt.Sprintf("%s:%d %s; %s", d.Subject.Filename, d.Subject.Start.Line, d.Summary, d.Detail))
		}
		if got := strings.Join(lines, "|"); !strings.HasPrefix(got, want) && !strings.Contains(got, want) {
			t.Errorf("%s:\n%s", cwd, cmp.Diff(want, got))
		}
	}
}

// Nothing is read but what is named or found.
func TestUnreadableFile(t *testing.T) {
	root := tree(t, map[string]string{"build.hcl/": ""})
	if got, err := definitions(root, "", "", ""); err == nil || !errors.Is(err, fs.ErrInvalid) && !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("a directory called build.hcl: %s %v", got, err)
	}
}
