package cli

import (
	"cmp"
	"slices"
	"strings"

	"github.com/kilnbuild/kiln/exec/buildkit"
	"github.com/kilnbuild/kiln/internal/diag"
)

// leastSecret is the length from which a value is looked for: of a shorter
// one, ordinary words would be hidden.
const leastSecret = 8

// discreet returns text for the user without secrets: values of variables, of
// the environment or the command line, whose names say that they are secret,
// and passwords in addresses. An expression may have carried a value far from
// its name.
func (a *app) discreet(text string) string { return a.discretion()(text) }

// discretion returns discreet for many texts.
func (a *app) discretion() func(text string) string {
	var values []string
	add := func(name, value string) {
		if len(value) >= leastSecret && buildkit.IsSecretName(name) {
			values = append(values, value)
		}
	}
	for name, value := range a.env {
		add(name, value)
	}
	for _, arg := range a.args {
		if name, value, ok := strings.Cut(arg, "="); ok {
			add(name, value)
			inner, rest, _ := strings.Cut(value, "=") // --set=app.args.TOKEN=…
			add(inner, rest)
		}
	}
	slices.SortFunc(values, func(a, b string) int { // one may begin with another
		return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b))
	})
	var pairs []string
	for _, v := range values {
		pairs = append(pairs, v, "(hidden)")
	}
	replacer := strings.NewReplacer(pairs...)
	return func(text string) string { return redactLines(replacer.Replace(text)) }
}

// redactLines hides passwords in addresses.
func redactLines(text string) string {
	if !strings.Contains(text, "@") {
		return text
	}
	lines := strings.SplitAfter(text, "\n")
	for i, line := range lines {
		lines[i] = diag.Redact(line)
	}
	return strings.Join(lines, "")
}
