package config_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"

	"github.com/kilnbuild/kiln/config"
)

// load loads one file and fails the test on an error.
func load(t *testing.T, text string, in config.Inputs) *config.Config {
	t.Helper()
	cfg, diags := config.Load([]config.File{{Name: "build.hcl", Data: []byte(text)}}, in)
	if diags.HasErrors() {
		t.Fatalf("%s\n%s", text, told(diags))
	}
	return cfg
}

// told writes diagnostics, each as "file:line: summary: detail".
func told(diags hcl.Diagnostics) string {
	var b strings.Builder
	for _, d := range diags {
		place := ""
		if d.Subject != nil {
			place = d.Subject.Filename
			if d.Subject.Start.Line > 0 {
				place += fmt.Sprintf(":%d,%d", d.Subject.Start.Line, d.Subject.Start.Column)
			}
		}
		if d.Severity == hcl.DiagWarning {
			b.WriteString("warning ")
		}
		fmt.Fprintf(&b, "%s: %s: %s\n", place, d.Summary, d.Detail)
	}
	return b.String()
}

// show prints all of a Config, with its line breaks and indents taken out.
func show(t *testing.T, cfg *config.Config) string {
	t.Helper()
	var out bytes.Buffer
	if err := config.Print(&out, cfg.Groups, cfg.Targets); err != nil {
		t.Fatal(err)
	}
	return lineBreak.ReplaceAllString(out.String(), "")
}

// names lists targets, then groups with their members.
func names(cfg *config.Config) string {
	var all []string
	for _, t := range cfg.Targets {
		all = append(all, t.Name)
	}
	for _, g := range cfg.Groups {
		all = append(all, g.Name+"("+strings.Join(g.Members, " ")+")")
	}
	return strings.Join(all, " ")
}
