package config

import (
	"fmt"

	"github.com/hashicorp/hcl/v2"
	hcljson "github.com/hashicorp/hcl/v2/json"
)

// Syntax tells the format of a file, "hcl", "json" or "compose", as Load sees
// it, and what is wrong with its syntax; that of Compose files is not looked
// at. What is not in the diagnostics, how deep things are nested among it,
// can be parsed.
func Syntax(f File) (format string, diags hcl.Diagnostics) {
	alone := Inputs{Compose: ComposeInputs{May: func(path string) error { return fmt.Errorf("%s is not read", path) }}}
	switch format = formatOf(f, alone); format {
	case "hcl":
		_, diags = parseNative(f)
	case "json":
		if d := tooDeepJSON(f); d != nil {
			return format, hcl.Diagnostics{d}
		}
		_, diags = hcljson.Parse(withoutBOM(f.Data), f.Name)
	}
	return format, diags
}
