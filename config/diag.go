package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// A report gathers diagnostics. The same summary at the same place is told
// once, as the instances of a matrix share their expressions.
type report struct {
	list   hcl.Diagnostics
	seen   map[reported]bool
	errors int
	looked int // for near names
}

type reported struct {
	rng     hcl.Range
	summary string
	detail  string // only where the range says nothing
}

func (r *report) add(d *hcl.Diagnostic) {
	key := reported{summary: d.Summary, detail: d.Detail}
	if d.Subject != nil {
		key.rng = *d.Subject
		if d.Subject.Start.Line > 0 {
			key.detail = ""
		}
	}
	if r.seen[key] {
		return
	}
	if r.seen == nil {
		r.seen = map[reported]bool{}
	}
	r.seen[key] = true
	r.list = append(r.list, d)
	if d.Severity == hcl.DiagError {
		r.errors++
	}
}

func (r *report) addAll(ds hcl.Diagnostics) {
	for _, d := range ds {
		r.add(d)
	}
}

// errorf adds an error at rng.
func (r *report) errorf(rng hcl.Range, summary, format string, args ...any) {
	r.add(problem(hcl.DiagError, rng, summary, format, args...))
}

// warnf adds a warning at rng.
func (r *report) warnf(rng hcl.Range, summary, format string, args ...any) {
	r.add(problem(hcl.DiagWarning, rng, summary, format, args...))
}

func problem(sev hcl.DiagnosticSeverity, rng hcl.Range, summary, format string, args ...any) *hcl.Diagnostic {
	return &hcl.Diagnostic{Severity: sev, Summary: summary, Detail: fmt.Sprintf(format, args...), Subject: &rng}
}

// sorted returns the diagnostics by file, in the order of files, and then by
// position. What stands in no file (a flag, an environment variable) is first.
func (r *report) sorted(files []File) hcl.Diagnostics {
	index := map[string]int{}
	for i, f := range files {
		if _, ok := index[f.Name]; !ok {
			index[f.Name] = i + 1
		}
	}
	place := func(d *hcl.Diagnostic) (int, int) {
		if d.Subject == nil {
			return 0, 0
		}
		return index[d.Subject.Filename], d.Subject.Start.Byte
	}
	slices.SortStableFunc(r.list, func(a, b *hcl.Diagnostic) int {
		fa, ba := place(a)
		fb, bb := place(b)
		return cmp.Or(cmp.Compare(fa, fb), cmp.Compare(ba, bb), cmp.Compare(a.Severity, b.Severity),
			strings.Compare(a.Summary, b.Summary), strings.Compare(a.Detail, b.Detail))
	})
	return r.list
}

// at writes a place in the middle of a sentence.
func at(rng hcl.Range) string {
	if rng.Start.Line == 0 {
		return rng.Filename
	}
	return fmt.Sprintf("%s:%d", rng.Filename, rng.Start.Line)
}

// list writes names as "a, b and c", and stops after twelve.
func list(names []string) string {
	const most = 12
	if len(names) > most {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
	}
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}
