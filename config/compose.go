package config

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/consts"
	"github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/schema"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

// Compose files become targets here: parsed, merged and interpolated by the
// Compose project's own loader, then turned into attributes as a build file
// would have written them. The table of composeAttrs is in compose_attr.go.

// ComposeInputs is what Compose files may use beside Inputs.Vars and Env.
type ComposeInputs struct {
	// ReadFile reads ".env", from the working directory, and the files that
	// services name in env_file. Nil: all of them are empty. Files named by
	// extends and include are opened by the Compose loader itself, unless a
	// file is Remote: then naming any is an error.
	ReadFile func(name string) ([]byte, error)
	// May returns an error if a file that a Compose file names by include or
	// extends may not be read, which are then looked over with ReadFile before
	// the loader opens them. Nil: all may.
	May func(path string) error
}

// composed is what all Compose files together say.
type composed struct {
	Targets []composeTarget // by name in ascending order
	Group   *Group          // "default"; nil if there are no services
}

// A composeTarget is a service with a build section. Attrs holds values as
// expressions of a build file would yield them, by attribute name.
type composeTarget struct {
	Name   string // the service's, dots made underscores
	Attrs  map[string]cty.Value
	Ranges map[string]hcl.Range // where each of Attrs was written
	Range  hcl.Range            // the service's key
	Base   string               // File.Base of the first Compose file
}

// isComposeName reports whether a file of that name is a Compose file whatever
// is in it, and whether that can be told by its name.
func isComposeName(name string) (is, known bool) {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".yml", ".yaml":
		return true, true
	case ".json", ".hcl":
		return false, true
	}
	return false, false
}

// isCompose reports whether a file whose name does not tell is a Compose file:
// whether the loader accepts it.
func isCompose(f File, in Inputs) bool {
	r, diags := newComposeReader([]File{f}, in)
	if diags.HasErrors() {
		return false
	}
	_, err := r.load([]File{f}, true)
	return err == nil
}

// parseCompose turns Compose files, merged in the order given, into targets.
// Its warnings name each variable that is not set once.
func parseCompose(files []File, in Inputs) (composed, hcl.Diagnostics) {
	if len(files) == 0 {
		return composed{}, nil
	}
	r, diags := newComposeReader(files, in)
	if diags.HasErrors() {
		return composed{}, diags
	}
	for _, f := range files {
		if _, err := r.load([]File{f}, true); err != nil {
			diags = append(diags, r.problem(f.Name, err))
		}
	}
	if diags.HasErrors() {
		return composed{}, diags
	}
	project, err := r.load(files, false)
	if err != nil {
		return composed{}, append(diags, r.problem(files[0].Name, err))
	}
	result, more := r.targets(project)
	diags = append(append(diags, r.unset()...), more...)
	if diags.HasErrors() {
		return composed{}, diags
	}
	return result, diags
}

// A composeReader is the work on one set of Compose files.
type composeReader struct {
	files  []File
	in     Inputs
	env    map[string]string
	places composePlaces
	absent map[string]bool // variables used without a default that are not set
}

func newComposeReader(files []File, in Inputs) (*composeReader, hcl.Diagnostics) {
	r := &composeReader{files: files, in: in, places: newComposePlaces(files), absent: map[string]bool{}}
	env, err := composeEnv(in)
	if err != nil {
		return nil, hcl.Diagnostics{{
			Severity: hcl.DiagError,
			Summary:  "Invalid .env file",
			Detail:   fmt.Sprintf("The file .env of the working directory, which Compose files take variables from, cannot be read: %s.", err),
			Subject:  fileStart(".env"),
		}}
	}
	r.env = env
	return r, nil
}

// composeEnv returns the variables that Compose files see: --var first, then
// the environment, then the file .env of the working directory.
func composeEnv(in Inputs) (map[string]string, error) {
	env := maps.Clone(in.Env)
	if env == nil {
		env = map[string]string{}
	}
	if in.Compose.ReadFile != nil {
		data, err := in.Compose.ReadFile(".env")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		pairs, err := dotenv.UnmarshalBytesWithLookup(data, func(name string) (string, bool) {
			v, ok := in.Env[name]
			return v, ok
		})
		if err != nil {
			return nil, err
		}
		for name, value := range pairs {
			if _, ok := env[name]; !ok {
				env[name] = value
			}
		}
	}
	maps.Copy(env, in.Vars)
	return env, nil
}

// load has the loader merge files into a project of their services' build
// sections. What a lone file may lack is not asked for if it is alone. A panic
// of the loader, which some nulls bring about, is an error too.
func (r *composeReader) load(files []File, alone bool) (_ *types.Project, err error) {
	defer func() {
		if mistake := recover(); mistake != nil {
			err = fmt.Errorf("the Compose loader cannot handle it (%v); look for an empty value where a mapping or a list is needed", mistake)
		}
	}()
	refused := r.mayLoad(files)
	var unread *yamlError
	if refused != nil && !errors.As(refused, &unread) {
		return nil, refused
	}
	details := types.ConfigDetails{Environment: maps.Clone(r.env)}
	for _, f := range files {
		details.ConfigFiles = append(details.ConfigFiles, types.ConfigFile{Filename: f.Name, Content: append([]byte{}, f.Data...)})
	}
	options := func(o *loader.Options) {
		o.SetProjectName(cmp.Or(r.env[consts.ComposeProjectName], "bake"), false)
		o.SkipNormalization, o.SkipValidation = true, true
		o.SkipResolveEnvironment, o.SkipResolveLabels = true, true
		o.SkipConsistencyCheck = alone
		o.Profiles = []string{"*"}
		o.SkipInclude, o.SkipExtends = refused != nil, refused != nil
		if o.Interpolate != nil {
			o.Interpolate.Substitute = r.substitute
		}
		if slices.ContainsFunc(files, func(f File) bool { return f.Remote }) {
			o.ResourceLoaders = []loader.ResourceLoader{noLocalFiles{}}
		} else if may := r.in.Compose.May; may != nil {
			o.ResourceLoaders = []loader.ResourceLoader{composeFence{may}}
		}
	}
	model, err := loader.LoadModelWithContext(context.Background(), details, options)
	if err := cmp.Or(err, refused); err != nil {
		return nil, err
	}
	model = relevant(model)
	if len(model) == 0 {
		return nil, errors.New("there are no services in it")
	}
	if err := schema.Validate(model); err != nil {
		return nil, err
	}
	return loader.ModelToProject(model, loader.ToOptions(&details, []func(*loader.Options){options}), details)
}

// relevant leaves of a model what says how to build; the rest need not even
// be valid.
func relevant(model map[string]any) map[string]any {
	kept := map[string]any{}
	if secrets, ok := model["secrets"]; ok {
		kept["secrets"] = secrets
	}
	services, ok := model["services"].(map[string]any)
	if !ok {
		return kept
	}
	bare := map[string]any{}
	for name, service := range services {
		fields, _ := service.(map[string]any)
		part := map[string]any{}
		for _, field := range []string{"image", "build", "environment", "env_file"} {
			if v, ok := fields[field]; ok {
				part[field] = v
			}
		}
		bare[name] = part
	}
	kept["services"] = bare
	return kept
}

// noLocalFiles refuses the files that a definition from elsewhere names.
type noLocalFiles struct{}

func (noLocalFiles) Accept(string) bool { return true }
func (noLocalFiles) Dir(string) string  { return "" }
func (noLocalFiles) Load(_ context.Context, path string) (string, error) {
	return "", localFileError(path)
}

// targets turns the services that have a build section into targets.
func (r *composeReader) targets(p *types.Project) (composed, hcl.Diagnostics) {
	var result composed
	var diags hcl.Diagnostics
	if len(p.Services) > 0 {
		result.Group = &Group{Name: "default", DeclRange: r.places.find("services")}
	}
	for _, name := range slices.Sorted(maps.Keys(p.Services)) {
		service := p.Services[name]
		environment, err := r.environment(p, service)
		if err != nil {
			place := r.places.find("services", name, "env_file")
			diags = append(diags, problem(hcl.DiagError, place, "Invalid env_file", "Service %q: %s.", name, err))
			continue
		}
		if service.Build == nil {
			continue
		}
		service.Environment = environment
		t, more := r.target(p, service)
		diags = append(diags, more...)
		result.Targets = append(result.Targets, t)
	}
	slices.SortStableFunc(result.Targets, func(a, b composeTarget) int { return cmp.Compare(a.Name, b.Name) })
	for _, t := range result.Targets {
		result.Group.Members = append(result.Group.Members, t.Name)
		result.Group.MemberRange = append(result.Group.MemberRange, t.Range)
	}
	return result, diags
}

func (r *composeReader) target(p *types.Project, service types.ServiceConfig) (composeTarget, hcl.Diagnostics) {
	t := composeTarget{
		Name:   composeTargetName(service.Name),
		Attrs:  map[string]cty.Value{},
		Ranges: map[string]hcl.Range{},
		Range:  r.places.find("services", service.Name),
		Base:   r.files[0].Base,
	}
	if strings.Map(nameRune, t.Name) != t.Name || t.Name == "" {
		return t, hcl.Diagnostics{{
			Severity: hcl.DiagError,
			Summary:  "Invalid service name",
			Detail:   fmt.Sprintf("The service %q would become a target, but names of targets have only letters, digits, \"_\" and \"-\".", service.Name),
			Subject:  &t.Range,
		}}
	}
	b := &composeBuild{reader: r, project: p, service: service}
	for _, attr := range composeAttrs {
		value, err := attr.value(b)
		place := r.places.find(append([]string{"services", service.Name}, b.keys(attr, value)...)...)
		if err == nil && attr.extended {
			value, err = b.extend(attr.name, value)
		}
		if err != nil {
			b.diags = append(b.diags, &hcl.Diagnostic{
				Severity: hcl.DiagError,
				Summary:  "Invalid Compose service",
				Detail:   fmt.Sprintf("Service %q, build.%s: %s.", service.Name, attr.key, err),
				Subject:  &place,
			})
			continue
		}
		if value != cty.NilVal {
			t.Attrs[attr.name], t.Ranges[attr.name] = value, place
		}
	}
	return t, append(b.diags, b.unknownExtensions()...)
}

// composeTargetName returns the name of the target of a service.
func composeTargetName(service string) string { return strings.ReplaceAll(service, ".", "_") }
