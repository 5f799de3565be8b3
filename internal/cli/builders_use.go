package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/spf13/cobra"
	"github.com/zclconf/go-cty/cty"

	"github.com/kilnbuild/kiln/config"
)

func buildersUseCommand(a *app) *cobra.Command {
	var unset bool
	c := &cobra.Command{
		Use:   "use NAME...",
		Short: "Choose a builder for good",
		Long: `Write into the user's configuration which builder to use, where neither a flag nor
the environment names another: what --builder takes, several to spread targets
over them. The rest of the file, and its comments, stay as they are.`,
		Example: "  kiln builders use docker\n  kiln builders use --unset    kiln's own engine again",
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			var names []string
			for _, f := range a.findBuilders(nil) {
				if f.Kind != kindPodman && !slices.Contains(names, f.Name) {
					names = append(names, f.Name)
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error { return a.useBuilders(args, unset) },
	}
	c.Flags().BoolVar(&unset, "unset", false, "choose none")
	return c
}

// useBuilders is the flow of `kiln builders use`.
func (a *app) useBuilders(names []string, unset bool) error {
	switch {
	case unset && len(names) > 0:
		return usagef("--unset chooses no builder, and %q names one", names[0])
	case !unset && len(names) == 0:
		return usagef("which builder? `kiln builders` lists what there is, and --unset chooses none")
	}
	path, _ := a.userConfigPath()
	if path == "" {
		return usagef("there is no place for the user's configuration: neither KILN_CONFIG nor XDG_CONFIG_HOME nor HOME is set")
	}
	if !unset {
		if _, err := a.choose(builderFlags{builders: names}); err != nil {
			return err
		}
	}
	if err := a.editUserConfig(path, names); err != nil {
		return err
	}
	fmt.Fprintln(a.Err, chosenText(path, names))
	if from, now, err := a.namedBuilders(builderFlags{}); err == nil && len(now) > 0 && !slices.Equal(now, names) {
		fmt.Fprintf(a.Err, "note: %s names %s, and wins\n", from, now[0])
	}
	return nil
}

func chosenText(path string, names []string) string {
	if len(names) == 0 {
		return fmt.Sprintf("%s: no builder is chosen; builds use kiln's own engine", path)
	}
	text := fmt.Sprintf("%s: builds use %s", path, names[0])
	for _, n := range names[1:] {
		text += ", " + n
	}
	return text
}

// editUserConfig writes the names into the file, or takes them out if there
// are none. A file that is no HCL is told, and left alone.
func (a *app) editUserConfig(path string, names []string) error {
	if to, err := filepath.EvalSymlinks(path); err == nil {
		path = to // people keep such files elsewhere, and link to them
	}
	text, err := os.ReadFile(path)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return usagef("read the user's configuration: %w", err)
	}
	if missing && len(names) == 0 {
		return nil
	}
	f, diags := hclwrite.ParseConfig(text, path, hcl.InitialPos)
	if diags.HasErrors() {
		a.tell(diags, []config.File{{Name: path, Data: text}})
		return &exitError{code: codeUsage, err: diags, told: true}
	}
	var values []cty.Value
	for _, n := range names {
		values = append(values, cty.StringVal(n))
	}
	switch len(values) {
	case 0:
		f.Body().RemoveAttribute("builder")
	case 1:
		f.Body().SetAttributeValue("builder", values[0])
	default:
		f.Body().SetAttributeValue("builder", cty.TupleVal(values))
	}
	mode := fs.FileMode(0o644)
	if fi, err := os.Stat(path); err == nil {
		mode = fi.Mode().Perm()
	}
	err = os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = writeFileAtomic(path, f.Bytes(), mode)
	}
	if err != nil {
		return usagef("write the user's configuration: %w", err)
	}
	return nil
}
