package engine

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestDefaultOptions(t *testing.T) {
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	own := t.TempDir()
	long := filepath.Join(own, strings.Repeat("x", 100))
	if err := os.Mkdir(long, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		env  map[string]string
		want func(*Options) // what differs from the first
		err  string
	}{
		{name: "home", want: func(*Options) {}},
		{name: "state by XDG", env: map[string]string{"XDG_STATE_HOME": "/xdg"}, want: func(o *Options) { o.StateDir = "/xdg/kiln" }},
		{name: "relative XDG is ignored", env: map[string]string{"XDG_STATE_HOME": "xdg", "XDG_RUNTIME_DIR": "run"}, want: func(*Options) {}},
		{name: "both named", env: map[string]string{"KILN_STATE_DIR": "/s", "KILN_RUNTIME_DIR": "/r", "XDG_STATE_HOME": "/xdg"}, want: func(o *Options) { o.StateDir, o.RuntimeDir = "/s", "/r" }},
		{name: "runtime by XDG", env: map[string]string{"XDG_RUNTIME_DIR": own}, want: func(o *Options) { o.RuntimeDir = own + "/kiln" }},
		{name: "XDG too long", env: map[string]string{"XDG_RUNTIME_DIR": long}, want: func(*Options) {}},
		{name: "another's XDG", env: map[string]string{"XDG_RUNTIME_DIR": "/nowhere"}, want: func(*Options) {}},
		{name: "idle", env: map[string]string{"KILN_ENGINE_IDLE": "90s"}, want: func(o *Options) { o.Idle = 90 * time.Second }},
		{name: "never idle", env: map[string]string{"KILN_ENGINE_IDLE": "0"}, want: func(o *Options) { o.Idle = 0 }},
		{name: "cache", env: map[string]string{"KILN_ENGINE_CACHE": "20GB"}, want: func(o *Options) { o.CacheMax = 20e9 }},
		{name: "allow", env: map[string]string{"KILN_ENGINE_ALLOW": "security.insecure, network.host"}, want: func(o *Options) { o.Entitlements = []string{"security.insecure", "network.host"} }},
		{name: "allow nothing", env: map[string]string{"KILN_ENGINE_ALLOW": "none"}, want: func(o *Options) { o.Entitlements = []string{} }},
		{name: "runtime and log", env: map[string]string{"KILN_RUNTIME": "crun", "KILN_ENGINE_LOG": "debug"}, want: func(o *Options) { o.Runtime, o.LogLevel = "crun", "debug" }},
		{name: "relative runtime", env: map[string]string{"KILN_RUNTIME": "bin/runc"}, want: func(o *Options) { o.Runtime = filepath.Join(dir, "bin/runc") }},
		{name: "no home", env: map[string]string{"HOME": ""}, err: "set KILN_STATE_DIR"},
		{name: "bad idle", env: map[string]string{"KILN_ENGINE_IDLE": "soon"}, err: `KILN_ENGINE_IDLE="soon"`},
		{name: "negative idle", env: map[string]string{"KILN_ENGINE_IDLE": "-1s"}, err: "KILN_ENGINE_IDLE"},
		{name: "bad cache", env: map[string]string{"KILN_ENGINE_CACHE": "much"}, err: "KILN_ENGINE_CACHE"},
		{name: "bad allow", env: map[string]string{"KILN_ENGINE_ALLOW": "root"}, err: `unknown entitlement "root"`},
		{name: "records", env: map[string]string{"KILN_ENGINE_RECORDS": "50"}, want: func(o *Options) { o.Records = 50 }},
		{name: "bad records", env: map[string]string{"KILN_ENGINE_RECORDS": "-1"}, err: "KILN_ENGINE_RECORDS"},
		{name: "bad log", env: map[string]string{"KILN_ENGINE_LOG": "loud"}, err: "KILN_ENGINE_LOG"},
		{name: "runtime directory too long", env: map[string]string{"KILN_RUNTIME_DIR": long}, err: "name a shorter directory"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			env := func(name string) string {
				if v, ok := tt.env[name]; ok {
					return v
				}
				return map[string]string{"HOME": "/home/u"}[name]
			}
			got, err := DefaultOptions(env)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("got %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := Options{
				StateDir: "/home/u/.local/state/kiln", Idle: 10 * time.Minute,
				Entitlements: []string{"network.host"}, LogLevel: "info", Version: moduleVersion(),
			}
			tt.want(&want)
			if want.RuntimeDir == "" { // the case says nothing of it
				want.RuntimeDir = filepath.Join(want.StateDir, "run")
				if os.Geteuid() == 0 && isOwn("/run") {
					want.RuntimeDir = "/run/kiln"
				}
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

// A state directory with a long path does not lengthen the socket's.
func TestLongStateDirectory(t *testing.T) {
	state := "/" + strings.Repeat("long/", 60)
	o, err := DefaultOptions(func(name string) string {
		return map[string]string{"KILN_STATE_DIR": state, "XDG_RUNTIME_DIR": "/nowhere"}[name]
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(o.socket()); n > maxSocket {
		t.Errorf("the socket's path has %d bytes: %s", n, o.socket())
	}
}

func TestOptionsTravelByEnvironment(t *testing.T) {
	want := Options{
		StateDir: "/s", RuntimeDir: "/r", Runtime: "/bin/runc", Idle: 90 * time.Second, CacheMax: 12345678901,
		Entitlements: []string{"security.insecure"}, LogLevel: "debug", Version: "v1.2.3",
	}
	got, err := DefaultOptions(func(name string) string {
		for _, kv := range want.environ() {
			if v, ok := strings.CutPrefix(kv, name+"="); ok {
				return v
			}
		}
		return ""
	})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestVariablesAreSet(t *testing.T) {
	names := map[string]bool{}
	for _, v := range Variables() {
		names[v.Name] = true
		if v.Doc == "" {
			t.Errorf("%s has no doc", v.Name)
		}
	}
	for _, kv := range (Options{}).environ() {
		name, _, _ := strings.Cut(kv, "=")
		if !names[name] && name != envVersion {
			t.Errorf("%s is not documented", name)
		}
	}
}

func TestGCRules(t *testing.T) {
	const gb = 1 << 30
	for _, tt := range []struct {
		asked, total, want int64
	}{
		{0, 5 * gb, 2 * gb},
		{0, 100 * gb, 20 * gb},
		{0, 2000 * gb, 50 * gb},
		{7 * gb, 2000 * gb, 7 * gb},
	} {
		if got := cacheLimit(tt.asked, tt.total); got != tt.want {
			t.Errorf("cacheLimit(%d, %d) = %d, want %d", tt.asked, tt.total, got, tt.want)
		}
	}
	rules := gcRules(20*gb, 100*gb)
	last := rules[len(rules)-1]
	if !last.internal || last.most != 20*gb || last.reserved != 2*gb || last.free != 10*gb {
		t.Errorf("the last rule: %+v", last)
	}
	if i := slices.IndexFunc(rules, func(r rule) bool { return r.most > 20*gb }); i >= 0 {
		t.Errorf("rule %d lets the cache grow past its limit", i)
	}
}
