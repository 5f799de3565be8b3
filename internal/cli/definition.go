package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"

	"github.com/hashicorp/hcl/v2"
	"github.com/spf13/pflag"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/internal/diag"
)

// A definitionFlags says what to read and what to override in it.
type definitionFlags struct {
	files []string // -f
	vars  []string // --var
	sets  []string // --set
	allow []string // --allow
}

func (d *definitionFlags) register(f *pflag.FlagSet) {
	f.StringArrayVarP(&d.files, "file", "f", nil, "build `file`; - is standard input (default: the nearest build.hcl, else bake's names)")
	f.StringArrayVar(&d.vars, "var", nil, "value of a variable, `NAME=VALUE`")
	f.StringArrayVar(&d.sets, "set", nil, "override an attribute, `PATTERN.KEY[.SUBKEY][+]=VALUE`")
	f.StringArrayVar(&d.allow, "allow", nil, "grant a `privilege`: network.host, security.insecure, device[=NAME], ssh, fs.read=PATH, fs.write=PATH, fs=PATH, buildx.local.delete")
}

// A definition is what the build files say, evaluated.
type definition struct {
	cfg       *config.Config
	files     []config.File
	overrides []config.Override
	remote    bool   // fetched by the builder, not read from the working directory
	url       string // of the git repository that it was fetched from; "" if it was not
}

// load reads and evaluates the definition, tells warnings, and turns
// diagnostics into an error that the user has seen. The overrides of --set
// come before short, which the short flags (--push and its kin) stand for.
func (a *app) load(ctx context.Context, d definitionFlags, short []config.Override) (*definition, error) {
	in, err := a.inputs(ctx, d, short)
	if err != nil {
		return nil, err
	}
	fence, err := a.fence(d.allow, false)
	if err != nil {
		return nil, err
	}
	files, err := readDefinitions(fileOptions{names: d.files, dir: a.dir, getenv: a.lookupEnv, stdin: a.In, fence: fence})
	if err != nil {
		return nil, a.definitionError(err, files)
	}
	in.Compose = fence.compose(files)
	return a.evaluate(files, in)
}

// inputs gathers all that decides, besides the files, what a Config holds.
func (a *app) inputs(ctx context.Context, d definitionFlags, short []config.Override) (config.Inputs, error) {
	vars, err := parseVars(d.vars)
	if err != nil {
		return config.Inputs{}, usagef("%w", err)
	}
	sets, err := parseSets(d.sets)
	if err != nil {
		return config.Inputs{}, usagef("%w", err)
	}
	in := config.Inputs{
		Vars:      vars,
		Env:       a.env,
		Overrides: append(sets, short...),
		Platform:  runtime.GOOS + "/" + runtime.GOARCH,
		Epoch:     a.env["SOURCE_DATE_EPOCH"],
		Home:      a.env["HOME"],
		Now:       a.now,
	}
	if isTrue(a.env["BUILDX_BAKE_DISABLE_VARS_ENV_LOOKUP"]) {
		in.Env = nil
	}
	repo := a.workTree(ctx)
	in.Facts = repo.Fact
	return in, nil
}

// evaluate turns files into a definition.
func (a *app) evaluate(files []config.File, in config.Inputs) (*definition, error) {
	a.sizeGC(files)
	cfg, diags := config.Load(files, in)
	a.tell(diags, files)
	if diags.HasErrors() {
		return nil, &exitError{code: codeUsage, err: diags, told: true}
	}
	def := &definition{cfg: cfg, files: files, overrides: in.Overrides}
	a.tell(unusedVars(def, in.Vars), files)
	return def, nil
}

// definitionError turns diagnostics that came as an error into one that has
// been told, and leaves other errors to be told at the end.
func (a *app) definitionError(err error, files []config.File) error {
	var done *exitError
	if errors.As(err, &done) {
		return err
	}
	var diags hcl.Diagnostics
	if errors.As(err, &diags) {
		a.tell(diags, files)
		return &exitError{code: codeUsage, err: err, told: true}
	}
	return &exitError{code: codeUsage, err: err}
}

// tell prints diagnostics with their snippets.
func (a *app) tell(diags hcl.Diagnostics, files []config.File) {
	if len(diags) == 0 {
		return
	}
	text := diag.Text(diags, diag.Options{Sources: diag.Files(files), Color: a.colored(a.Err), Width: a.width(a.Err)})
	fmt.Fprint(a.Err, a.discreet(text))
}

// home is what a definition is known by between runs: the absolute directory
// of its first file, or the URL that it was fetched from.
func (a *app) home(d *definition) string {
	switch {
	case d.url != "":
		return d.url
	case len(d.files) == 0 || d.files[0].Name == "-":
		return a.dir
	case filepath.IsAbs(d.files[0].Name):
		return filepath.Dir(d.files[0].Name)
	}
	return filepath.Dir(filepath.Join(a.dir, d.files[0].Name))
}
