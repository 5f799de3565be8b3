package config

import (
	"fmt"
	"maps"
	"regexp"
	"slices"

	"github.com/compose-spec/compose-go/v2/template"
	"github.com/hashicorp/hcl/v2"
)

// plainVariable matches "$$", "$NAME" and "${NAME}": a variable without a
// default, and what looks like one.
var plainVariable = regexp.MustCompile(`\$(?:\$|([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)\})`)

// substitute replaces the variables in a text of a Compose file. One that is
// not set and has no default is remembered and given the empty default, which
// keeps the library from writing to the log.
func (r *composeReader) substitute(text string, lookup template.Mapping) (string, error) {
	plain := map[string]bool{}
	text = plainVariable.ReplaceAllStringFunc(text, func(s string) string {
		m := plainVariable.FindStringSubmatch(s)
		name := m[1] + m[2]
		if _, ok := lookup(name); ok || name == "" {
			return s
		}
		plain[name] = true
		return "${" + name + ":-}"
	})
	return template.Substitute(text, func(name string) (string, bool) {
		v, ok := lookup(name)
		if !ok && plain[name] {
			r.absent[name] = true
		}
		return v, ok
	})
}

// unset warns of the variables that were used but are not set.
func (r *composeReader) unset() hcl.Diagnostics {
	var diags hcl.Diagnostics
	for _, name := range slices.Sorted(maps.Keys(r.absent)) {
		place := r.places.mention(name, r.files)
		diags = append(diags, &hcl.Diagnostic{
			Severity: hcl.DiagWarning,
			Summary:  "Variable is not set",
			Detail: fmt.Sprintf("The Compose file uses the variable %q, which neither --var, nor the environment, nor the file .env sets; "+
				"it is taken to be empty. Set it, or give a default as in ${%s:-default}.", name, name),
			Subject: &place,
		})
	}
	return diags
}

// mention returns where files first name a variable.
func (p composePlaces) mention(variable string, files []File) hcl.Range {
	use := regexp.MustCompile(`\$\{?` + regexp.QuoteMeta(variable) + `\b`)
	for _, f := range files {
		at := use.FindIndex(f.Data)
		if at == nil {
			continue
		}
		line, column := 1, 1
		for _, c := range f.Data[:at[0]] {
			column++
			if c == '\n' {
				line, column = line+1, 1
			}
		}
		return hcl.Range{
			Filename: f.Name,
			Start:    hcl.Pos{Line: line, Column: column, Byte: at[0]},
			End:      hcl.Pos{Line: line, Column: column + at[1] - at[0], Byte: at[1]},
		}
	}
	return *fileStart(files[0].Name)
}
