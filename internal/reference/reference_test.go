package reference

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/kilnbuild/kiln/config"
)

// Every row of every table is on its page, and in its text.
func TestNothingIsLeftOut(t *testing.T) {
	pages := map[string]string{}
	root := &cobra.Command{Use: "kiln"}
	for _, p := range Pages(root, []Variable{{Name: "KILN_X", Topic: "Builder", Doc: "what", Default: "that"}}) {
		pages[p.Name] = p.Text
	}
	for _, a := range config.Attributes() {
		for where, text := range map[string]string{"attributes.md": pages["attributes.md"], "text": Attributes()} {
			if !strings.Contains(text, a.Name) || !strings.Contains(text, strings.Split(a.Example, "\n")[0]) {
				t.Errorf("attribute %s is not in %s", a.Name, where)
			}
		}
		if a.Doc == "" || a.Type == "" || a.Example == "" {
			t.Errorf("attribute %s lacks a text, type or example", a.Name)
		}
	}
	for _, f := range config.BuiltinFunctions() {
		for where, text := range map[string]string{"functions.md": pages["functions.md"], "text": Functions()} {
			if !strings.Contains(text, f.Signature()) || !strings.Contains(text, f.Example) {
				t.Errorf("function %s is not in %s", f.Name, where)
			}
		}
		if topicOf(f.Topic) == "On " {
			t.Errorf("function %s is under %q, which has no heading", f.Name, f.Topic)
		}
	}
	if want := "\n## Builder\n\n### `KILN_X`\n\nWhat.\n\n- default: that\n"; !strings.Contains(pages["environment.md"], want) {
		t.Errorf("environment.md:\n%s", pages["environment.md"])
	}
}

func TestCommands(t *testing.T) {
	root := &cobra.Command{Use: "kiln", Long: "Builds."}
	root.PersistentFlags().BoolP("debug", "D", false, "log more")
	build := &cobra.Command{Use: "build [TARGET...]", Aliases: []string{"bake"}, Short: "Build targets", Example: "  kiln build a\n  kiln build b", Run: func(*cobra.Command, []string) {}}
	build.Flags().StringP("jobs", "j", "4", "most `N` at once, a|b")
	build.Flags().Bool("secretly", false, "unseen")
	_ = build.Flags().MarkHidden("secretly")
	root.AddCommand(build, &cobra.Command{Use: "ghost", Hidden: true, Run: build.Run})
	want := `# Commands

` + generated + `
## ` + "`kiln`" + `

Builds.

Flags:

| flag | meaning | default |
|---|---|---|
| ` + "`-D, --debug`" + ` | log more |  |

## ` + "`kiln build`" + `

Build targets.

` + "```\nkiln build [TARGET...] [flags]\n```" + `

Also: ` + "`bake`" + `

For example:

` + "```sh\nkiln build a\nkiln build b\n```" + `

Flags:

| flag | meaning | default |
|---|---|---|
| ` + "`-j, --jobs N`" + ` | most N at once, a\|b | ` + "`4`" + ` |
`
	if diff := cmp.Diff(want, Commands(root)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestPlain(t *testing.T) {
	got := plain([]entry{
		{topic: "One", name: "a", title: "a(b)", doc: "What `a` does, at such length that the line has to be broken somewhere, here.", example: "a(1)\n→ 2"},
		{topic: "One", name: "c", doc: "More.", facts: []fact{{"type", "string"}, {"default", "x"}}},
	})
	want := `ONE

a(b)
    What a does, at such length that the line has to be broken somewhere,
    here.
      a(1)
      → 2

c
    More.
    type: string; default: x
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
