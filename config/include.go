package config

import (
	"bytes"
	"fmt"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

// An Include asks for further build files.
type Include struct {
	Pattern  string // of file names, relative to the directory of the file that holds it
	Optional bool   // nothing needs to match
	Range    hcl.Range
}

// Includes returns the include blocks of a file, in the order written. It is
// for the caller of Load to read what they name and to pass it on as further
// files. Errors that Load finds as well, as in the syntax, are left to it.
func Includes(f File) ([]Include, hcl.Diagnostics) {
	alone := Inputs{Compose: ComposeInputs{May: func(path string) error { return fmt.Errorf("%s is not read yet", path) }}}
	if !bytes.Contains(f.Data, []byte("include")) || formatOf(f, alone) == "compose" {
		return nil, nil
	}
	syntax := &report{}
	mod := &module{files: map[string]*hcl.File{}}
	(&parser{mod: mod, rep: syntax}).parseFiles([]File{f}, alone)
	if syntax.errors > 0 {
		return nil, nil
	}
	rep := &report{}
	var out []Include
	for _, b := range mod.includes {
		inc := Include{Pattern: b.label, Range: b.labelRange}
		if a := b.named("optional"); a != nil {
			v, diags := a.expr.src.Value(nil)
			if diags.HasErrors() || v.IsNull() || v.Type() != cty.Bool || !v.IsKnown() {
				rep.errorf(a.expr.Range(), "Unsuitable value", "Attribute \"optional\" of include %q must be true or false.", b.label)
				continue
			}
			inc.Optional = v.True()
		}
		out = append(out, inc)
	}
	return out, rep.sorted([]File{f})
}
