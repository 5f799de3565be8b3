package cli

import (
	"encoding/csv"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/kilnbuild/kiln/config"
)

// What --set, --var and the short flags (--push, --load, …) say becomes
// overrides and variables here. What keys there are is known to config.

// parseSets reads values of --set, PATTERN.KEY[.SUBKEY][+]=VALUE. The left
// side ends at the first "=" and splits at its first two dots, so a subkey
// may contain dots.
func parseSets(sets []string) ([]config.Override, error) {
	var overrides []config.Override
	for _, set := range sets {
		o, err := parseSet(set)
		if err != nil {
			return nil, fmt.Errorf("--set %q: %w", set, err)
		}
		overrides = append(overrides, o)
	}
	return overrides, nil
}

func parseSet(set string) (config.Override, error) {
	o := config.Override{Flag: "--set " + set}
	left, value, has := strings.Cut(set, "=")
	o.Value, o.NoValue = value, !has
	left, o.Append = strings.CutSuffix(left, "+")
	parts := strings.SplitN(left, ".", 3)
	if len(parts) < 2 || parts[0] == "" || parts[1] == "" {
		return o, fmt.Errorf("a target and a key are needed, as in app.tags=VALUE or '*.platform=VALUE'")
	}
	o.Pattern, o.Key = parts[0], parts[1]
	if len(parts) == 3 {
		o.Sub, o.HasSub = parts[2], true
	}
	if o.NoValue && o.Key != "arg" && o.Key != "args" {
		return o, fmt.Errorf("a value is needed, as in %s=VALUE; only args can be taken from the environment", left)
	}
	return o, nil
}

// parseVars reads values of --var, NAME=VALUE; of one name the last counts,
// and an empty one says nothing.
func parseVars(vars []string) (map[string]string, error) {
	values := map[string]string{}
	for _, v := range vars {
		if v == "" {
			continue
		}
		name, value, ok := strings.Cut(v, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("--var %q: a name and a value are needed, as in TAG=1.2", v)
		}
		values[name] = value
	}
	return values, nil
}

// shortFlags are the flags that stand for overrides of all targets.
type shortFlags struct {
	push, load       bool
	noCache, pull    bool
	setNoCache       bool // --no-cache was given, so its value counts
	setPull          bool
	call             string
	sbom, provenance string
	policy           []string
}

func (s *shortFlags) register(f *pflag.FlagSet) {
	f.BoolVar(&s.push, "push", false, "push the images; short for --set '*.push=true'")
	f.BoolVar(&s.load, "load", false, "load the images into the Docker Engine; short for --set '*.load=true'")
	f.BoolVar(&s.noCache, "no-cache", false, "build without cache; short for --set '*.no-cache=true'")
	f.BoolVar(&s.pull, "pull", false, "look for newer base images; short for --set '*.pull=true'")
	f.StringVar(&s.call, "call", "build", "evaluate with a `method` of the frontend: build, check, outline or targets; with format=json, ignorestatus=true")
	f.VarPF(checkFlag{&s.call}, "check", "", "check the Dockerfiles; short for --call=check").NoOptDefVal = "true"
	f.StringVar(&s.sbom, "sbom", "", "attach an SBOM: true, false or its `settings`; short for --set '*.attest=type=sbom'")
	f.StringVar(&s.provenance, "provenance", "", "attach provenance: true, false or its `settings`, as mode=max; short for --set '*.attest=type=provenance'")
	f.StringArrayVar(&s.policy, "policy", nil, "source policy of all targets: `strict=BOOL,log-level=LEVEL` or disabled=true")
}

// checkFlag is --check. Of --check and --call the last one given counts, so
// both write to one place.
type checkFlag struct{ call *string }

func (checkFlag) Type() string { return "bool" }

func (c checkFlag) String() string {
	return strconv.FormatBool(c.call != nil && *c.call == "check")
}

func (c checkFlag) Set(s string) error {
	on, err := strconv.ParseBool(s)
	if err == nil && on {
		*c.call = "check"
	}
	return err
}

// changed notes which of the flags were given.
func (s *shortFlags) changed(f *pflag.FlagSet) {
	s.setNoCache = f.Changed("no-cache")
	s.setPull = f.Changed("pull")
}

// overrides returns what the flags stand for, in the order in which bake
// appends it to the overrides of --set.
func (s *shortFlags) overrides() ([]config.Override, error) {
	var all []config.Override
	add := func(flag, key, value string) {
		all = append(all, config.Override{Pattern: "*", Key: key, Value: value, Flag: flag})
	}
	if s.push {
		add("--push", "push", "true")
	}
	if s.load {
		add("--load", "load", "true")
	}
	call, err := parseCall(s.call)
	if err != nil {
		return nil, err
	}
	if call.overrides {
		add("--call="+s.call, "call", call.method)
	}
	if s.setNoCache {
		add("--no-cache", "no-cache", strconv.FormatBool(s.noCache))
	}
	if s.setPull {
		add("--pull", "pull", strconv.FormatBool(s.pull))
	}
	for _, a := range []struct{ kind, value string }{{"sbom", s.sbom}, {"provenance", s.provenance}} {
		if a.value == "" {
			continue
		}
		entry, err := attestation(a.kind, a.value)
		if err != nil {
			return nil, err
		}
		add("--"+a.kind+"="+a.value, "attest", entry)
	}
	policies, err := policyOverrides(s.policy)
	return append(all, policies...), err
}

// A callSpec is the value of --call.
type callSpec struct {
	method       string // for the frontend; "" is to build. "check" is "lint" to it
	overrides    bool   // the method goes to all targets, also "" as bake has it where only a format is named
	json         bool   // format=json
	ignoreStatus bool   // the exit code does not tell what was found
}

// parseCall reads METHOD[,format=json|text][,ignorestatus=BOOL].
func parseCall(s string) (callSpec, error) {
	var c callSpec
	if s == "" {
		return c, nil
	}
	fields, err := csvFields(s)
	if err != nil {
		return c, fmt.Errorf("--call %q: %w", s, err)
	}
	for _, field := range fields {
		key, value, has := strings.Cut(field, "=")
		switch {
		case !has && c.method == "":
			c.method = field
		case !has:
			return c, fmt.Errorf("--call %q: %q is a second method; one is possible", s, field)
		case key == "format":
			c.json = value == "json"
		case key == "ignorestatus":
			if c.ignoreStatus, err = strconv.ParseBool(value); err != nil {
				return c, fmt.Errorf("--call %q: ignorestatus is true or false, not %q", s, value)
			}
		default:
			return c, fmt.Errorf("--call %q: unknown key %q%s", s, key, didYouMean(key, []string{"format", "ignorestatus"}))
		}
	}
	c.overrides = c.method != "build"
	switch c.method {
	case "check":
		c.method = "lint"
	case "build":
		c.method = ""
	}
	return c, nil
}

// attestation returns the entry of attest that --sbom or --provenance means.
func attestation(kind, value string) (string, error) {
	if on, err := strconv.ParseBool(value); err == nil {
		return fmt.Sprintf("type=%s,disabled=%t", kind, !on), nil
	}
	fields, err := csvFields(value)
	if err != nil {
		return "", fmt.Errorf("--%s %q: %w", kind, value, err)
	}
	for _, field := range fields {
		if !strings.Contains(field, "=") {
			return "", fmt.Errorf("--%s %q: true, false or KEY=VALUE is needed, as in --provenance=mode=max, not %q", kind, value, field)
		}
	}
	return "type=" + kind + "," + value, nil
}

// policyOverrides returns what the values of --policy stand for: each is
// added to every target's policy, but disabled=true takes its place.
func policyOverrides(values []string) ([]config.Override, error) {
	var all []config.Override
	for _, v := range values {
		flag := "--policy=" + v
		disabled, err := checkPolicy(v)
		if err != nil {
			return nil, fmt.Errorf("--policy %q: %w", v, err)
		}
		if disabled && (len(values) > 1 || strings.Contains(v, ",")) {
			return nil, fmt.Errorf("--policy %q: disabled=true cannot be combined with another policy", v)
		}
		if disabled {
			return []config.Override{
				{Pattern: "*", Key: "policy", Flag: flag}, // clears what is there
				{Pattern: "*", Key: "policy", Value: v, Flag: flag},
			}, nil
		}
		all = append(all, config.Override{Pattern: "*", Key: "policy", Value: v, Append: true, Flag: flag})
	}
	return all, nil
}

// checkPolicy reports whether a value of --policy is disabled=true, or what
// is wrong with it.
func checkPolicy(v string) (disabled bool, err error) {
	fields, err := csvFields(v)
	if err != nil {
		return false, err
	}
	for _, field := range fields {
		key, value, has := strings.Cut(field, "=")
		key = strings.ToLower(strings.TrimSpace(key))
		known := []string{"disabled", "log-level", "strict"}
		switch {
		case !has:
			return false, fmt.Errorf("KEY=VALUE is needed, not %q", field)
		case key == "filename" || key == "reset":
			return false, fmt.Errorf("%s is for the policy of a target in a build file, not for the command line", key)
		case !slices.Contains(known, key):
			return false, fmt.Errorf("unknown key %q%s; it takes disabled, log-level and strict", key, didYouMean(key, known))
		case key == "log-level":
			continue
		}
		on, err := strconv.ParseBool(value)
		if err != nil {
			return false, fmt.Errorf("%s is true or false, not %q", key, value)
		}
		disabled = disabled || key == "disabled" && on
	}
	return disabled, nil
}

// csvFields reads one record of comma-separated values.
func csvFields(s string) ([]string, error) {
	fields, err := csv.NewReader(strings.NewReader(s)).Read()
	if err != nil {
		return nil, fmt.Errorf("not a list of values with commas between them: %w", err)
	}
	return fields, nil
}
