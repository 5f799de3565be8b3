package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/go-units"
	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

// A composeAttr is one attribute that a build section can set.
type composeAttr struct {
	name     string // of the attribute
	key      string // within build
	extended bool   // x-bake can set it too
	value    func(*composeBuild) (cty.Value, error)
}

// composeAttrs has a row for each attribute that Compose files can set.
// cty.NilVal is "not set".
var composeAttrs = []composeAttr{
	{"context", "context", false, textOf(func(b *types.BuildConfig) string { return b.Context })},
	{"contexts", "additional_contexts", true, func(b *composeBuild) (cty.Value, error) {
		return namedContexts(b.service.Build.AdditionalContexts), nil
	}},
	{"dockerfile", "dockerfile", false, textOf(func(b *types.BuildConfig) string { return b.Dockerfile })},
	{"dockerfile-inline", "dockerfile_inline", false, textOf(func(b *types.BuildConfig) string { return b.DockerfileInline })},
	{"target", "target", false, textOf(func(b *types.BuildConfig) string { return b.Target })},
	{"args", "args", false, (*composeBuild).args},
	{"labels", "labels", false, func(b *composeBuild) (cty.Value, error) { return composeMap(b.service.Build.Labels), nil }},
	{"tags", "tags", true, func(b *composeBuild) (cty.Value, error) { return composeList(b.service.Build.Tags), nil }},
	{"platforms", "platforms", true, func(b *composeBuild) (cty.Value, error) { return composeList(b.service.Build.Platforms), nil }},
	{"cache-from", "cache_from", true, func(b *composeBuild) (cty.Value, error) { return composeList(b.service.Build.CacheFrom), nil }},
	{"cache-to", "cache_to", true, func(b *composeBuild) (cty.Value, error) { return composeList(b.service.Build.CacheTo), nil }},
	{"secret", "secrets", true, (*composeBuild).secrets},
	{"ssh", "ssh", true, (*composeBuild).ssh},
	{"output", extensionKey, true, func(*composeBuild) (cty.Value, error) { return cty.NilVal, nil }},
	{"no-cache-filter", extensionKey, true, func(*composeBuild) (cty.Value, error) { return cty.NilVal, nil }},
	{"network", "network", false, textOf(func(b *types.BuildConfig) string { return b.Network })},
	{"shm-size", "shm_size", false, (*composeBuild).shmSize},
	{"ulimits", "ulimits", false, (*composeBuild).ulimits},
	{"extra-hosts", "extra_hosts", false, (*composeBuild).extraHosts},
	{"no-cache", "no_cache", true, flagOf(func(b *types.BuildConfig) bool { return b.NoCache })},
	{"pull", "pull", true, flagOf(func(b *types.BuildConfig) bool { return b.Pull })},
	{"attest", "provenance", false, (*composeBuild).attestations},
}

// A composeBuild is the build section of one service.
type composeBuild struct {
	reader  *composeReader
	project *types.Project
	service types.ServiceConfig
	diags   hcl.Diagnostics
}

func textOf(field func(*types.BuildConfig) string) func(*composeBuild) (cty.Value, error) {
	return func(b *composeBuild) (cty.Value, error) {
		if s := field(b.service.Build); s != "" {
			return cty.StringVal(s), nil
		}
		return cty.NilVal, nil
	}
}

// flagOf carries true only; Compose cannot tell false from not set.
func flagOf(field func(*types.BuildConfig) bool) func(*composeBuild) (cty.Value, error) {
	return func(b *composeBuild) (cty.Value, error) {
		if field(b.service.Build) {
			return cty.True, nil
		}
		return cty.NilVal, nil
	}
}

func composeList(list []string) cty.Value {
	values := make([]cty.Value, len(list))
	for i, s := range list {
		values[i] = cty.StringVal(s)
	}
	return composeTuple(values)
}

func composeTuple(values []cty.Value) cty.Value {
	if len(values) == 0 {
		return cty.NilVal
	}
	return cty.TupleVal(values)
}

func composeMap(m map[string]string) cty.Value {
	if len(m) == 0 {
		return cty.NilVal
	}
	values := make(map[string]cty.Value, len(m))
	for k, v := range m {
		values[k] = cty.StringVal(v)
	}
	return cty.ObjectVal(values)
}

// namedContexts writes references to services as references to their targets.
func namedContexts(contexts map[string]string) cty.Value {
	named := make(map[string]string, len(contexts))
	for name, from := range contexts {
		for _, prefix := range []string{"service:", "target:"} {
			if service, ok := strings.CutPrefix(from, prefix); ok {
				from = "target:" + composeTargetName(service)
				break
			}
		}
		named[name] = from
	}
	return composeMap(named)
}

// args gives arguments without a value that of the service's environment,
// else of the variables of the file; what has none there is left out.
func (b *composeBuild) args() (cty.Value, error) {
	args := map[string]string{}
	for name, value := range b.service.Build.Args {
		if value == nil {
			value = b.service.Environment[name]
		}
		if value != nil {
			args[name] = *value
		} else if v, ok := b.project.Environment[name]; ok {
			args[name] = v
		}
	}
	return composeMap(args), nil
}

// environment resolves environment and env_file of a service.
func (r *composeReader) environment(p *types.Project, service types.ServiceConfig) (types.MappingWithEquals, error) {
	own := service.Environment.Resolve(p.Environment.Resolve)
	vars := own.ToMapping()
	lookup := func(name string) (string, bool) {
		if v, ok := p.Environment.Resolve(name); ok {
			return v, true
		}
		if v := own[name]; v != nil {
			return *v, true
		}
		return "", false
	}
	for _, file := range service.EnvFiles {
		data, err := r.envFile(file.Path)
		if errors.Is(err, fs.ErrNotExist) && !bool(file.Required) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", file.Path, err)
		}
		if err := dotenv.ParseWithFormat(bytes.NewReader(data), file.Path, vars, lookup, file.Format); err != nil {
			return nil, fmt.Errorf("%s: %w", file.Path, err)
		}
	}
	return vars.ToMappingWithEquals().OverrideBy(own), nil
}

func (r *composeReader) envFile(path string) ([]byte, error) {
	if slices.ContainsFunc(r.files, func(f File) bool { return f.Remote }) {
		return nil, localFileError(path)
	}
	if r.in.Compose.ReadFile == nil {
		return nil, nil
	}
	return r.in.Compose.ReadFile(path)
}

// localFileError says that a file of this machine was named from elsewhere.
func localFileError(path string) error {
	return fmt.Errorf("%s: a Compose file from a remote definition may not name files of this machine by include, extends or env_file", path)
}

func (b *composeBuild) secrets() (cty.Value, error) {
	var values []cty.Value
	for _, use := range b.service.Build.Secrets {
		secret := b.project.Secrets[use.Source]
		if secret.External {
			return cty.NilVal, fmt.Errorf("the secret %q is external, which is not known here; give it file or environment", use.Source)
		}
		fields := map[string]cty.Value{"id": cty.StringVal(use.Source)}
		if secret.File != "" {
			fields["src"] = cty.StringVal(secret.File)
		}
		if secret.Environment != "" {
			fields["env"] = cty.StringVal(secret.Environment)
		}
		values = append(values, cty.ObjectVal(fields))
	}
	return composeTuple(values), nil
}

func (b *composeBuild) ssh() (cty.Value, error) { return sshValue(b.sshKeys()), nil }

func (b *composeBuild) sshKeys() []SSH {
	var keys []SSH
	for _, key := range b.service.Build.SSH {
		k := SSH{ID: key.ID}
		if key.Path != "" {
			k.Paths = []string{key.Path}
		}
		keys = append(keys, k)
	}
	return keys
}

// sshValue lists keys by ID; of several with one ID the last counts.
func sshValue(keys []SSH) cty.Value {
	byID := map[string]SSH{}
	for _, k := range keys {
		byID[k.ID] = k
	}
	var values []cty.Value
	for _, id := range slices.Sorted(maps.Keys(byID)) {
		fields := map[string]cty.Value{"id": cty.StringVal(id)}
		if paths := composeList(byID[id].Paths); paths != cty.NilVal {
			fields["paths"] = paths
		}
		values = append(values, cty.ObjectVal(fields))
	}
	return composeTuple(values)
}

func (b *composeBuild) shmSize() (cty.Value, error) {
	if n := b.service.Build.ShmSize; n > 0 {
		return cty.StringVal(units.BytesSize(float64(n))), nil
	}
	return cty.NilVal, nil
}

// ulimits lists limits by name. One given as a single number becomes 0:0, as
// bake makes of it.
func (b *composeBuild) ulimits() (cty.Value, error) {
	var limits []string
	for _, name := range slices.Sorted(maps.Keys(b.service.Build.Ulimits)) {
		u := b.service.Build.Ulimits[name]
		limit, err := units.ParseUlimit(fmt.Sprintf("%s=%d:%d", name, u.Soft, u.Hard))
		if err != nil {
			return cty.NilVal, fmt.Errorf("%s: %w", name, err)
		}
		limits = append(limits, limit.String())
	}
	return composeList(limits), nil
}

func (b *composeBuild) extraHosts() (cty.Value, error) {
	hosts := map[string]string{}
	for host, addresses := range b.service.Build.ExtraHosts {
		hosts[host] = strings.Join(addresses, ",")
	}
	return composeMap(hosts), nil
}

func (b *composeBuild) attestations() (cty.Value, error) {
	var entries []string
	for _, a := range []struct{ kind, value string }{
		{"sbom", b.service.Build.SBOM},
		{"provenance", b.service.Build.Provenance},
	} {
		if a.value == "" {
			continue
		}
		if on, err := strconv.ParseBool(a.value); err == nil {
			a.value = "disabled=" + strconv.FormatBool(!on)
		}
		entries = append(entries, "type="+a.kind+","+a.value)
	}
	return composeList(entries), nil
}

// The extension x-bake.

// xBakeKeys are its keys, all names of attributes.
var xBakeKeys = []string{
	"cache-from", "cache-to", "contexts", "no-cache", "no-cache-filter", "output", "platforms", "pull", "secret", "ssh", "tags",
}

// extension returns the content of x-bake.
func (b *composeBuild) extension() (map[string]any, error) {
	switch x := b.service.Build.Extensions[extensionKey].(type) {
	case nil:
		return nil, nil
	case map[string]any:
		return x, nil
	default:
		return nil, errors.New("x-bake must be a mapping")
	}
}

// extend adds what x-bake says of an attribute to its value.
func (b *composeBuild) extend(attr string, value cty.Value) (cty.Value, error) {
	ext, err := b.extension()
	if err != nil {
		return cty.NilVal, err
	}
	more := ext[attr]
	switch {
	case attr == "pull" || attr == "no-cache":
		return overridden(value, more)
	case more == nil && attr != "tags":
		return value, nil
	case attr == "contexts":
		return b.moreContexts(more)
	}
	entries, err := extensionList(more)
	if err != nil {
		return cty.NilVal, fmt.Errorf("x-bake.%s %w", attr, err)
	}
	switch {
	case attr == "ssh" && len(entries) > 0:
		return b.moreSSH(entries), nil
	case attr == "tags" && value == cty.NilVal && len(entries) == 0:
		return b.image(), nil
	case value == cty.NilVal:
		return composeList(entries), nil
	}
	values := value.AsValueSlice()
	for _, e := range entries {
		values = append(values, cty.StringVal(e))
	}
	return composeTuple(values), nil
}

// keys are those below the service that lead to an attribute with this value
// in the build section: the section's own, those of x-bake, or image.
func (b *composeBuild) keys(attr composeAttr, value cty.Value) []string {
	ext, _ := b.extension() // what is wrong with it is told with its attributes
	switch {
	case value != cty.NilVal:
	case attr.extended && ext[attr.name] != nil:
		return []string{"build", extensionKey, attr.name}
	case attr.name == "tags" && b.service.Image != "":
		return []string{imageKey}
	}
	return []string{"build", attr.key}
}

const (
	imageKey     = "image"  // of a service: a tag, if it has no others
	extensionKey = "x-bake" // of a build section: what Compose has no key for
)

// image is the tag of a service that has no others.
func (b *composeBuild) image() cty.Value {
	if b.service.Image == "" {
		return cty.NilVal
	}
	return composeList([]string{b.service.Image})
}

func overridden(value cty.Value, by any) (cty.Value, error) {
	switch by := by.(type) {
	case nil:
		return value, nil
	case bool:
		return cty.BoolVal(by), nil
	default:
		return cty.NilVal, fmt.Errorf("x-bake must say true or false, not %v", by)
	}
}

// moreContexts adds contexts that have names of their own.
func (b *composeBuild) moreContexts(more any) (cty.Value, error) {
	m, ok := more.(map[string]any)
	if !ok {
		return cty.NilVal, errors.New("x-bake.contexts must be a mapping")
	}
	all := map[string]string{}
	for name, from := range m {
		s, err := extensionText(from)
		if err != nil {
			return cty.NilVal, fmt.Errorf("x-bake.contexts.%s %w", name, err)
		}
		all[name] = s
	}
	maps.Copy(all, b.service.Build.AdditionalContexts)
	return namedContexts(all), nil
}

func (b *composeBuild) moreSSH(entries []string) cty.Value {
	keys := b.sshKeys()
	for _, e := range entries {
		id, paths, has := strings.Cut(e, "=")
		k := SSH{ID: id}
		if has {
			k.Paths = strings.Split(paths, ",")
		}
		keys = append(keys, k)
	}
	return sshValue(keys)
}

// extensionList reads a list of texts, or one text of several words.
func extensionList(v any) ([]string, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case []any:
		var texts []string
		for _, e := range v {
			s, err := extensionText(e)
			if err != nil {
				return nil, err
			}
			texts = append(texts, s)
		}
		return texts, nil
	default:
		s, err := extensionText(v)
		return strings.Fields(s), err
	}
}

func extensionText(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case int, int64, uint64, float64, bool:
		return fmt.Sprint(v), nil
	case nil:
		return "", nil
	default:
		return "", errors.New("must be text, a list of texts, or words with blanks between them")
	}
}

// unknownExtensions warns of keys of x-bake that have no effect.
func (b *composeBuild) unknownExtensions() hcl.Diagnostics {
	ext, err := b.extension()
	if err != nil {
		return nil // told with each attribute
	}
	var diags hcl.Diagnostics
	for _, key := range slices.SortedFunc(maps.Keys(ext), cmp.Compare) {
		if slices.Contains(xBakeKeys, key) {
			continue
		}
		place := b.reader.places.find("services", b.service.Name, "build", extensionKey, key)
		diags = append(diags, problem(hcl.DiagWarning, place, "Unknown key of x-bake",
			"The key %q of x-bake of service %q has no effect.%s", key, b.service.Name, near(key, xBakeKeys)))
	}
	return diags
}
