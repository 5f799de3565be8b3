package cli

import (
	"errors"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec"
)

// scheduled reads flags and an environment of one variable.
func scheduled(t *testing.T, args, env string) (schedule, []config.Override, error) {
	t.Helper()
	var s scheduleFlags
	f := pflag.NewFlagSet("build", pflag.ContinueOnError)
	s.register(f)
	if err := f.Parse(strings.Fields(args)); err != nil {
		t.Fatal(err)
	}
	s.setRetries = f.Changed("retries")
	name, value, _ := strings.Cut(env, "=")
	a := &app{env: map[string]string{name: value}}
	got, err := a.scheduleOf(s)
	return got, s.overrides(), err
}

func TestSchedule(t *testing.T) {
	for _, tt := range []struct {
		args, env string
		want      schedule
	}{
		{"", "", schedule{retries: 2}},
		{"-j 4", "", schedule{jobs: jobs{parallel: 4}, retries: 2}},
		{"--retries=0", "", schedule{}},
		{"", "KILN_RETRIES=5", schedule{retries: 5}},
		{"--retries 2", "KILN_RETRIES=5", schedule{retries: 2}},
		{"--retries 1", "KILN_RETRIES=nonsense", schedule{retries: 1}},
		{"-k", "", schedule{jobs: jobs{mode: exec.KeepGoing}, retries: 2}},
		{"--atomic", "", schedule{jobs: jobs{mode: exec.DeferOutput}, retries: 2}},
		{"--atomic -j 3", "", schedule{jobs: jobs{mode: exec.DeferOutput, parallel: 3}, retries: 2}},
		{"--atomic -j mode=defer-output,parallel=3", "", schedule{jobs: jobs{mode: exec.DeferOutput, parallel: 3, named: true}, retries: 2}},
		{"-k -j defer-error", "", schedule{jobs: jobs{mode: exec.KeepGoing, named: true}, retries: 2}},
		{"--timeout 1h30m", "", schedule{timeout: 90 * time.Minute, retries: 2}},
	} {
		got, _, err := scheduled(t, tt.args, tt.env)
		if err != nil || got != tt.want {
			t.Errorf("%s %s: %+v, %v; want %+v", tt.env, tt.args, got, err, tt.want)
		}
	}
	got, overrides, err := scheduled(t, "--timeout api-*=5m --timeout 1h --timeout web=0", "")
	want := []config.Override{
		{Pattern: "api-*", Key: "timeout", Value: "5m", Flag: "--timeout api-*=5m"},
		{Pattern: "web", Key: "timeout", Value: "0", Flag: "--timeout web=0"},
	}
	if err != nil || got.timeout != time.Hour || !reflect.DeepEqual(overrides, want) {
		t.Errorf("%+v, %+v, %v", got, overrides, err)
	}
}

func TestScheduleRefused(t *testing.T) {
	for _, tt := range []struct{ args, env, want string }{
		{"--retries=-1", "", "--retries can't be negative: -1"},
		{"", "KILN_RETRIES=often", `KILN_RETRIES takes a whole number, not "often"`},
		{"", "KILN_RETRIES=-2", "KILN_RETRIES can't be negative: -2"},
		{"--timeout soon", "", `--timeout "soon": this is no duration`},
		{"--timeout 10", "", `--timeout "10": this is no duration`},
		{"--timeout 0s", "", `--timeout "0s": this is no duration`},
		{"--timeout 1m --timeout 2m", "", "two durations for the run; one for a target is --timeout TARGET=2m"},
		{"--atomic --keep-going", "", "--atomic and --keep-going exclude each other"},
		{"--atomic -j mode=fail-fast", "", "--atomic and --jobs=mode=fail-fast exclude each other"},
		{"--atomic -j defer-error,parallel=2", "", "--atomic and --jobs=mode=defer-error exclude each other"},
		{"-k -j defer-output", "", "--keep-going and --jobs=mode=defer-output exclude each other"},
		{"-j mode=sometimes", "", `no mode is called "sometimes"`},
	} {
		_, _, err := scheduled(t, tt.args, tt.env)
		var exit *exitError
		if err == nil || !strings.Contains(err.Error(), tt.want) || !errors.As(err, &exit) || exit.code != codeUsage {
			t.Errorf("%s %s: %v, want %q", tt.env, tt.args, err, tt.want)
		}
	}
}

// Two definitions have histories of their own, also of one name in two
// directories; without a state directory there is none.
func TestHistoryOfDefinition(t *testing.T) {
	a := &app{dir: "/repo", env: map[string]string{"KILN_STATE_DIR": t.TempDir(), "XDG_RUNTIME_DIR": t.TempDir()}}
	file := func(name string) *definition { return &definition{files: []config.File{{Name: name}}} }
	seen := map[string]string{}
	for name, d := range map[string]*definition{
		"here": file("build.hcl"), "elsewhere": file("/other/build.hcl"), "below": file(filepath.Join("sub", "build.hcl")),
		"remote": {url: "https://example.com/r.git", files: []config.File{{Name: "build.hcl"}}},
	} {
		h := a.history(d)
		if h == nil {
			t.Fatalf("%s: there is no history", name)
		}
		if other, ok := seen[h.Path()]; ok {
			t.Errorf("%s and %s have one history", name, other)
		}
		seen[h.Path()] = name
	}
	if p := a.history(file("-")).Path(); seen[p] != "here" {
		t.Error("standard input is not of the working directory")
	}
	if (&app{dir: "/repo", env: map[string]string{}}).history(file("build.hcl")) != nil {
		t.Error("there is a history, but no place for it")
	}
}
