package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/kilnbuild/kiln/config"
)

// The user's own settings: what a person, not a repository, wants. They stand
// in an HCL file in the user's configuration directory, and are the last to
// be asked: a flag and the environment win over them.

// A userConfig is the user's configuration file.
type userConfig struct {
	path     string
	builders []string  // as --builder; at least one
	at       hcl.Range // where that is said
}

// from names the place that chose the builder.
func (u *userConfig) from() string { return fmt.Sprintf("%s:%d", u.path, u.at.Start.Line) }

// userConfigPath is where the file is or would be; named is whether the user
// said so.
func (a *app) userConfigPath() (path string, named bool) {
	if p := a.env["KILN_CONFIG"]; p != "" {
		return a.path(p), true
	}
	dir := a.env["XDG_CONFIG_HOME"]
	if !filepath.IsAbs(dir) { // as the XDG specification has it
		if a.env["HOME"] == "" {
			return "", false
		}
		dir = filepath.Join(a.env["HOME"], ".config")
	}
	return filepath.Join(dir, "kiln", "config.hcl"), false
}

// userConfig reads the file. It is nil where there is none, or where it says
// nothing of builders.
func (a *app) userConfig() (*userConfig, error) {
	path, named := a.userConfigPath()
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !named:
		return nil, nil
	case err != nil:
		return nil, usagef("read the user's configuration: %w", err)
	}
	conf, diags := parseUserConfig(path, text)
	a.tell(diags, []config.File{{Name: path, Data: text}})
	if diags.HasErrors() {
		return nil, &exitError{code: codeUsage, err: diags, told: true}
	}
	return conf, nil
}

// userSettings are the attributes of the file.
var userSettings = []string{"builder"}

func parseUserConfig(path string, text []byte) (*userConfig, hcl.Diagnostics) {
	f, diags := hclsyntax.ParseConfig(text, path, hcl.InitialPos)
	if diags.HasErrors() {
		return nil, diags
	}
	body := f.Body.(*hclsyntax.Body)
	unknown := func(what, name string, at hcl.Range) {
		diags = append(diags, &hcl.Diagnostic{
			Severity: hcl.DiagError, Summary: "Unknown setting", Subject: &at,
			Detail: fmt.Sprintf("There is no %s %q in the user's configuration%s. It has: %s.", what, name, didYouMean(name, userSettings), strings.Join(userSettings, ", ")),
		})
	}
	var conf *userConfig
	for _, name := range slices.Sorted(maps.Keys(body.Attributes)) {
		attr := body.Attributes[name]
		if !slices.Contains(userSettings, name) {
			unknown("setting", name, attr.NameRange)
			continue
		}
		names, more := builderNames(attr.Expr)
		diags = append(diags, more...)
		conf = &userConfig{path: path, builders: names, at: attr.SrcRange}
	}
	for _, b := range body.Blocks {
		unknown("block", b.Type, b.TypeRange)
	}
	return conf, diags
}

// builderNames reads a name, or a list of names.
func builderNames(e hcl.Expression) ([]string, hcl.Diagnostics) {
	v, diags := e.Value(nil)
	if diags.HasErrors() {
		return nil, diags
	}
	var names []string
	known := v.IsWhollyKnown() && !v.IsNull()
	switch {
	case known && v.Type() == cty.String:
		names = append(names, v.AsString())
	case known && v.Type().IsTupleType():
		for _, item := range v.AsValueSlice() {
			if item.IsNull() || item.Type() != cty.String {
				names = nil
				break
			}
			names = append(names, item.AsString())
		}
	}
	if len(names) == 0 || slices.Contains(names, "") {
		rng := e.Range()
		return nil, hcl.Diagnostics{{
			Severity: hcl.DiagError, Summary: "Invalid builder", Subject: &rng,
			Detail: `A builder is what --builder takes, in quotes, or a list of these: "docker", or ["tcp://a:1234", "tcp://b:1234"].`,
		}}
	}
	return names, nil
}
