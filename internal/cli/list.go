package cli

import (
	"encoding/csv"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/internal/diag"
)

// A listSpec is the value of --list: what to list, and how.
type listSpec struct {
	kind string // targets or variables
	json bool
}

// parseList reads "targets", "variables" or a CSV record of type= and format=.
func parseList(spec string) (listSpec, error) {
	var l listSpec
	fields, err := csv.NewReader(strings.NewReader(spec)).Read()
	if err != nil {
		return l, usagef("--list %q: %w", spec, err)
	}
	if len(fields) == 1 && !strings.Contains(fields[0], "=") {
		l.kind = fields[0]
		return l, l.check(spec)
	}
	for _, f := range fields {
		key, value, _ := strings.Cut(strings.TrimSpace(f), "=")
		switch strings.ToLower(key) {
		case "type":
			l.kind = value
		case "format":
			if value != "table" && value != "json" {
				return l, usagef("--list %q: invalid list format %q; it is table or json", spec, value)
			}
			l.json = value == "json"
		default:
			return l, usagef("--list %q: unexpected key %q; it takes type=targets or type=variables, and format=table or format=json", spec, key)
		}
	}
	return l, l.check(spec)
}

func (l listSpec) check(spec string) error {
	kinds := []string{"targets", "variables"}
	if !slices.Contains(kinds, l.kind) {
		return usagef("--list %q: invalid list type %q%s; it is targets or variables", spec, l.kind, didYouMean(l.kind, kinds))
	}
	return nil
}

// A listedTarget is a row of the list of targets: a target or a group.
type listedTarget struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	Group       bool   `json:"group,omitempty"`
}

// A listedVariable is a row of the list of variables.
type listedVariable struct {
	Name        string  `json:"name"`
	Description string  `json:"description,omitempty"`
	Type        string  `json:"type,omitempty"`
	Value       *string `json:"value,omitempty"`
}

// list prints what a definition declares.
func (l listSpec) list(w io.Writer, cfg *config.Config) error {
	if l.kind == "variables" {
		return l.variables(w, cfg)
	}
	return l.targets(w, cfg)
}

func (l listSpec) targets(w io.Writer, cfg *config.Config) error {
	rows := targetRows(cfg)
	if l.json {
		return writeJSON(w, rows)
	}
	return table(w, "TARGET\tDESCRIPTION", rows, func(t listedTarget) string { return t.Name + "\t" + t.Description })
}

// targetRows lists targets and groups by name, without the hidden ones.
// Descriptions are the targets' own. A target and a group of one name come in
// the order in which bake has them, which the sort that it uses happens to
// give: that of the standard library, of targets before groups.
func targetRows(cfg *config.Config) []listedTarget {
	var rows []listedTarget
	for _, t := range cfg.Targets {
		rows = append(rows, listedTarget{Name: t.Name, Description: t.Listed})
	}
	for _, g := range slices.Concat(cfg.Groups, cfg.Shadowed) {
		rows = append(rows, listedTarget{Name: g.Name, Description: groupLine(g), Group: true})
	}
	slices.SortFunc(rows, func(a, b listedTarget) int { return strings.Compare(a.Name, b.Name) })
	return slices.DeleteFunc(rows, func(t listedTarget) bool { return strings.HasPrefix(t.Name, "_") })
}

// groupLine describes a group: what it says of itself, and its members.
func groupLine(g *config.Group) string {
	members := strings.Join(slices.Sorted(slices.Values(g.Members)), ", ")
	switch {
	case g.Description == "":
		return members
	case members == "":
		return g.Description
	}
	return fmt.Sprintf("%s (%s)", g.Description, members)
}

func (l listSpec) variables(w io.Writer, cfg *config.Config) error {
	var rows []listedVariable
	if declaresVariables(cfg) {
		rows = []listedVariable{} // not null, as bake has it
	}
	for _, v := range cfg.Variables {
		row := listedVariable{Name: v.Name, Description: v.Description, Type: v.Type}
		if !v.Null {
			row.Value = &v.Value
		}
		rows = append(rows, row)
	}
	slices.SortStableFunc(rows, func(a, b listedVariable) int { return strings.Compare(a.Name, b.Name) })
	if l.json {
		return writeJSON(w, rows)
	}
	return table(w, "VARIABLE\tTYPE\tVALUE\tDESCRIPTION", rows, func(v listedVariable) string {
		value := "<null>"
		if v.Value != nil {
			value = *v.Value
		}
		return strings.Join([]string{v.Name, v.Type, value, v.Description}, "\t")
	})
}

// declaresVariables reports whether there is a file in which variables could
// be declared: one that is not a Compose file.
func declaresVariables(cfg *config.Config) bool {
	for name := range cfg.Files {
		if ext := strings.ToLower(filepath.Ext(name)); ext != ".yml" && ext != ".yaml" {
			return true
		}
	}
	return false
}

// table prints rows under a header, aligned.
func table[T any](w io.Writer, header string, rows []T, line func(T) string) error {
	t := tabwriter.NewWriter(w, 1, 8, 1, '\t', 0)
	fmt.Fprintln(t, header)
	for _, r := range rows {
		fmt.Fprintln(t, line(r))
	}
	return t.Flush()
}

// listCommand is `kiln list`: everything a definition declares.
func listCommand(a *app) *cobra.Command {
	var d definitionFlags
	var asJSON bool
	c := &cobra.Command{
		Use:     "list",
		Short:   "List targets, groups, variants, variables and functions",
		Example: "  kiln list\n  kiln list --json -f docker-bake.hcl",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			def, err := a.load(c.Context(), d, nil)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(a.Out, inventoryOf(def.cfg))
			}
			return inventoryOf(def.cfg).print(a.Out)
		},
	}
	d.register(c.Flags())
	c.Flags().BoolVar(&asJSON, "json", false, "print a JSON object")
	return c
}

// An inventory is what `kiln list` prints. Version changes when a reader of
// the JSON form would have to.
type inventory struct {
	Version   int              `json:"version"`
	Targets   []listedInstance `json:"targets"`
	Groups    []listedGroup    `json:"groups"`
	Variants  []string         `json:"variants"`
	Variables []listedVariable `json:"variables"`
	Functions []listedFunction `json:"functions"`
}

type listedInstance struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	Variant     string `json:"variant,omitempty"`
	File        string `json:"file"`
	Line        int    `json:"line"`
}

type listedGroup struct {
	Name        string   `json:"name"`
	Description string   `json:"description,omitempty"`
	Targets     []string `json:"targets"`
}

type listedFunction struct {
	Name   string `json:"name"`
	Params string `json:"params"`
}

// inventoryOf collects all that cfg declares, in the order of declaration.
func inventoryOf(cfg *config.Config) inventory {
	inv := inventory{Version: 1, Targets: []listedInstance{}, Groups: []listedGroup{}, Variants: []string{}, Variables: []listedVariable{}, Functions: []listedFunction{}}
	for _, t := range cfg.Targets {
		inv.Targets = append(inv.Targets, listedInstance{t.Name, t.Description, t.Variant, t.DeclRange.Filename, t.DeclRange.Start.Line})
		if t.Variant != "" && !slices.Contains(inv.Variants, t.Variant) {
			inv.Variants = append(inv.Variants, t.Variant)
		}
	}
	for _, g := range cfg.Groups {
		inv.Groups = append(inv.Groups, listedGroup{g.Name, g.Description, g.Members})
	}
	for _, v := range cfg.Variables {
		row := listedVariable{Name: v.Name, Description: v.Description, Type: v.Type}
		if !v.Null {
			row.Value = &v.Value
		}
		inv.Variables = append(inv.Variables, row)
	}
	for _, f := range cfg.Functions {
		params := slices.Clone(f.Params)
		if f.Variadic != "" {
			params = append(params, f.Variadic+"...")
		}
		inv.Functions = append(inv.Functions, listedFunction{f.Name, strings.Join(params, ", ")})
	}
	return inv
}

// print writes the tables that have a row, a blank line between them.
func (inv inventory) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 1, 8, 2, ' ', 0)
	between := ""
	section := func(header string, n int, row func(i int) []string) {
		if n == 0 {
			return
		}
		fmt.Fprintln(t, between+header)
		between = "\n"
		for i := range n {
			cells := row(i)
			for c := range cells {
				cells[c] = diag.Visible(cells[c])
			}
			fmt.Fprintln(t, strings.TrimRight(strings.Join(cells, "\t"), "\t"))
		}
	}
	section("TARGET\tVARIANT\tDECLARED\tDESCRIPTION", len(inv.Targets), func(i int) []string {
		x := inv.Targets[i]
		return []string{x.Name, x.Variant, fmt.Sprintf("%s:%d", x.File, x.Line), x.Description}
	})
	section("GROUP\tTARGETS\tDESCRIPTION", len(inv.Groups), func(i int) []string {
		g := inv.Groups[i]
		return []string{g.Name, strings.Join(g.Targets, ", "), g.Description}
	})
	section("VARIABLE\tTYPE\tVALUE\tDESCRIPTION", len(inv.Variables), func(i int) []string {
		v := inv.Variables[i]
		value := "<null>"
		if v.Value != nil {
			value = *v.Value
		}
		return []string{v.Name, v.Type, value, v.Description}
	})
	section("FUNCTION\tPARAMETERS", len(inv.Functions), func(i int) []string {
		return []string{inv.Functions[i].Name, inv.Functions[i].Params}
	})
	return t.Flush()
}
