package report

import (
	_ "embed" // the parts of the page
	"encoding/json"
	"html"
	"io"
	"strings"
)

// The page is one file: text, style, script and the report itself as JSON.
// Nothing of the report is put in as HTML; the script writes it as text.

//go:embed page.html
var pageHTML string

//go:embed page.css
var pageCSS string

//go:embed page.js
var pageJS string

// WriteHTML writes the report as one HTML file that needs nothing else.
func (r *Report) WriteHTML(w io.Writer) error {
	lean := *r
	run := *r.Run
	run.Recipes, run.Listings = nil, nil
	lean.Run = &run
	data, err := json.Marshal(lean) // with <, > and & escaped, so that it ends no script
	if err != nil {
		return err
	}
	_, err = strings.NewReplacer(
		"{{title}}", html.EscapeString("kiln build "+run.ID),
		"{{style}}", pageCSS,
		"{{data}}", string(data),
		"{{script}}", pageJS,
	).WriteString(w, pageHTML)
	return err
}
