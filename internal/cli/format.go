package cli

import (
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"text/tabwriter"
	"text/template"

	"github.com/charmbracelet/x/ansi"
	"github.com/docker/cli/templates"
)

// A rowFormat is the value of --format: a Go template for each row, with
// Docker's functions. One that begins with "table" prints columns under a
// header, and "json" alone prints an object a row.
type rowFormat struct {
	spec  string
	table bool
	text  *template.Template
}

// parseFormat reads a template for rows of the type of header, which has the
// columns' titles in its fields, and tries it on that, unless it is nil.
func parseFormat(spec string, header any) (*rowFormat, error) {
	f := &rowFormat{spec: spec}
	body := spec
	if spec == "json" {
		body = "{{json .}}"
	}
	if rest, ok := strings.CutPrefix(body, "table"); ok && (rest == "" || strings.ContainsRune(" \t{\\", rune(rest[0]))) {
		f.table = true
		body = strings.TrimLeft(rest, " ")
	}
	body = strings.NewReplacer(`\t`, "\t", `\n`, "\n").Replace(body)
	var err error
	if f.text, err = templates.Parse(body); err == nil && header == nil {
		return f, nil
	}
	if err == nil {
		err = f.text.Execute(io.Discard, header)
	}
	switch {
	case err != nil && header == nil:
		return nil, usagef("--format %q: %w", spec, err)
	case err != nil:
		return nil, usagef("--format %q: %w; the fields are %s", spec, err, strings.Join(fieldsOf(header), ", "))
	}
	return f, nil
}

// fieldsOf are the names by which a template has the fields and methods of v.
func fieldsOf(v any) []string {
	var names []string
	t := reflect.TypeOf(v)
	for i := range t.NumMethod() {
		names = append(names, "."+t.Method(i).Name)
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	for _, field := range reflect.VisibleFields(t) {
		if field.IsExported() && !field.Anonymous {
			names = append(names, "."+field.Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// printFormatted prints a line a row, under a header where the format is a table.
func printFormatted[T any](w io.Writer, f *rowFormat, header T, rows []T) error {
	if !f.table {
		for _, r := range rows {
			if err := f.line(w, f.text, r); err != nil {
				return err
			}
		}
		return nil
	}
	t := tabwriter.NewWriter(w, 10, 1, 3, ' ', 0)
	title, err := f.text.Clone()
	if err != nil {
		return err
	}
	if err := f.line(t, title.Funcs(templates.HeaderFunctions), header); err != nil {
		return err
	}
	for _, r := range rows {
		if err := f.line(t, f.text, r); err != nil {
			return err
		}
	}
	return t.Flush()
}

func (f *rowFormat) line(w io.Writer, t *template.Template, row any) error {
	if err := t.Execute(w, row); err != nil {
		return &exitError{code: codeUsage, err: fmt.Errorf("--format %q: %w", f.spec, err)}
	}
	_, err := fmt.Fprintln(w)
	return err
}

// printColumns prints rows under a header, aligned, without blanks at the end
// of a line.
func printColumns(w io.Writer, header []string, rows [][]string) error {
	all := append([][]string{header}, rows...)
	width := columnWidths(all)
	var b strings.Builder
	for _, r := range all {
		line := ""
		for i, cell := range r {
			line += cell + strings.Repeat(" ", width[i]-ansi.StringWidth(cell)+columnGap)
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// columnGap is how many blanks part two columns.
const columnGap = 3

// columnWidths are how many cells each column takes.
func columnWidths(rows [][]string) []int {
	width := make([]int, len(rows[0]))
	for _, r := range rows {
		for i, cell := range r {
			width[i] = max(width[i], ansi.StringWidth(cell))
		}
	}
	return width
}

// fitColumns makes a table fit a terminal of so many cells, 0 being no limit:
// the last column is left out if that is not enough room for it, and the column
// flex cut to what is left, but to no less than least.
func fitColumns(rows [][]string, cells, flex, least int) [][]string {
	total := func() int {
		n := -columnGap
		for _, w := range columnWidths(rows) {
			n += w + columnGap
		}
		return n
	}
	if cells <= 0 || total() <= cells {
		return rows
	}
	for i := range rows {
		rows[i] = rows[i][:len(rows[i])-1]
	}
	if over := total() - cells; over > 0 {
		room := max(columnWidths(rows)[flex]-over, least)
		for i := range rows {
			rows[i][flex] = ansi.Truncate(rows[i][flex], room, "…")
		}
	}
	return rows
}
