package diag

import (
	"encoding/json"

	"github.com/hashicorp/hcl/v2"
)

// The JSON form. Fields are only ever added.
type (
	document struct {
		Version     int          `json:"version"`
		Diagnostics []diagnostic `json:"diagnostics"`
	}
	diagnostic struct {
		Severity string   `json:"severity"` // error, warning, note
		Summary  string   `json:"summary"`
		Detail   string   `json:"detail,omitempty"`
		Range    *place   `json:"range,omitempty"`   // what is wrong
		Context  *place   `json:"context,omitempty"` // what is round it
		Snippet  string   `json:"snippet,omitempty"` // the first line of the range
		Values   []string `json:"values,omitempty"`  // what names in it stood for
	}
	place struct {
		File  string    `json:"file"` // or what else is to blame, such as a flag
		Start *position `json:"start,omitempty"`
		End   *position `json:"end,omitempty"`
	}
	position struct {
		Line   int `json:"line"`   // from 1
		Column int `json:"column"` // in characters, from 1
		Byte   int `json:"byte"`   // in the file, from 0
	}
)

// JSON returns diags, sorted, each once, as a document that programs may
// read: {"version":1,"diagnostics":[…]}, with a newline at the end.
func JSON(diags hcl.Diagnostics, o Options) []byte {
	doc := document{Version: 1, Diagnostics: []diagnostic{}}
	s := newSheets(o)
	for _, d := range Sorted(diags) {
		doc.Diagnostics = append(doc.Diagnostics, s.json(d))
	}
	out, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		panic(err) // strings and numbers only
	}
	return append(out, '\n')
}

func (s *sheets) json(d *hcl.Diagnostic) diagnostic {
	out := diagnostic{
		Severity: SeverityWord(d.Severity),
		Summary:  d.Summary,
		Detail:   d.Detail,
		Range:    placeOf(d.Subject),
		Context:  placeOf(d.Context),
		Values:   values(d),
	}
	if d.Subject != nil {
		lines := s.of(d.Subject.Filename)
		if n := d.Subject.Start.Line; n >= 1 && n <= len(lines) {
			out.Snippet = Redact(lines[n-1])
		}
	}
	return out
}

func placeOf(r *hcl.Range) *place {
	if r == nil || r.Filename == "" {
		return nil
	}
	p := &place{File: r.Filename}
	if r.Start.Line > 0 {
		p.Start = &position{r.Start.Line, r.Start.Column, r.Start.Byte}
		p.End = &position{r.End.Line, r.End.Column, r.End.Byte}
	}
	return p
}
