package config

import (
	"strings"
	"testing"
	"time"
)

// TestSchedule reads weights and timeouts from files and overrides, through
// inheritance, and refuses what is none.
func TestSchedule(t *testing.T) {
	const base = "target \"base\" {\n  weight = 4\n  timeout = \"10m\"\n}\n"
	for _, tt := range []struct {
		name, file string
		set        []Override
		weight     int
		timeout    time.Duration
		wrong      string // in the diagnostics
	}{
		{name: "nothing", file: `target "x" {}`},
		{name: "set", file: "target \"x\" {\n  weight = 2\n  timeout = \"1h30m\"\n}", weight: 2, timeout: 90 * time.Minute},
		{name: "texts of numbers", file: "target \"x\" {\n  weight = \"3\"\n  timeout = 0\n}", weight: 3},
		{name: "null", file: "target \"x\" {\n  weight = null\n  timeout = null\n}"},
		{name: "inherited", file: base + "target \"x\" {\n  inherits = [\"base\"]\n}", weight: 4, timeout: 10 * time.Minute},
		{name: "over what is inherited", file: base + "target \"x\" {\n  inherits = [\"base\"]\n  weight = 1\n  timeout = \"0\"\n}", weight: 1},
		{name: "of another target", file: base + "target \"x\" {\n  weight = target.base.weight + 1\n  timeout = target.base.timeout\n}", weight: 5, timeout: 10 * time.Minute},
		{name: "--set", file: base + "target \"x\" {\n  inherits = [\"base\"]\n}", weight: 8, timeout: 5 * time.Second, set: []Override{
			{Pattern: "x", Key: "weight", Value: "8", Flag: "--set x.weight=8"}, {Pattern: "*", Key: "timeout", Value: "5s", Flag: "--set *.timeout=5s"}}},
		{name: "no weight", file: "target \"x\" {\n  weight = 0\n}", wrong: "a whole number from 1 to 1000 is needed, but this is the number 0"},
		{name: "half a weight", file: "target \"x\" {\n  weight = 1.5\n}", wrong: "a whole number from 1 to 1000 is needed"},
		{name: "a word", file: "target \"x\" {\n  weight = \"heavy\"\n}", wrong: `but this is the string "heavy"`},
		{name: "too much", file: "target \"x\" {\n  weight = 1e300\n}", wrong: "a whole number from 1 to 1000 is needed"},
		{name: "no unit", file: "target \"x\" {\n  timeout = 10\n}", wrong: `"10" is no duration; write a number and a unit`},
		{name: "negative", file: "target \"x\" {\n  timeout = \"-1s\"\n}", wrong: `"-1s" is no duration`},
		{name: "a list", file: "target \"x\" {\n  timeout = [\"1s\"]\n}", wrong: "a string is needed"},
		{name: "--set weight", file: `target "x" {}`, set: []Override{{Pattern: "x", Key: "weight", Value: "many", Flag: "--set x.weight=many"}}, wrong: `but this is "many"`},
		{name: "--set timeout", file: `target "x" {}`, set: []Override{{Pattern: "x", Key: "timeout", Value: "soon", Flag: "--set x.timeout=soon"}}, wrong: `"soon" is no duration`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg, diags := Load([]File{{Name: "build.hcl", Data: []byte(tt.file + "\n")}}, Inputs{Overrides: tt.set})
			if tt.wrong != "" {
				if cfg != nil && tt.set != nil { // no matter unless the target is built
					diags = cfg.Target("x").Deferred
				}
				if !diags.HasErrors() || !strings.Contains(diags[0].Detail, tt.wrong) || diags[0].Subject == nil {
					t.Errorf("diagnostics are %v, want %q", diags, tt.wrong)
				}
				return
			}
			if diags.HasErrors() {
				t.Fatal(diags)
			}
			if x := cfg.Target("x"); x.Weight != tt.weight || x.Timeout != tt.timeout {
				t.Errorf("weight %d, timeout %v; want %d, %v", x.Weight, x.Timeout, tt.weight, tt.timeout)
			}
		})
	}
}
