package cli

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/graph"
)

// Warnings of flags that have no effect, which bake does not give.

// unusedVars warns of --var for variables that no file declares. A Compose
// file may use any name, so that with what may be one nothing is known.
func unusedVars(def *definition, vars map[string]string) hcl.Diagnostics {
	for _, f := range def.files {
		if ext := filepath.Ext(f.Name); ext != ".hcl" && ext != ".json" {
			return nil
		}
	}
	var declared []string
	for _, v := range def.cfg.Variables {
		declared = append(declared, v.Name)
	}
	var diags hcl.Diagnostics
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		base := strings.TrimSuffix(name, "_JSON")
		if slices.Contains(declared, name) || slices.Contains(declared, base) {
			continue
		}
		diags = append(diags, &hcl.Diagnostic{
			Severity: hcl.DiagWarning,
			Summary:  "Unknown variable",
			Detail:   fmt.Sprintf("--var %s has no effect: no file declares a variable of this name%s.", name, didYouMean(name, declared)),
		})
	}
	return diags
}

// unused warns of settings that are wrong, but for targets only that are not
// built: bake is silent then, and a typing error goes unnoticed.
func unused(def *definition, g *graph.Graph) hcl.Diagnostics {
	var diags hcl.Diagnostics
	seen := map[*hcl.Diagnostic]bool{}
	for _, t := range def.cfg.Targets {
		for _, d := range t.Deferred {
			if seen[d] || g.Node(t.Name) != nil || d.Subject == nil || !strings.HasPrefix(d.Subject.Filename, "--set ") {
				continue
			}
			seen[d] = true
			warning := *d
			warning.Severity = hcl.DiagWarning
			warning.Detail += " It has no effect, as the target is not built."
			diags = append(diags, &warning)
		}
	}
	return diags
}

// unpushed warns of targets that --push does not push, because they have
// other outputs only.
func unpushed(g *graph.Graph) hcl.Diagnostics {
	var diags hcl.Diagnostics
	for _, n := range g.Nodes() {
		if !n.Requested || isCall(n.Target) || slices.ContainsFunc(n.Target.Outputs, pushes) {
			continue
		}
		var kinds []string
		for _, o := range n.Target.Outputs {
			kinds = append(kinds, o.Type)
		}
		diags = append(diags, &hcl.Diagnostic{
			Severity: hcl.DiagWarning,
			Summary:  "Nothing to push",
			Detail:   fmt.Sprintf("--push has no effect on target %q, whose output is %s. Add an output of type image, or leave the output out.", n.Name(), strings.Join(kinds, ", ")),
			Subject:  attrRange(n.Target, "output").Ptr(),
		})
	}
	return diags
}

func pushes(o config.Export) bool {
	return o.Type == "registry" || o.Type == "image" && isTrue(attr(o.Attrs, "push"))
}
